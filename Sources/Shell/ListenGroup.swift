import CDatagram
import Glibc
import Measures

/// The sockets at one UDP address of a concentrator, one for each generation of its processes
/// (`Lineage`): the kernel hands every record to the socket of the process whose session it names,
/// and everything else to the newest process's.
///
/// All of them are opened by the first process, while it has the right to, and every later one has
/// copies of all: so none of them closes while anybody serves the address, and their numbers in the
/// kernel's group stay what they were.
public final class ListenGroup {
    /// The socket that this process reads.
    public let socket: DatagramSocket
    /// By generation; one alone where there is no group.
    public let descriptors: [Int32]
    private let generation: Int
    /// Whether datagrams are told apart by it: else another process gets all.
    public var isSteered: Bool { descriptors.count == Lineage.generations }

    /// Takes the sockets that were handed over, or opens them; what comes belongs to this process
    /// from now on, where none was handed over. Throws what the kernel says where the address can't
    /// be had.
    public init(
        _ address: SocketAddress, generation: Int, loop: EventLoop
    ) throws(SystemError) {
        self.generation = generation
        let inherited = InheritedSockets.takeAll(.datagram, address)
        let isWhole = inherited.count == Lineage.generations
        if isWhole {
            descriptors = inherited
        } else {
            inherited.dropFirst().forEach { Glibc.close($0) }
            let first: Int32
            if let one = inherited.first { first = one } else { first = try Self.open(address) }
            descriptors =
                [first] + Self.others(beside: first, isIPv4: address.address.isIPv4)
        }
        // A process of a version without groups may have been here before: then the generation of
        // this one is not the first.
        let own = descriptors.count > 1 ? descriptors[generation] : descriptors[0]
        do throws(SystemError) {
            socket = try DatagramSocket(own, .listen(address), isBound: true, loop: loop)
        } catch {
            for descriptor in descriptors where descriptor != own { Glibc.close(descriptor) }
            throw error
        }
        if !isWhole { steer(older: []) }
    }

    private static func open(_ address: SocketAddress) throws(SystemError) -> Int32 {
        let fd = try checked(
            braid_socket_datagram(address.address.isIPv4 ? 1 : 0), "open a UDP socket")
        var local = braid_address(address)
        do throws(SystemError) {
            // Alone, so that a second program at the same port is refused.
            try checked(braid_bind(fd, &local), "listen on \(address) (UDP)")
        } catch {
            Glibc.close(fd)
            throw error
        }
        return fd
    }

    deinit {
        for descriptor in descriptors where descriptor != socket.descriptor {
            Glibc.close(descriptor)
        }
    }

    /// What names no session of the older generations comes to this process from now on.
    public func steer(older: [Int]) {
        guard isSteered else { return }
        let living = older.reduce(UInt32(0)) { $0 | 1 << UInt32($1 & 3) }
        // Of several that follow one another the kernel would make one, and ask for the first
        // alone.
        for descriptor in descriptors {
            _ = braid_set_coalescing(descriptor, older.isEmpty ? 1 : 0)
        }
        _ = braid_steer(socket.descriptor, UInt32(generation), living)
        for i in descriptors.indices where i != generation && !older.contains(i) {
            braid_discard(descriptors[i])
        }
    }

    /// The group's further sockets; none where the system does not let it be: the port is one for
    /// which this process has lost the right, or the kernel knows no steering.
    private static func others(beside first: Int32, isIPv4: Bool) -> [Int32] {
        var local = braid_address()
        guard braid_local_address(first, &local) == 0, braid_set_reuse_port(first, 1) == 0 else {
            return []
        }
        var all: [Int32] = []
        while all.count < Lineage.generations - 1 {
            let fd = braid_socket_datagram(isIPv4 ? 1 : 0)
            guard fd >= 0 else { break }
            guard braid_set_reuse_port(fd, 1) == 0, braid_bind(fd, &local) == 0 else {
                Glibc.close(fd)
                break
            }
            braid_set_buffers(fd, Int32(DatagramSocket.kernelBuffer))
            all.append(fd)
        }
        if all.count == Lineage.generations - 1, braid_steer(first, 0, 0) == 0 { return all }
        all.forEach { Glibc.close($0) }
        _ = braid_set_reuse_port(first, 0)
        return []
    }
}

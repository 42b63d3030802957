import CMnl
import Glibc
import Measures

/// Whose program has a socket of this machine, asked of the kernel (sock_diag(7)): one question
/// about one socket, answered at once.
public enum SocketOwner {
    private static let sockDiag: Int32 = 4  // NETLINK_SOCK_DIAG
    private static let byFamily: UInt16 = 20  // SOCK_DIAG_BY_FAMILY
    private static let requestLength = 72
    /// Behind the message's head, the family's four bytes, the addresses, three counters.
    private static let userOffset = 16 + 4 + 48 + 12

    /// In the answer, behind the message's head and the family's four bytes: the socket's own port.
    private static let portOffset = 16 + 4
    /// Then the port that it is connected to.
    private static let remotePortOffset = portOffset + 2
    /// Behind both ports and addresses: the interface that it is bound to.
    private static let interfaceOffset = portOffset + 4 + 32

    /// What kind of socket it is.
    public enum Transport: UInt8, Sendable {
        /// IPPROTO_TCP.
        case stream = 6
        /// IPPROTO_UDP.
        case datagrams = 17
    }

    /// The user of the socket that stands at `local` and is connected to `remote`, of UDP also one
    /// that is connected to nobody; nil where there is none on this machine, or the kernel does
    /// not say. `local` must be this machine's: a socket that is bound to every address would be
    /// found for any other.
    public static func user(
        of transport: Transport = .stream, local: SocketAddress, remote: SocketAddress
    ) -> UInt32? {
        ask(transport, local: local, remote: remote, interface: 0)?.user
    }

    /// Whether the program whose connection leaves by `interface` has bound its socket to an
    /// interface (SO_BINDTODEVICE), so that nothing that comes in by another can reach it.
    public static func isBound(
        local: SocketAddress, remote: SocketAddress, leavingBy interface: UInt32
    ) -> Bool {
        ask(.stream, local: local, remote: remote, interface: interface)?.isBound == true
    }

    /// The ports of this machine's TCP connections, whoever has opened them.
    static func connectedPorts() throws(SystemError) -> Set<UInt16> {
        let socket = try Netlink.open(sockDiag)
        defer { mnl_socket_close(socket) }
        var ports: Set<UInt16> = []
        for family in [AF_INET, AF_INET6] {
            // inet_diag_req_v2: family and protocol, the states but LISTEN, TIME-WAIT and CLOSE,
            // and of which socket: of any.
            let any = (UInt64(0), UInt64(0), UInt64(0))
            let head = (UInt32(family) | 6 << 8, UInt32(0b1011_0011_1110), any, any)
            try Netlink.dump(socket, byFamily, head) { message in
                guard message.pointee.nlmsg_type == byFamily else { return }
                // inet_diag_msg: four bytes, then the socket's own port.
                let start = Netlink.payload(message, as: (UInt32, UInt16).self)
                if let port = start?.1 { ports.insert(UInt16(bigEndian: port)) }
            }
        }
        return ports
    }

    /// What the kernel knows of a socket. One that is bound to an interface is found by that alone.
    private static func ask(
        _ transport: Transport, local: SocketAddress, remote: SocketAddress, interface: UInt32
    ) -> (user: UInt32, isBound: Bool)? {
        let local = SocketAddress(local.address.unmapped, port: local.port)
        let remote = SocketAddress(remote.address.unmapped, port: remote.port)
        guard local.address.isIPv4 == remote.address.isIPv4 else { return nil }
        let descriptor = socket(
            AF_NETLINK, 2 | O_CLOEXEC, sockDiag)  // SOCK_DGRAM, SOCK_CLOEXEC
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let request = request(transport, local, remote, interface)
        guard send(descriptor, request, request.count, 0) == request.count else { return nil }
        var answer = [UInt8](repeating: 0, count: 4096)
        // The kernel has answered by now: it does not keep anybody waiting.
        let count = recv(descriptor, &answer, answer.count, Int32(MSG_DONTWAIT))
        guard count >= userOffset + 4 else { return nil }
        return answer.withUnsafeBytes { bytes in
            guard bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self) == byFamily else {
                return nil
            }
            let port = bytes.loadUnaligned(fromByteOffset: portOffset, as: UInt16.self).bigEndian
            guard port == local.port else { return nil }
            // A listener at every address would be found for a connection of another machine's.
            let connected = bytes.loadUnaligned(
                fromByteOffset: remotePortOffset, as: UInt16.self
            ).bigEndian
            guard transport != .stream || connected == remote.port else { return nil }
            return (
                bytes.loadUnaligned(fromByteOffset: userOffset, as: UInt32.self),
                bytes.loadUnaligned(fromByteOffset: interfaceOffset, as: UInt32.self) != 0
            )
        }
    }

    /// nlmsghdr, then inet_diag_req_v2 (linux/inet_diag.h).
    private static func request(
        _ transport: Transport, _ local: SocketAddress, _ remote: SocketAddress,
        _ interface: UInt32
    ) -> [UInt8] {
        // udp_dump_one() takes them for those of a packet that comes in.
        let (source, target) = transport == .stream ? (local, remote) : (remote, local)
        var out = [UInt8](repeating: 0, count: requestLength)
        out.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: UInt32(requestLength), toByteOffset: 0, as: UInt32.self)
            bytes.storeBytes(of: byFamily, toByteOffset: 4, as: UInt16.self)
            bytes.storeBytes(of: 1, toByteOffset: 6, as: UInt16.self)  // NLM_F_REQUEST
            bytes[16] = UInt8(local.address.isIPv4 ? AF_INET : AF_INET6)
            bytes[17] = transport.rawValue
            bytes.storeBytes(of: UInt32.max, toByteOffset: 20, as: UInt32.self)  // any state
            bytes.storeBytes(of: source.port.bigEndian, toByteOffset: 24, as: UInt16.self)
            bytes.storeBytes(of: target.port.bigEndian, toByteOffset: 26, as: UInt16.self)
            store(source.address, at: 28, bytes)
            store(target.address, at: 44, bytes)
            bytes.storeBytes(of: interface, toByteOffset: 60, as: UInt32.self)
            // No cookie is known.
            bytes.storeBytes(of: UInt64.max, toByteOffset: 64, as: UInt64.self)
        }
        return out
    }

    private static func store(
        _ address: IPAddress, at offset: Int, _ bytes: UnsafeMutableRawBufferPointer
    ) {
        if address.isIPv4 {
            bytes.storeBytes(of: address.v4.bigEndian, toByteOffset: offset, as: UInt32.self)
        } else {
            bytes.storeBytes(of: address.high.bigEndian, toByteOffset: offset, as: UInt64.self)
            bytes.storeBytes(of: address.low.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
        }
    }
}

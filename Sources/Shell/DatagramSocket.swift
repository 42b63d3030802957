import Buffers
import CDatagram
import Glibc
import Measures

/// One non-blocking UDP socket: bound to an uplink (device, source address or both) or listening.
///
/// Sends runs of a `DatagramBatch` with UDP_SEGMENT where the kernel and the device do it, receives
/// with UDP_GRO. What the kernel can't take at once waits in a bounded queue until the socket is
/// writable.
public final class DatagramSocket {
    /// Where a socket stands.
    public enum Binding: Hashable, Sendable {
        /// Out through an interface, whatever its address.
        case device(String, isIPv4: Bool)
        /// From a source address; with a device also out through it. What comes for the address is
        /// taken by whichever interface it comes: of two in one subnet the kernel answers for both
        /// addresses on either.
        case source(IPAddress, device: String?, index: Int? = nil)
        /// A server's socket: answers leave from the address that was asked.
        case listen(SocketAddress)
        /// An address that may be another's; what comes says where it was sent to. Needs
        /// CAP_NET_ADMIN.
        case transparent(SocketAddress)
    }

    /// Counts since the socket was opened; bytes are those of UDP payloads.
    public struct Statistics: Sendable {
        /// Taken by the kernel, and handed over by it.
        public var datagramsSent = 0, bytesSent = 0, datagramsReceived = 0, bytesReceived = 0
        /// Not sent: queue full, refused by the firewall, destination unreachable.
        public var datagramsDropped = 0
        public init() {}
    }

    /// What it was opened for.
    public let binding: Binding
    /// Owned by the socket; -1 is never seen, a closed one is not used.
    public let descriptor: Int32
    /// Tells the owner of readiness; the exchange sets `wantsWrite` while something waits.
    public let watch: FileWatch
    /// With the port the kernel chose; unspecified where it was bound to none.
    public private(set) var localAddress: SocketAddress
    /// Kept by `DatagramExchange`.
    public internal(set) var statistics = Statistics()
    /// Called when the kernel has taken or handed over a message, which is up to 64 kB of
    /// datagrams; where it is set, each is sent and received by a system call of its own. The
    /// handler calls neither the socket nor the engine.
    public var carried: (() -> Void)?
    /// Whether runs go out as one UDP_SEGMENT message; ends with the first refusal.
    public internal(set) var usesSegmentation = true
    /// Whether its family is IPv4; else IPv6.
    public let isIPv4: Bool
    private(set) var isOpen = true
    var waiting = WaitingRuns()

    /// Kernel buffers asked for each way: half a second at 64 Mbit/s, so that a busy turn loses
    /// nothing.
    public static let kernelBuffer = 4 << 20

    /// Throws what the kernel says where it can't be bound: the address is gone, the port taken, or
    /// the process may not bind to devices.
    ///
    /// `mayFragment`: what is longer than the interface takes is cut by the system, as it is for
    /// any application.
    public convenience init(
        _ binding: Binding, loop: EventLoop, kernelBuffer: Int = DatagramSocket.kernelBuffer,
        mayFragment: Bool = false
    ) throws(SystemError) {
        if case .listen(let address) = binding,
            let inherited = InheritedSockets.take(.datagram, address)
        {
            try self.init(
                inherited, binding, isBound: true, loop: loop, kernelBuffer: kernelBuffer,
                mayFragment: mayFragment)
            return
        }
        let fd = try checked(
            braid_socket_datagram(Self.isIPv4(binding) ? 1 : 0), "open a UDP socket")
        try self.init(
            fd, binding, isBound: false, loop: loop, kernelBuffer: kernelBuffer,
            mayFragment: mayFragment)
    }

    /// Owns `fd` from now on, also where it throws.
    init(
        _ fd: Int32, _ binding: Binding, isBound: Bool, loop: EventLoop,
        kernelBuffer: Int = DatagramSocket.kernelBuffer, mayFragment: Bool = false
    ) throws(SystemError) {
        self.binding = binding
        isIPv4 = Self.isIPv4(binding)
        do throws(SystemError) {
            localAddress = try Self.bind(fd, binding, isIPv4: isIPv4, isBound: isBound)
        } catch {
            Glibc.close(fd)
            throw error
        }
        descriptor = fd
        watch = loop.watch(fd)
        // One that was handed over may have more than this process has the right to ask for.
        if !isBound || !Self.hasBuffers(fd, kernelBuffer) {
            braid_set_buffers(fd, Int32(kernelBuffer))
        }
        _ = braid_set_coalescing(fd, 1)
        if !mayFragment { _ = braid_forbid_fragments(fd, isIPv4 ? 1 : 0) }
    }

    /// The kernel says twice what was asked for (socket(7)).
    static func hasBuffers(_ fd: Int32, _ bytes: Int) -> Bool {
        var receive: Int32 = 0, send: Int32 = 0
        guard braid_buffer_sizes(fd, &receive, &send) == 0 else { return false }
        return Int(min(receive, send)) >= 2 * bytes
    }

    private static func isIPv4(_ binding: Binding) -> Bool {
        switch binding {
        case .device(_, let v4): v4
        case .source(let a, _, _): a.isIPv4
        case .listen(let a), .transparent(let a): a.address.isIPv4
        }
    }

    deinit { close() }

    /// Closes the descriptor and forgets what waited; harmless when repeated.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        watch.cancel()
        Glibc.close(descriptor)
    }

    private static func bind(
        _ fd: Int32, _ binding: Binding,
        isIPv4: Bool, isBound: Bool
    ) throws(SystemError) -> SocketAddress {
        var local = braid_address(isIPv4 ? IPAddress.unspecifiedV4 : .unspecifiedV6)
        switch binding {
        case .device(let name, _):
            try checked(braid_bind_device(fd, name), "bind to interface \(name)")
            try checked(braid_bind(fd, &local), "bind on \(name)")
        case .source(let address, let device, let index):
            local = braid_address(address)
            try checked(braid_bind(fd, &local), "bind to \(address)")
            // Where neither is permitted, the routing rules for the source address decide.
            if let index {
                _ = braid_send_through(fd, isIPv4 ? 1 : 0, UInt32(truncatingIfNeeded: index))
            }
            // IPv6 prefers the route of the lowest metric to the interface asked for, unless the
            // socket is bound to that; and an interface answers for its own addresses only.
            if let device, !isIPv4 || index == nil { _ = braid_bind_device(fd, device) }
        case .listen(let address):
            local = braid_address(address)
            if address.address.isUnspecified {
                try checked(braid_set_packet_info(fd, isIPv4 ? 1 : 0), "listen on \(address)")
            }
            if !isBound { try checked(braid_bind(fd, &local), "listen on \(address) (UDP)") }
        case .transparent(let address):
            local = braid_address(address)
            // Several may have one address: what a program of this machine listens on as well.
            _ = braid_set_reuse_address(fd)
            try checked(
                braid_set_transparent(fd, isIPv4 ? 1 : 0), "bind to \(address), another's address")
            try checked(
                braid_set_original_destination(fd, isIPv4 ? 1 : 0),
                "ask for the destinations of datagrams")
            try checked(braid_bind(fd, &local), "bind to \(address) (UDP)")
        }
        try checked(braid_local_address(fd, &local), "bind")
        return SocketAddress(local)
    }

    /// Whether a failure means the uplink, not one destination: only a socket bound to one has such
    /// failures.
    func isUplinkFailure(_ code: Int32) -> Bool {
        switch binding {
        case .listen, .transparent: return false
        case .device, .source: break
        }
        switch code {
        case ENETDOWN, ENETUNREACH, ENODEV, ENXIO, EHOSTUNREACH, EADDRNOTAVAIL: return true
        default: return false
        }
    }
}

/// Copies of runs the kernel had no room for, in order. Beyond the limit they are dropped, as a
/// full device queue would.
struct WaitingRuns {
    private(set) var outgoing: [braid_outgoing] = []
    private var storage: UnsafeMutableRawPointer?
    private var used = 0
    /// Bytes kept for one socket: four full runs.
    static let limit = 256 << 10

    var isEmpty: Bool { outgoing.isEmpty }

    mutating func append(_ d: braid_outgoing) -> Bool {
        guard used + Int(d.length) <= Self.limit else { return false }
        if storage == nil {
            storage = .allocate(byteCount: Self.limit, alignment: 64)
            outgoing.reserveCapacity(64)
        }
        var copy = d
        (storage! + used).copyMemory(from: d.bytes, byteCount: Int(d.length))
        copy.bytes = UnsafePointer((storage! + used).assumingMemoryBound(to: UInt8.self))
        used += Int(d.length)
        outgoing.append(copy)
        return true
    }

    /// Forgets the first `n`; the room is used again once all are gone.
    mutating func removeFirst(_ n: Int) {
        outgoing.removeFirst(n)
        if outgoing.isEmpty { used = 0 }
    }

    mutating func free() {
        storage?.deallocate()
        storage = nil
        outgoing = []
        used = 0
    }
}

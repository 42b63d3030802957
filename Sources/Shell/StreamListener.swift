import CDatagram
import Glibc
import Logging
import Measures

/// Accepts TCP connections. Without descriptors left it turns callers away and pauses instead of
/// spinning.
public final class StreamListener {
    /// With the port the kernel chose for port 0.
    public let address: SocketAddress
    private let loop: EventLoop
    /// For a process that follows this one.
    public let descriptor: Int32
    private let watch: FileWatch
    private let accepted: (StreamSocket, SocketAddress) -> Void
    private let log: Logger
    private var pause: LoopTimer?
    /// Given up for a moment to accept, and so to refuse, a caller when there is no other
    /// descriptor.
    private var reserve: Int32
    private var saidExhausted = false

    /// Most connections accepted in one iteration of the loop, so that others get their turn.
    private static let maximumPerTurn = 64
    private static let backlog: Int32 = 1024
    /// Until it is tried again, where there was no descriptor.
    static let pauseTime = Interval.milliseconds(100)

    /// Whether it may take the descriptors that are kept from others' connections.
    private let usesSpare: Bool

    /// Whose connections come, by what `StreamSocket.destination` says where they were meant for.
    public enum Destinations: Sendable {
        /// Those to its own address.
        case own
        /// Also those to others' addresses that the packet filter gives it as they are (TPROXY).
        /// Needs CAP_NET_ADMIN.
        case others
        /// Those that the packet filter has redirected to it.
        case redirected
    }
    private let destinations: Destinations

    /// Listens on `address` (port 0: one of the system's, see `address` afterwards).
    public init(
        _ address: SocketAddress, loop: EventLoop, log: Logger = Logger(label: "listener"),
        usesSpare: Bool = false, destinations: Destinations = .own,
        accepted: @escaping (_ socket: StreamSocket, _ from: SocketAddress) -> Void
    ) throws(SystemError) {
        var inherited: Int32?
        if case .own = destinations { inherited = InheritedSockets.take(.stream, address) }
        let fd: Int32
        if let inherited {
            fd = inherited
        } else {
            fd = try checked(
                braid_socket_stream(address.address.isIPv4 ? 1 : 0),
                "open a socket for \(address)")
        }
        var bound = braid_address(address)
        do throws(SystemError) {
            _ = braid_set_reuse_address(fd)
            if case .others = destinations {
                try checked(
                    braid_set_transparent(fd, address.address.isIPv4 ? 1 : 0),
                    "listen on \(address) for captured connections")
            }
            if inherited == nil { try checked(braid_bind(fd, &bound), "listen on \(address)") }
            try checked(braid_listen(fd, Self.backlog), "listen on \(address)")
            try checked(braid_local_address(fd, &bound), "listen on \(address)")
        } catch {
            Glibc.close(fd)
            throw error
        }
        self.address = SocketAddress(bound)
        self.loop = loop
        self.log = log
        self.accepted = accepted
        self.usesSpare = usesSpare
        self.destinations = destinations
        descriptor = fd
        reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
        watch = loop.watch(fd)
        watch.onReadable(for: self) { $0.acceptAll() }
        watch.wantsRead = true
    }

    deinit { close() }

    /// Asked where only descriptors are left that are kept from connections: closes one that would
    /// be missed least, for the next; false where there is none.
    public var makeRoom: (() -> Bool)?

    /// Whether `close()` was called.
    public private(set) var isClosed = false

    /// Stops listening; what was accepted stays.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        pause = nil
        watch.cancel()
        Glibc.close(descriptor)
        if reserve >= 0 { Glibc.close(reserve) }
    }

    /// Accepts whoever has connected already: closing would reset them.
    public func acceptWaiting() {
        for _ in 0..<Self.backlog / Int32(Self.maximumPerTurn) where !isClosed && acceptAll() {}
    }

    /// Whether more may wait.
    @discardableResult private func acceptAll() -> Bool {
        var from = braid_address()
        for _ in 0..<Self.maximumPerTurn {
            var fd = braid_accept(descriptor, &from)
            if !usesSpare, fd >= DescriptorLimit.forConnections { fd = lowered(fd) }
            if fd >= 0 {
                if saidExhausted {
                    saidExhausted = false
                    log.notice("accepting again", metadata: ["listen": "\(address)"])
                }
                accepted(
                    StreamSocket(loop: loop, descriptor: fd, redirectedFrom: redirected(fd)),
                    SocketAddress(from))
                if isClosed { return false }
                continue
            }
            switch -fd {
            case EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ENETUNREACH:
                continue  // of the one connection that was being accepted (accept(2))
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                exhausted(-fd)
                return false
            default:
                return false
            }
        }
        return true
    }

    /// The same connection by a descriptor that connections may have, where room is made for it;
    /// else it is closed.
    private func lowered(_ fd: Int32) -> Int32 {
        defer { Glibc.close(fd) }
        guard makeRoom?() == true else { return -EMFILE }
        let low = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        guard low >= 0, low < DescriptorLimit.forConnections else {
            if low >= 0 { Glibc.close(low) }
            return -EMFILE
        }
        return low
    }

    private func redirected(_ fd: Int32) -> SocketAddress? {
        var meant = braid_address()
        guard case .redirected = destinations,
            braid_original_destination(fd, address.address.isIPv4 ? 1 : 0, &meant) == 0
        else { return nil }
        return SocketAddress(meant)
    }

    /// No descriptor: refuses callers so that they aren't left hanging, nor anybody behind them who
    /// comes when there is one again, then stops listening for a while.
    private func exhausted(_ code: Int32) {
        if !saidExhausted {
            saidExhausted = true
            log.warning(
                "cannot accept: \(SystemError.text(code)); raise the limit of open files",
                metadata: ["listen": "\(address)"])
        }
        if reserve >= 0 {
            Glibc.close(reserve)
            var from = braid_address()
            for _ in 0..<Self.maximumPerTurn {
                let fd = braid_accept(descriptor, &from)
                if fd >= 0 { Glibc.close(fd) } else if fd != -ECONNABORTED { break }
            }
        }
        reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
        watch.wantsRead = false
        let timer = pause ?? loop.timer(for: self) { $0.watch.wantsRead = true }
        timer.arm(after: Self.pauseTime)
        pause = timer
    }
}

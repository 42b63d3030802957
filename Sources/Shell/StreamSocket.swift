import Buffers
import CDatagram
import Glibc
import Measures

/// A non-blocking TCP socket on the side of an application or a destination. Owns its descriptor.
public final class StreamSocket {
    /// Closed with the socket.
    public let descriptor: Int32
    /// Tells the owner of readiness; cancelled with the socket.
    public let watch: FileWatch
    /// For while neither `watch.wantsRead` nor `watch.wantsWrite` is set.
    public private(set) var deathWatch: DeathWatch?
    /// What the packet filter had put its own address in the place of; nil where it has not.
    private let redirectedFrom: SocketAddress?
    private let loop: EventLoop
    private var isOpen = true

    /// Takes over a connected, non-blocking descriptor.
    public init(loop: EventLoop, descriptor: Int32, redirectedFrom: SocketAddress? = nil) {
        self.redirectedFrom = redirectedFrom
        self.descriptor = descriptor
        self.loop = loop
        watch = loop.watch(descriptor)
        // Small writes leave at once: whoever wrote them decided what belongs together.
        _ = braid_set_no_delay(descriptor)
        _ = braid_set_keep_alive(descriptor, 120, 30, 4)
    }

    deinit { close() }

    /// Calls `action` with the error where the connection dies while `deathWatch` is needed.
    public func onDeath<Owner: AnyObject>(
        every interval: Interval = DeathWatch.interval, for owner: Owner,
        _ action: @escaping (Owner, Int32) -> Void
    ) {
        deathWatch?.cancel()
        let deathWatch = DeathWatch(descriptor, loop: loop, every: interval)
        deathWatch.onDeath(for: owner, action)
        self.deathWatch = deathWatch
    }

    // MARK: Connecting

    /// A connection attempt; released or cancelled before its end, it is given up.
    public final class Attempt {
        private var socket: StreamSocket?
        private let remote: SocketAddress
        private let done: (Result<StreamSocket, SystemError>) -> Void
        private var isDone = false
        private var deferred: LoopTimer?

        init(
            _ loop: EventLoop, _ remote: SocketAddress, _ localBinding: LocalBinding,
            _ done: @escaping (Result<StreamSocket, SystemError>) -> Void
        ) {
            self.remote = remote
            self.done = done
            let descriptor = braid_socket_stream(remote.address.isIPv4 ? 1 : 0)
            guard descriptor >= 0 else { fail(loop, -descriptor); return }
            let socket = StreamSocket(loop: loop, descriptor: descriptor)
            guard descriptor < DescriptorLimit.forConnections else { fail(loop, EMFILE); return }
            do throws(SystemError) {
                try localBinding.bind(descriptor, isIPv4: remote.address.isIPv4)
            } catch {
                fail(loop, error.code)
                return
            }
            var address = braid_address(remote)
            let result = braid_connect(descriptor, &address)
            guard result == 0 || result == -EINPROGRESS else { fail(loop, -result); return }
            self.socket = socket
            socket.watch.onWritable(for: self) { $0.finishConnecting() }
            socket.watch.wantsWrite = true
        }

        /// `done` is not called any more, and the socket is closed; harmless when repeated.
        public func cancel() {
            isDone = true
            deferred = nil
            socket?.close()
            socket = nil
        }

        /// Ends the attempt at once where the kernel knows its outcome already, as it does of this
        /// machine's own services: `done` is called before this returns, not an iteration later.
        public func settle() {
            if let socket, braid_has_settled(socket.descriptor) { finishConnecting() }
        }

        /// Fails in the next iteration: nobody expects an answer before `connect` returned.
        private func fail(_ loop: EventLoop, _ code: Int32) {
            let timer = loop.timer(for: self) {
                $0.finish(.failure(SystemError("connect to \($0.remote)", code: code)))
            }
            timer.arm(after: .zero)
            deferred = timer
        }

        private func finishConnecting() {
            guard let socket else { return }
            let code = braid_socket_error(socket.descriptor)
            self.socket = nil
            socket.watch.rest()
            if code == 0 {
                finish(.success(socket))
            } else {
                socket.close()
                finish(.failure(SystemError("connect to \(remote)", code: code)))
            }
        }

        private func finish(_ result: Result<StreamSocket, SystemError>) {
            guard !isDone else { return }
            isDone = true
            done(result)
        }
    }

    /// Starts connecting, out of this machine as `localBinding` says; `done` is called once from
    /// the loop, unless the attempt is cancelled or released.
    public static func connect(
        to remote: SocketAddress, from localBinding: LocalBinding = LocalBinding(), loop: EventLoop,
        done: @escaping (Result<StreamSocket, SystemError>) -> Void
    ) -> Attempt {
        Attempt(loop, remote, localBinding, done)
    }

    // MARK: Bytes

    /// What a read found; `failed` has the errno.
    public enum ReadResult: Equatable {
        case bytes(Int)
        /// The peer finished its direction.
        case end
        /// Nothing there now.
        case blocked
        case failed(Int32)
    }

    /// Reads what is there into `space` (not empty).
    public func read(into space: UnsafeMutableRawBufferPointer) -> ReadResult {
        while true {
            let n = Glibc.read(descriptor, space.baseAddress, space.count)
            if n > 0 { return .bytes(n) }
            if n == 0 { return .end }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .blocked
            default: return .failed(errno)
            }
        }
    }

    /// What a write did: bytes taken (fewer than given where the kernel has no space for more),
    /// none, or the errno.
    public enum WriteResult: Equatable { case bytes(Int), blocked, failed(Int32) }

    /// Writes as much as the kernel takes.
    public func write(_ pieces: Pieces) -> WriteResult {
        guard pieces.count > 0 else { return .bytes(0) }
        while true {
            let n = braid_write2(
                descriptor, pieces.first.baseAddress, pieces.first.count,
                pieces.second.baseAddress, pieces.second.count)
            if n >= 0 { return .bytes(n) }
            switch Int32(-n) {
            case EINTR: continue
            case EAGAIN: return .blocked
            case let code: return .failed(code)
            }
        }
    }

    /// The same for bytes that stand in one place.
    public func write(_ bytes: UnsafeRawBufferPointer) -> WriteResult {
        write(Pieces(first: bytes, second: UnsafeRawBufferPointer(start: nil, count: 0)))
    }

    /// The same for an array; for answers that are short and rare.
    public func write(_ bytes: [UInt8]) -> WriteResult { bytes.withUnsafeBytes { write($0) } }

    // MARK: Ends

    /// Sends FIN; the other direction stays open.
    public func finishWriting() { if isOpen { shutdown(descriptor, Int32(SHUT_WR)) } }

    /// Closes in order: what was written is still delivered. Harmless when repeated.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        deathWatch?.cancel()
        deathWatch = nil
        watch.cancel()
        Glibc.close(descriptor)
    }

    /// Closes with RST.
    public func reset() {
        if isOpen { _ = braid_set_reset_on_close(descriptor) }
        close()
    }

    // MARK: Addresses

    /// Nil where the connection is gone.
    public var localAddress: SocketAddress? { address(braid_local_address) }
    /// Where whoever connected meant it for; nil where the connection is gone.
    public var destination: SocketAddress? { redirectedFrom ?? localAddress }
    /// Nil where the connection is gone.
    public var remoteAddress: SocketAddress? { address(braid_remote_address) }

    private func address(
        _ ask: (Int32, UnsafeMutablePointer<braid_address>) -> Int32
    ) -> SocketAddress? {
        var out = braid_address()
        return isOpen && ask(descriptor, &out) == 0 ? SocketAddress(out) : nil
    }
}

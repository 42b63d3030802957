import Buffers
import Glibc
import Measures
import Multipath
import Tunnel

/// The engine's side of a pump: one stream's bytes each way.
public protocol PumpedStream: AnyObject {
    /// A contiguous piece to write into; empty while there is no space.
    func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer
    func commitWrite(_ n: Int)
    func finishWriting()
    /// In order and not yet consumed.
    var readable: Pieces { get }
    func consume(_ n: Int)
    var isReadFinished: Bool { get }
    /// The stream ended before its time.
    var hasFailed: Bool { get }
    func abort()
    /// The pump is done with the stream.
    func release()
    /// What may be moved before others' turn, bytes, and what was. All of a turn's pumps share it.
    var allowance: Int { get }
    func moved(_ n: Int)
}

extension PumpedStream {
    /// Without a turn to share: no limit but the pump's own.
    public var allowance: Int { .max }
    /// Without a turn to share: nothing to count.
    public func moved(_ n: Int) {}
}

/// A `StreamHandle` of an engine, for a pump.
public final class EngineStream: PumpedStream {
    /// Released by `release()`.
    public let handle: StreamHandle
    /// The engine's; it knows the time, and what a turn may still move.
    public let driver: EngineDriver

    /// `driver` is that of the handle's engine.
    public init(_ handle: StreamHandle, driver: EngineDriver) {
        self.handle = handle
        self.driver = driver
    }

    /// Where up to `wanted` bytes may be written; empty where the send buffer is full.
    public func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        handle.writeSpace(wanted)
    }
    /// `n` bytes of `writeSpace` were written, at most all of it.
    public func commitWrite(_ n: Int) { handle.commitWrite(n, at: driver.now) }
    /// Nothing follows: the peer sees the end behind what was written.
    public func finishWriting() { handle.finishWriting(at: driver.now) }
    /// What has come in order and was not consumed; valid until the next call.
    public var readable: Pieces { handle.readable }
    /// `n` bytes of `readable` were taken, at most all of it; the window opens by them.
    public func consume(_ n: Int) { handle.consume(n, at: driver.now) }
    /// The peer has ended its direction, and all of it was consumed.
    public var isReadFinished: Bool { handle.isReadFinished }
    /// The connection was aborted, or its session ended.
    public var hasFailed: Bool { handle.error != nil }
    /// Ends both directions at once; the peer sees a reset.
    public func abort() { handle.abort(at: driver.now) }
    /// The last call: the handle is given back.
    public func release() { handle.release(at: driver.now) }
    /// Bytes that all pumps may still move in this turn.
    public var allowance: Int { driver.allowance }
    /// `n` bytes were moved.
    public func moved(_ n: Int) { driver.allowance -= n }
}

/// Moves bytes between one TCP socket and one stream of the engine, both ways, until both ends are
/// done.
///
/// Straight from `read(2)` into the connection's send ring and from its receive ring into `writev`;
/// nothing is kept here. Half-close goes through each way; a full side stops the other; a reset
/// becomes an abort and the reverse. The owner keeps the pump and calls `activity()` for every
/// `.activity` of its handle.
public final class Pump {
    /// Why a pump has ended; both sides are closed by then.
    public enum End: Equatable, Sendable {
        /// Both directions ended in order.
        case finished
        /// The application or destination reset its connection (errno).
        case socketFailed(Int32)
        /// The stream was aborted or its session lost.
        case streamFailed
        /// `cancel()`.
        case cancelled
    }

    /// Bytes moved so far, what was read ahead of the pump included, the greeting not.
    public private(set) var bytesFromSocket = 0, bytesToSocket = 0
    /// When bytes moved last, in either direction, or the pump began.
    public private(set) var movedAt = EventLoop.monotonic()
    private let socket: StreamSocket
    private let stream: any PumpedStream
    private var ended: ((End) -> Void)?
    /// For the socket, ahead of the stream's bytes.
    private var greeting: [UInt8]
    private var readSize = Pump.minimumRead
    private var socketEnded = false
    private var streamEnded = false
    private var isOver = false

    // The first read of a connection should not make its ring large; a busy one earns larger reads.
    private static let minimumRead = 16 << 10, maximumRead = 128 << 10
    /// Bytes moved each way for one event: of what the turn still allows a part, so that nobody
    /// gets all of it, and a little always.
    private var maximumPerEvent: Int {
        max(Self.minimumRead, min(Self.maximumAtOnce, stream.allowance / 2))
    }
    private static let maximumAtOnce = 128 << 10

    /// `greeting` goes to the socket ahead of the stream's bytes (such as an HTTP proxy's reply);
    /// `early` was already read from the socket and goes into the stream first.
    public init(
        socket: StreamSocket, stream: any PumpedStream, greeting: [UInt8] = [], early: [UInt8] = [],
        ended: @escaping (End) -> Void
    ) {
        self.socket = socket
        self.stream = stream
        self.greeting = greeting
        self.early = early
        self.ended = ended
    }
    private var early: [UInt8]

    /// The same between a socket and a connection of `driver`'s engine.
    public convenience init(
        socket: StreamSocket, handle: StreamHandle, driver: EngineDriver,
        greeting: [UInt8] = [],
        early: [UInt8] = [], ended: @escaping (End) -> Void
    ) {
        self.init(
            socket: socket, stream: EngineStream(handle, driver: driver), greeting: greeting,
            early: early, ended: ended)
    }

    /// Begins to move bytes; call once.
    public func start(lookingEvery interval: Interval = DeathWatch.interval) {
        socket.onDeath(every: interval, for: self) { $0.end(.socketFailed($1)) }
        socket.watch.onReadable(for: self) {
            $0.fromSocket(); $0.endOrWatch()
        }
        socket.watch.onWritable(for: self) {
            $0.toSocket(); $0.endOrWatch()
        }
        activity()
    }

    /// The stream has bytes, space, an end or an error.
    public func activity() {
        guard !isOver else { return }
        if stream.hasFailed { end(.streamFailed); return }
        toSocket()
        // Only where reading stood still: otherwise the socket's own event comes.
        if !isOver, !socketEnded, !socket.watch.wantsRead { fromSocket() }
        endOrWatch()
    }

    /// Ends both sides at once, with a reset.
    public func cancel() { end(.cancelled) }

    // MARK: Socket to stream

    private func fromSocket() {
        guard !isOver, !socketEnded, forwardEarly() else { return }
        var moved = 0
        let limit = maximumPerEvent
        while moved < limit {
            let space = stream.writeSpace(min(readSize, limit - moved))
            if space.isEmpty { socket.watch.wantsRead = false; break }
            switch socket.read(into: space) {
            case .bytes(let n):
                stream.commitWrite(n)
                moved += n
                adapt(n, asked: space.count)
                // A short read emptied the socket: asking again would only hear so.
                if n < space.count { socket.watch.wantsRead = true; finishEvent(moved); return }
            case .blocked:
                socket.watch.wantsRead = true
                finishEvent(moved)
                return
            case .end:
                socketEnded = true
                socket.watch.wantsRead = false
                stream.finishWriting()
                bytesFromSocket += moved
                return
            case .failed(let code):
                end(.socketFailed(code))
                return
            }
        }
        if moved >= limit { socket.watch.wantsRead = true }
        finishEvent(moved)
    }

    private func finishEvent(_ moved: Int) {
        guard moved > 0 else { return }
        movedAt = EventLoop.monotonic()
        bytesFromSocket += moved
        stream.moved(moved)
    }

    private func adapt(_ n: Int, asked: Int) {
        if n == readSize, readSize < Self.maximumRead {
            readSize *= 2
        } else if n < readSize / 4, asked == readSize, readSize > Self.minimumRead {
            readSize /= 2
        }
    }

    /// Puts what was read before the pump into the stream; false while some is left.
    private func forwardEarly() -> Bool {
        guard !early.isEmpty else { return true }
        while !early.isEmpty {
            let space = stream.writeSpace(early.count)
            if space.isEmpty { socket.watch.wantsRead = false; break }
            let n = min(space.count, early.count)
            early.withUnsafeBytes {
                space.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<n]))
            }
            stream.commitWrite(n)
            bytesFromSocket += n
            if n == early.count { early = [] } else { early.removeFirst(n) }
        }
        return early.isEmpty
    }

    // MARK: Stream to socket

    private func toSocket() {
        guard !isOver, !streamEnded else { return }
        guard sendGreeting() else { return }
        var moved = 0
        let limit = maximumPerEvent
        while moved < limit {
            let pieces = stream.readable.prefix(limit - moved)
            if pieces.count == 0 { socket.watch.wantsWrite = false; break }
            switch socket.write(pieces) {
            case .bytes(let n):
                stream.consume(n)
                moved += n
                if n < pieces.count { socket.watch.wantsWrite = true; finishWrite(moved); return }
            case .blocked:
                socket.watch.wantsWrite = true
                finishWrite(moved)
                return
            case .failed(let code):
                end(.socketFailed(code))
                return
            }
        }
        if moved >= limit { socket.watch.wantsWrite = stream.readable.count > 0 }
        finishWrite(moved)
        if stream.isReadFinished {
            streamEnded = true
            socket.watch.wantsWrite = false
            socket.finishWriting()
        }
    }

    private func finishWrite(_ moved: Int) {
        guard moved > 0 else { return }
        movedAt = EventLoop.monotonic()
        bytesToSocket += moved
        stream.moved(moved)
    }

    /// False while some of the greeting is left.
    private func sendGreeting() -> Bool {
        guard !greeting.isEmpty else { return true }
        switch socket.write(greeting) {
        case .bytes(let n) where n == greeting.count:
            greeting = []
            return true
        case .bytes(let n): greeting.removeFirst(n)
        case .blocked: break
        case .failed(let code):
            end(.socketFailed(code))
            return false
        }
        socket.watch.wantsWrite = true
        return false
    }

    // MARK: The end

    private func endOrWatch() {
        guard !isOver else { return }
        if socketEnded, streamEnded { end(.finished); return }
        // Held up, or half closed: a reset is seen all the same.
        let isUnwatched = !socket.watch.wantsRead && !socket.watch.wantsWrite
        if let deathWatch = socket.deathWatch, deathWatch.isNeeded != isUnwatched {
            deathWatch.isNeeded = isUnwatched
        }
    }

    private func end(_ reason: End) {
        guard !isOver else { return }
        isOver = true
        switch reason {
        case .finished: socket.close()
        case .streamFailed: socket.reset()
        case .socketFailed, .cancelled:
            socket.reset()
            stream.abort()
        }
        stream.release()
        let tell = ended
        ended = nil
        tell?(reason)
    }
}

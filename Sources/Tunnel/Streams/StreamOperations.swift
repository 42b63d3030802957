import Buffers
import Measures
import Multipath
import Wire

/// What an application's side does with a stream.
extension StreamHandle {
    // MARK: State

    /// Why the connection broke off; nil while it has not.
    public var error: ConnectionError? { connection.error }
    /// The peer's end was read, and all bytes before it.
    public var isReadFinished: Bool { connection.isReadFinished }
    /// Our end has arrived at the peer, and all bytes before it.
    public var isWriteFinished: Bool { connection.isWriteFinished }
    /// The handover mode it has at present.
    public var mode: HandoverMode { session.map { ownMode ?? $0.modes.session } ?? connection.mode }
    /// Proxy: its session goes on to the end of its connections, and another one has replaced it.
    public var isLeftBehind: Bool { session?.isReplaced == true }
    /// How long a message and its answer may take on the session's best path, at most: a few times
    /// the round trip's variation above it. Nil where there is no session.
    public var answerTimeout: Interval? {
        session.map { $0.bestPath()?.probeTimeout ?? Limits.initialTimeout }
    }

    // MARK: Writing

    /// Space in the send ring for up to `wanted` bytes, in one piece; empty where there is none
    /// now. What is written there counts with `commitWrite`; it stands until the next operation.
    public func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        connection.writeSpace(wanted)
    }

    /// The first `n` bytes of `writeSpace` were written.
    public func commitWrite(_ n: Int, at now: Instant) {
        connection.commitWrite(n, at: now)
        markReady()
    }

    /// Copies as many bytes as there is space for; their number.
    public func write(_ bytes: UnsafeRawBufferPointer, at now: Instant) -> Int {
        defer { markReady() }
        return connection.write(bytes, at: now)
    }

    /// Writes up to `count` zero bytes, as many as there is space for; their number. For
    /// measurements.
    public func writeZeros(_ count: Int, at now: Instant) -> Int {
        var written = 0
        while written < count {
            let space = writeSpace(min(count - written, 16 << 10))
            guard !space.isEmpty else { break }
            let n = min(count - written, space.count)
            _ = UnsafeMutableRawBufferPointer(rebasing: space[..<n]).initializeMemory(
                as: UInt8.self, repeating: 0)
            commitWrite(n, at: now)
            written += n
        }
        return written
    }

    /// Nothing more will be written.
    public func finishWriting(at now: Instant) {
        connection.finishWriting(at: now)
        markReady()
    }

    // MARK: Reading

    /// The bytes that have arrived and were not consumed; they stand until the next operation.
    public var readable: Pieces { connection.readable }

    /// The first `n` bytes of `readable` were read.
    public func consume(_ n: Int, at now: Instant) {
        connection.consume(n, at: now)
        markReady()
    }

    // MARK: The end

    /// Breaks the connection off: the peer hears of a reset.
    public func abort(at now: Instant) {
        connection.abort(at: now)
        markReady()
    }

    /// Concentrator: the dial's result, sent before any data; anything but `.connected` also ends
    /// the stream.
    public func answer(with status: DialStatus, at now: Instant) {
        guard !progress.isAnswered, connection.error == nil else { return }
        progress.stage = status == .connected ? .answered : .refused
        let taken = withUnsafeBytes(of: status.rawValue) { connection.write($0, at: now) }
        // There is always room for a first byte; where there should be none the stream ends.
        guard taken == 1 else { abort(at: now); return }
        if status != .connected {
            connection.finishWriting(at: now)
            discardReadable(at: now)
        }
        markReady()
    }

    /// The owner is done with the handle; the connection winds up by itself. Where bytes of the
    /// peer's are still to come it is aborted, as close(2) does with unread data.
    public func release(at now: Instant) {
        guard !progress.isReleased else { return }
        progress.isReleased = true
        countRelease()
        session?.endAssociation(of: self, at: now)
        owner = nil
        if progress.stage != .refused {
            if connection.isReadFinished {
                connection.finishWriting(at: now)
            } else {
                connection.abort(at: now)
            }
        }
        if session == nil {
            host.stopWaiting(self)
        } else {
            markReady()
        }
    }

    /// The connection may have something to send, or to tell.
    @inline(__always) func markReady() {
        if slot != nil { host.work.ready.append(self) }
    }

    /// What comes is not wanted.
    func discardReadable(at now: Instant) {
        let count = connection.readable.count
        if count > 0 { connection.consume(count, at: now) }
    }
}

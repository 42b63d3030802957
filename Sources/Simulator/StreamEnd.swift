import Buffers
import Measures
import Multipath
import Tunnel

/// A simulated application at one end of a connection: produces, reads, and checks every byte.
public class StreamEnd {
    /// What it sends.
    public let supply: Supply
    /// How it reads.
    public let reader: Reader
    /// What the other end will send in all.
    public let expected: Int
    /// Bytes taken by the engine.
    public internal(set) var written = 0
    /// Bytes taken from the engine, all as they should be.
    public internal(set) var read = 0
    /// When they came.
    public var log = ReceptionLog()
    /// The first thing that was wrong; nil while all is right.
    public internal(set) var failure: String?
    /// Aborts the connection when this much was read (both ends must expect it).
    public var abortsAfterReading: Int?
    /// Whether the connection may end in an error without that being a failure.
    public var toleratesError = false
    /// When it produced its first byte.
    public internal(set) var began: Instant?
    /// When both directions had ended, or the error that was expected came.
    public internal(set) var finishedAt: Instant?

    let outgoing: StreamPattern
    let incoming: StreamPattern
    private var lastTurn = Instant.zero
    private var isWritingFinished = false
    private var isAborted = false
    private var pausedUntil = Instant.zero
    private var hasPaused = false
    private weak var peer: StreamEnd?

    init(
        outgoing: StreamPattern, incoming: StreamPattern, supply: Supply, expected: Int,
        reader: Reader
    ) {
        self.outgoing = outgoing
        self.incoming = incoming
        self.supply = supply
        self.expected = expected
        self.reader = reader
    }

    /// The two ends of one stream. `key` gives its bytes; what the listener sends may be a
    /// recording.
    public static func pair(
        key: UInt64, initiator: Supply, listener: Supply,
        initiatorReader: Reader = .eager, listenerReader: Reader = .eager,
        recording: [UInt8] = [], pause: Interval = .zero, pace: Pace? = nil
    ) -> (initiator: StreamEnd, listener: StreamEnd) {
        var there = StreamPattern(key: key), back = StreamPattern(key: ~key, recording: recording)
        if case .echo = listener { back = there }
        if case .echo = initiator { there = back }
        let a: StreamEnd
        if let pace {
            a = WaitingEnd(
                outgoing: there, incoming: back, supply: initiator, expected: listener.total,
                pace: pace)
        } else if pause > .zero {
            a = PausingEnd(
                outgoing: there, incoming: back, supply: initiator, expected: listener.total,
                pause: pause)
        } else {
            a = StreamEnd(
                outgoing: there, incoming: back, supply: initiator,
                expected: listener.total, reader: initiatorReader)
        }
        let b = StreamEnd(
            outgoing: back, incoming: there, supply: listener,
            expected: initiator.total, reader: listenerReader)
        a.peer = b
        b.peer = a
        return (a, b)
    }

    /// Whether nothing is left to do here.
    public var isFinished: Bool { finishedAt != nil }
    /// One phrase on where it stands.
    var standing: String {
        "wrote \(written)/\(supply.total) read \(read)/\(expected)"
            + (isFinished ? " finished" : "")
    }
    /// It ended the connection before all was said: the peer may see an error.
    var hasBrokenOff: Bool { isAborted }

    /// When time alone gives it something to do.
    public var deadline: Instant {
        guard !isFinished, failure == nil, let began else { return .distantFuture }
        var next = Instant.distantFuture
        if let elapsed = supply.nextProduction(after: lastTurn - began) { next = began + elapsed }
        switch reader {
        case .eager: break
        case .slow(let rate):
            // Rereads every 20 ms at least, as a player does.
            if read < expected {
                next = min(next, lastTurn + max(.milliseconds(20), rate.time(for: 1)))
            }
        case .pausing: if pausedUntil > lastTurn { next = min(next, pausedUntil) }
        }
        return next
    }

    /// Reads and writes as much as it can; whether it did anything.
    public func turn(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        guard failure == nil, !isFinished else { return false }
        if began == nil { began = now }
        lastTurn = now
        if let error = connection.error {
            if toleratesError || isAborted {
                finishedAt = now
            } else {
                fail("connection ended: \(error)")
            }
            return true
        }
        var didSomething = receive(connection, at: now)
        didSomething = send(connection, at: now) || didSomething
        if let limit = abortsAfterReading, read >= limit, !isAborted {
            isAborted = true
            finishedAt = now
            connection.abort(at: now)
            return true
        }
        if connection.isReadFinished, connection.isWriteFinished, isWritingFinished {
            finishedAt = now
            if read != expected { fail("stream ended after \(read) of \(expected) bytes") }
            didSomething = true
        }
        return didSomething
    }

    func fail(_ text: String) { if failure == nil { failure = text } }

    private func readAllowance(at now: Instant) -> Int {
        switch reader {
        case .eager: return .max
        case .slow(let rate): return rate.bytes(in: now - (began ?? now)) - read
        case .pausing(let offset, let pause):
            if !hasPaused, read >= offset {
                hasPaused = true
                pausedUntil = now + pause
            }
            if now < pausedUntil { return 0 }
            return hasPaused ? .max : offset - read
        }
    }

    /// Bytes it has made so far.
    func produced(at now: Instant) -> Int {
        supply.produced(after: now - (began ?? now), received: read)
    }

    private func receive(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        var taken = 0
        while failure == nil {
            let pieces = connection.readable
            let allowed = min(pieces.count, readAllowance(at: now))
            guard allowed > 0 else { break }
            // `consume` may change the ring, so both pieces are looked at first.
            let firstCount = min(allowed, pieces.first.count)
            check(UnsafeRawBufferPointer(rebasing: pieces.first[0..<firstCount]))
            check(UnsafeRawBufferPointer(rebasing: pieces.second[0..<(allowed - firstCount)]))
            connection.consume(allowed, at: now)
            taken += allowed
        }
        if taken > 0 {
            log.note(taken, total: read, at: now)
            if let peer, let began = peer.began {
                log.noteDelays(of: peer.supply, began: began, total: read, at: now)
            }
        }
        return taken > 0
    }

    func check(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        if let wrong = incoming.firstDifference(bytes, from: UInt64(read)) {
            fail("wrong byte at offset \(read + wrong) of \(expected)")
        }
        read += bytes.count
        if read > expected { fail("\(read) bytes arrived of \(expected)") }
    }

    private func send(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        guard !isWritingFinished, began != nil else { return false }
        var wrote = false
        let produced = produced(at: now)
        while written < produced {
            let space = connection.writeSpace(produced - written)
            guard space.count > 0 else { return wrote }
            outgoing.fill(space, from: UInt64(written))
            connection.commitWrite(space.count, at: now)
            written += space.count
            wrote = true
        }
        if written == supply.total {
            isWritingFinished = true
            connection.finishWriting(at: now)
            wrote = true
        }
        return wrote
    }
}

/// What an application reads, writes and ends: a connection by itself, or a stream of an endpoint.
public protocol ApplicationStream: AnyObject {
    var error: ConnectionError? { get }
    var readable: Pieces { get }
    var isReadFinished: Bool { get }
    var isWriteFinished: Bool { get }
    func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer
    func commitWrite(_ n: Int, at now: Instant)
    func finishWriting(at now: Instant)
    func consume(_ n: Int, at now: Instant)
    func abort(at now: Instant)
}
extension Connection: ApplicationStream {}
extension StreamHandle: ApplicationStream {}

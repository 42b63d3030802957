import Measures
import Multipath

/// An application that calls what it may at any time: odd sizes, parts of what there is, long
/// silences, half-closes, aborts, walking away. Beside it stands the only thing it may rely on:
/// bytes arrive in order, once, then the end; or the connection ends with an error, but only where
/// somebody broke it off.
///
/// It comes back by itself only where it left something undone. When there was nothing to read or
/// no room to write, it waits for word from the engine, so a forgotten event shows as a stream that
/// is stuck.
final class CallsEnd: StreamEnd {
    /// How it means to leave.
    enum Leaving {
        /// Waits until everything arrived on both sides.
        case orderly
        /// Has read to the end and finished writing; does not wait for the acknowledgement.
        case hasty
        /// Aborts after so many calls.
        case aborting(after: Int)
        /// Lets go after so many calls, read or unread, finished or not.
        case walkingAway(after: Int)
    }

    private var random: SeededRandom
    private let leaving: Leaving
    /// How often it rests between calls, and for how long at most.
    private let restlessness: Double
    private let maximumRest: Interval
    private let writesInPieces: Int
    private var toWrite: Int
    private var calls = 0
    /// Rests left, so that it comes to an end.
    private var rests = 25
    private var isWritingFinished = false
    private var hasSeenEnd = false
    private var broke = false
    private var restsUntil = Instant.zero
    private var comesBack = false
    private var waitsForRoom = false
    private unowned var other: CallsEnd!

    override var hasBrokenOff: Bool { broke }

    override var standing: String {
        "\(leaving) after \(calls) calls wrote \(written)/\(toWrite) read \(read)"
            + (isWritingFinished ? " finished writing" : "") + (hasSeenEnd ? " saw the end" : "")
            + (broke ? " broke off" : "") + (isFinished ? " gone" : comesBack ? " rests" : "")
    }

    static func pair(key: UInt64, seed: UInt64) -> (initiator: StreamEnd, listener: StreamEnd) {
        let there = StreamPattern(key: key), back = StreamPattern(key: ~key)
        let a = CallsEnd(outgoing: there, incoming: back, seed: seed),
            b = CallsEnd(outgoing: back, incoming: there, seed: ~seed)
        a.other = b
        b.other = a
        return (a, b)
    }

    private init(outgoing: StreamPattern, incoming: StreamPattern, seed: UInt64) {
        random = SeededRandom(seed: seed)
        toWrite = random.chance(0.15) ? 0 : Int(random.scaled(1, 600_000))
        restlessness = random.chance(0.3) ? 0.5 : 0.05
        maximumRest = .milliseconds(random.chance(0.2) ? 4_000 : 60)
        writesInPieces = random.chance(0.3) ? 40 : 70_001
        leaving =
            switch random.number(0...9) {
            case 0...4: .orderly
            case 5, 6: .hasty
            case 7: .aborting(after: random.number(0...40))
            default: .walkingAway(after: random.number(0...40))
            }
        super.init(
            outgoing: outgoing, incoming: incoming, supply: .nothing, expected: .max, reader: .eager
        )
    }

    override var deadline: Instant {
        guard !isFinished, failure == nil, began != nil else { return .distantFuture }
        return comesBack ? restsUntil : .distantFuture
    }

    override func turn(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        guard failure == nil, !isFinished else { return false }
        if began == nil { began = now }
        if let error = connection.error {
            if !broke, !other.broke { fail("connection ended: \(error)") }
            finishedAt = now
            return true
        }
        if comesBack, restsUntil > now { return false }  // busy elsewhere
        comesBack = false
        waitsForRoom = false  // word may have come meanwhile
        var didSomething = false
        for _ in 0..<24 where failure == nil {
            if leaves(connection, at: now) { return true }
            if rests > 0, random.chance(restlessness) {
                rests -= 1
                rest(random.interval(.zero, maximumRest), at: now)
                return didSomething
            }
            calls += 1
            let canRead = connection.readable.count > 0
            let wantsWrite = written < toWrite, isLast = !wantsWrite && !isWritingFinished
            if canRead, random.chance(0.5) || !(wantsWrite || isLast) {
                readSome(connection, at: now)
            } else if wantsWrite {
                if !writeSome(connection, at: now), !canRead { break }
            } else if isLast {
                connection.finishWriting(at: now)
                isWritingFinished = true
            } else {
                break
            }
            didSomething = true
        }
        noteEnd(connection)
        // What could be done at once and was left undone brings it back; all else the engine has to
        // say.
        let undone =
            connection.readable.count > 0
            || (!isWritingFinished && (written >= toWrite || !waitsForRoom))
        if undone, failure == nil { rest(.microseconds(Int64(random.number(1...3_000))), at: now) }
        if leaves(connection, at: now) { return true }
        return didSomething
    }

    private func rest(_ time: Interval, at now: Instant) {
        comesBack = true
        restsUntil = now + max(time, .microseconds(1))
    }

    // MARK: Calls

    private func readSome(_ connection: any ApplicationStream, at now: Instant) {
        let pieces = connection.readable
        let n = random.chance(0.5) ? pieces.count : 1 + Int(random.next() % UInt64(pieces.count))
        let first = min(n, pieces.first.count)
        check(UnsafeRawBufferPointer(rebasing: pieces.first[0..<first]))
        check(UnsafeRawBufferPointer(rebasing: pieces.second[0..<(n - first)]))
        if read > other.written { fail("\(read) bytes arrived, \(other.written) were written") }
        connection.consume(n, at: now)
    }

    /// False where there was no room.
    private func writeSome(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        let wanted = min(toWrite - written, random.number(1...writesInPieces))
        let space = connection.writeSpace(wanted)
        waitsForRoom = space.isEmpty
        if space.isEmpty { return false }
        if space.count > wanted {
            fail("room for \(space.count) bytes where \(wanted) were asked for")
        }
        let n = random.chance(0.7) ? space.count : 1 + Int(random.next() % UInt64(space.count))
        outgoing.fill(UnsafeMutableRawBufferPointer(rebasing: space[0..<n]), from: UInt64(written))
        connection.commitWrite(n, at: now)
        written += n
        return true
    }

    /// The end may be seen only after everything, and only where the other side finished.
    private func noteEnd(_ connection: any ApplicationStream) {
        guard connection.isReadFinished else {
            if hasSeenEnd { fail("the end was taken back") }
            return
        }
        hasSeenEnd = true
        if !other.isWritingFinished { fail("the stream ended, but nobody finished it") }
        if read != other.written {
            fail("the stream ended after \(read) of \(other.written) bytes")
        }
        if connection.isWriteFinished, !isWritingFinished {
            fail("writing is finished, but nobody finished it")
        }
    }

    /// Whether it is time to go.
    private func leaves(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        switch leaving {
        case .aborting(let after) where calls >= after:
            broke = broke || !(connection.isReadFinished && connection.isWriteFinished)
            connection.abort(at: now)
        case .walkingAway(let after) where calls >= after:
            // The owner lets go of the handle, which aborts where bytes of the peer's are still to
            // come.
            if !connection.isReadFinished { broke = true } else { isWritingFinished = true }
        case .hasty where isWritingFinished && connection.isReadFinished: break
        case .orderly
        where isWritingFinished && connection.isReadFinished && connection.isWriteFinished: break
        case .aborting, .walkingAway, .hasty, .orderly:
            // Who means to break off, but has nothing left to do, goes when everything is said.
            guard isWritingFinished, connection.isReadFinished, connection.isWriteFinished else {
                return false
            }
        }
        noteEnd(connection)
        finishedAt = now
        return true
    }
}

extension Scenario {
    /// Links and faults as in `drawn`, and applications that call what they like.
    public static func drawnCalls(seed: UInt64) -> Scenario {
        var scenario = Scenario.drawn(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x6361_6c6c_7300)
        scenario.streams = (0..<random.number(1...8)).map { i in
            var plan = StreamPlan(
                at: i == 0 ? .zero : .zero + random.interval(.zero, .seconds(5)),
                initiator: .nothing, listener: .nothing)
            plan.calls = random.next()
            return plan
        }
        return scenario
    }
}

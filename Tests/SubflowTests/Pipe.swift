import Measures
import Subflow
import Wire

/// A segment on its way, with the stream offset of its payload in place of the payload.
struct Flying {
    var arrival: Instant
    var order: Int
    var toB: Bool
    var segment: Segment
    var length: Int
    var offset: UInt64
}

/// One end of the pipe: a subflow and an application that sends `total` bytes and closes.
final class End {
    var subflow: Subflow!
    var total: Int
    var written = 0
    /// Which parts of the peer's stream arrived, in order and disjoint.
    var seen: [Range<Int>] = []
    let peerTotal: Int
    var receivedBytes = 0
    var duplicateText = 0
    var finished = false
    var wasReset = false
    var isClosing = false
    var window = 1 << 20
    /// `close()` only once the peer finished too.
    var waitsForPeer = false
    var problem: String?

    init(total: Int, peerTotal: Int) {
        self.total = total
        self.peerTotal = peerTotal
    }

    func take(_ flying: Flying, at now: Instant) {
        let arrival = subflow.receive(
            flying.segment, payloadLength: flying.length, textIsUsable: true,
            receiveWindow: window, at: now)
        if !arrival.text.isEmpty {
            place(
                Int(flying.offset) + arrival.text.lowerBound..<Int(flying.offset)
                    + arrival.text.upperBound)
        }
        if arrival.finished { finished = true }
        if arrival.wasReset { wasReset = true }
    }

    func place(_ text: Range<Int>) {
        if text.upperBound > peerTotal { problem = "text beyond the stream" }
        for old in seen where old.overlaps(text) { duplicateText += old.clamped(to: text).count }
        receivedBytes += text.count
        var i = seen.count
        while i > 0, seen[i - 1].lowerBound > text.lowerBound { i -= 1 }
        seen.insert(text, at: i)
        while i > 0, seen[i - 1].upperBound == seen[i].lowerBound { i -= 1 }
        while i + 1 < seen.count, seen[i].upperBound == seen[i + 1].lowerBound {
            seen[i] = seen[i].lowerBound..<seen[i + 1].upperBound
            seen.remove(at: i + 1)
        }
    }

    /// Everything the subflow wants sent now, handed to `emit`.
    func pump(at now: Instant, emit: (Segment, Int, UInt64) -> Void) {
        var turns = 0
        if !isClosing, subflow.state != .closed, written == total, !waitsForPeer || finished {
            isClosing = true
            subflow.close()
        }
        while true {
            turns += 1
            if turns > 10_000 { problem = "nextAction never ends"; return }
            var s = Segment()
            switch subflow.nextAction(at: now) {
            case .nothing:
                if subflow.deadline <= now {
                    problem = "the deadline is not in the future after .nothing"
                }
                return
            case .open(let room):
                let n = min(room, total - written)
                subflow.fillOpen(
                    &s, dataLength: n, streamOffset: UInt64(written),
                    receiveWindow: window, at: now)
                emit(s, n, UInt64(written))
                written += n
            case .retransmit(let span):
                subflow.fillRetransmission(
                    of: span, &s, receiveWindow: window, optionRoom: 0, at: now)
                emit(s, span.length, span.streamOffset)
            case .data(let room):
                let n = min(room, subflow.sendSegmentSize, total - written)
                if n == 0 { subflow.declineData(at: now); continue }
                subflow.fillData(
                    &s, length: n, streamOffset: UInt64(written),
                    receiveWindow: window, optionRoom: 0, at: now)
                emit(s, n, UInt64(written))
                written += n
            case .finish:
                subflow.fillFinish(&s, receiveWindow: window, optionRoom: 0, at: now)
                emit(s, 0, 0)
            case .acknowledge:
                subflow.fillAcknowledgement(&s, receiveWindow: window, optionRoom: 0, at: now)
                emit(s, 0, 0)
            case .probe:
                subflow.fillProbe(&s, receiveWindow: window, optionRoom: 0, at: now)
                emit(s, 0, 0)
            case .reset:
                subflow.fillReset(&s)
                emit(s, 0, 0)
            }
        }
    }
}

struct LinkFaults {
    var delay = Interval.milliseconds(20)
    var jitter = Interval.zero
    var loss = 0.0
    var duplication = 0.0
    /// Bytes per second; zero: unlimited.
    var rate: Int64 = 0
    /// Bytes that may wait at the link.
    var queue = 64_000
}

/// Two subflows and the network between them, all chance from a seed.
final class Pipe {
    let a: End
    let b: End
    var now = Instant.zero
    var random: SeededRandom
    var faults: LinkFaults
    var flying: [Flying] = []
    var order = 0
    var busyUntil = [Instant.zero, Instant.zero]
    var configurationB: SubflowConfiguration
    var sentSegments = 0
    var trace: UInt64 = 14_695_981_039_346_656_037
    var blackoutUntil = Instant.zero
    static let header = 40

    init(
        seed: UInt64, a totalA: Int, b totalB: Int, configurationA: SubflowConfiguration,
        configurationB: SubflowConfiguration, faults: LinkFaults, sequence: UInt32
    ) {
        random = SeededRandom(seed: seed)
        self.faults = faults
        self.configurationB = configurationB
        a = End(total: totalA, peerTotal: totalB)
        b = End(total: totalB, peerTotal: totalA)
        a.subflow = Subflow(
            opening: configurationA, localPort: 1000, remotePort: 443,
            initialSequence: SubflowSequence(sequence), estimate: nil, at: now)
    }

    func send(_ segment: Segment, _ length: Int, _ offset: UInt64, toB: Bool) {
        sentSegments += 1
        for byte in [
            UInt64(segment.sequence.value), UInt64(segment.acknowledgement.value), UInt64(length),
            UInt64(bitPattern: now.nanoseconds)
        ] { trace = (trace ^ byte) &* 1_099_511_628_211 }
        if now < blackoutUntil || random.chance(faults.loss) { return }
        var depart = now
        let lane = toB ? 0 : 1
        if faults.rate > 0 {
            let start = max(now, busyUntil[lane])
            if Int((start - now).seconds * Double(faults.rate)) > faults.queue { return }
            depart = start + Rate(bytesPerSecond: faults.rate).time(for: length + Pipe.header)
            busyUntil[lane] = depart
        }
        for copy in 0..<(random.chance(faults.duplication) ? 2 : 1) {
            var arrival = depart + faults.delay
            if faults.jitter > .zero {
                arrival += Interval(
                    nanoseconds: Int64(random.unit() * Double(faults.jitter.nanoseconds)))
            }
            if copy == 1 { arrival += faults.delay / 2 }
            order += 1
            insert(
                Flying(
                    arrival: arrival, order: order, toB: toB, segment: segment, length: length,
                    offset: offset))
        }
    }

    private func insert(_ f: Flying) {
        var i = flying.count
        // latest first: the next is popped from the end
        while i > 0, flying[i - 1].arrival < f.arrival { i -= 1 }
        flying.insert(f, at: i)
    }

    func deliver(_ f: Flying) {
        if f.toB {
            if b.subflow == nil {
                guard f.segment.flags.contains(.syn), !f.segment.flags.contains(.ack) else {
                    return
                }
                let taken = configurationB.earlyData ? f.length : 0
                b.subflow = Subflow(
                    accepting: f.segment, payloadLength: f.length,
                    configuration: configurationB,
                    initialSequence: SubflowSequence(UInt32(truncatingIfNeeded: random.next())),
                    estimate: nil, at: now)
                if taken > 0 { b.place(0..<taken) }
            } else {
                b.take(f, at: now)
            }
        } else {
            a.take(f, at: now)
        }
    }

    /// Runs until both ends are closed, nothing more happens or `limit` is reached; the reason it
    /// failed, or nil.
    func run(until limit: Instant) -> String? {
        var steps = 0
        while true {
            steps += 1
            if steps > 2_000_000 { return "too many steps" }
            a.pump(at: now) { self.send($0, $1, $2, toB: true) }
            if b.subflow != nil { b.pump(at: now) { self.send($0, $1, $2, toB: false) } }
            if let p = a.problem ?? b.problem { return p }
            if a.subflow.state == .closed, b.subflow?.state ?? .closed == .closed { return nil }
            var next = a.subflow.deadline
            if let d = b.subflow?.deadline { next = min(next, d) }
            if let f = flying.last { next = min(next, f.arrival) }
            if next == .distantFuture {
                return "nothing happens any more: \(a.subflow.state) \(b.subflow.state)"
            }
            if next > limit {
                return
                    "not over in time: \(a.subflow.state) \(b.subflow?.state ?? .closed) \(b.receivedBytes) \(a.receivedBytes)"
            }
            now = max(now, next)
            while let f = flying.last, f.arrival <= now {
                flying.removeLast()
                deliver(f)
            }
            a.subflow.advance(to: now)
            b.subflow?.advance(to: now)
        }
    }

    /// What must hold at the end of an orderly run.
    func verdict() -> String? {
        if let failure = a.subflow.failure ?? b.subflow?.failure { return "failed: \(failure)" }
        for (end, total) in [(a, b.total), (b, a.total)]
        where end.seen != (total > 0 ? [0..<total] : []) {
            return "bytes missing"
        }
        if a.duplicateText + b.duplicateText > 0 { return "bytes twice" }
        if !a.finished || !b.finished { return "no end of stream" }
        // What the answer to a closed end cut off stays, for its owner to send elsewhere.
        if a.subflow.bytesInFlight != 0 && !a.wasReset
            || b.subflow.bytesInFlight != 0 && !b.wasReset
        {
            return "bytes still in flight"
        }
        return nil
    }
}

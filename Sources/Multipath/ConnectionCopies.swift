import Buffers
import Measures
import Subflow
import Wire

/// Data that goes a second time though nothing is known to be lost: what a slow path holds up, and
/// thin streams in full mode.
extension Connection {
    /// With nothing new to send, or the peer's window shut, what a slow path still owes goes again
    /// on the fastest, once, where it arrives earlier there (Raiciu et al., NSDI'12, opportunistic
    /// reinjection).
    func copyAhead(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard sender.hasUnacknowledged,
            members.count > 1,
            sender.backlog == 0 || sender.isWindowBlocked
        else { return false }
        collectCandidates(segment: configuration.subflow.maximumSegmentSize, at: now)
        guard candidateScratch.count > 0, let fast = fastestWithRoom() else { return false }
        let lowest = max(sender.acknowledged, sender.copiedBelow)
        var start = UInt64.max, end: UInt64 = 0
        for case let slow? in members where slow !== fast && slow.isAlive {
            let tcp = slow.tcp
            guard tcp.outstandingCount > 0, tcp.smoothedRTT > fast.tcp.smoothedRTT * 5 / 4 else {
                continue
            }
            let flight = Double(max(1, tcp.bytesInFlight))
            var ahead = 0
            for i in 0..<min(tcp.outstandingCount, Self.spansExamined) {
                let span = tcp.outstanding(i)
                ahead += span.length
                let spanEnd = span.streamOffset &+ UInt64(span.length)
                guard span.length > 0, !span.isDelivered, spanEnd > lowest else { continue }
                let remaining = tcp.smoothedRTT.seconds * min(1, Double(ahead) / flight)
                if remaining > fast.tcp.smoothedRTT.seconds * 1.25, span.streamOffset < start {
                    start = span.streamOffset
                    end = spanEnd
                }
                break
            }
        }
        guard start != .max else { return false }
        start = max(start, sender.acknowledged)
        let n = emit(
            fast, offset: start, upTo: min(Int(end &- start), fast.tcp.sendSegmentSize),
            isCopy: true, at: now, into: &out)
        traffic.counted.bytesReinjected += n
        sender.copiedBelow = start &+ UInt64(n)
        return true
    }

    /// The first hole of a slow path is among its oldest spans.
    private static let spansExamined = 256

    // MARK: Thin streams

    /// More than this many bytes waiting at once is no thin stream.
    static let maximumThinBacklog = 8 << 10

    /// Full mode: what a steady thin stream sends goes on a second regular path, too, as far as
    /// that has nothing better to do. When the first path dies its bytes are on their way already;
    /// a signal and its answer would take a round trip of the slower path.
    func shadow(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard mode == .full, framing.copiesThinStreams, configuration.aidsHandover,
            members.count > 1,
            sender.backlog == 0, sender.hasUnacknowledged, shadowing.mayCopy(at: now),
            let carrier = member(turn.lastCarrier), carrier.health == .usable
        else { return false }
        let start = max(shadowing.end, sender.acknowledged)
        let length = Int(sender.next &- start)
        guard length > 0 else { return false }
        guard let member = shadowMember(besides: carrier) else { return false }
        let size = min(length, member.tcp.sendSegmentSize)
        let room = member.tcp.dataRoom(at: now)
        if room < size {
            // It can't follow: a copy that comes late helps nobody.
            if member.tcp.windowRoom >= size {
                wakeForPacing(of: member, at: now)
            } else {
                shadowing.fellBehind(at: now)
            }
            return false
        }
        let copied = emit(
            member, offset: start, upTo: size, isCopy: true, at: now, into: &out)
        traffic.counted.bytesReinjected += copied
        shadowing.copied(from: start, to: start &+ UInt64(copied), on: member)
        sender.copiedBelow = max(sender.copiedBelow, shadowing.end)
        return true
    }

    /// The quickest usable regular subflow that is not `carrier` and does not stand on its path.
    private func shadowMember(besides carrier: MemberSubflow) -> MemberSubflow? {
        var best: MemberSubflow?
        for case let member? in members
        where member.path != carrier.path && member.health == .usable && !member.isBackup
            && !member.isStale && costs[member.path] == .usual && mayCarryData(member)
        {
            if best == nil || member.tcp.smoothedRTT < best!.tcp.smoothedRTT { best = member }
        }
        return best
    }
}

/// How far a thin stream was copied, and whether copying it is of use.
struct Shadowing {
    /// Copies cover `start ..< end` on `member`.
    private var start: UInt64 = 0
    private(set) var end: UInt64 = 0
    private var member: MemberSubflow?
    private var notBefore: Instant

    /// A stream must have been thin for so long: requests and short answers are not copied.
    private static let steadiness = Interval.seconds(1)
    /// After the second path could not follow.
    private static let pause = Interval.seconds(5)

    init(at now: Instant) { notBefore = now + Self.steadiness }

    mutating func isBusy(at now: Instant) { notBefore = max(notBefore, now + Self.steadiness) }
    mutating func fellBehind(at now: Instant) { notBefore = max(notBefore, now + Self.pause) }
    func mayCopy(at now: Instant) -> Bool { now >= notBefore }

    mutating func copied(from: UInt64, to: UInt64, on carrier: MemberSubflow) {
        if member !== carrier || from > end { start = from; member = carrier }
        end = to
    }

    /// Whether a living copy of `offset ..< to` is under way on a usable path besides `lost`'s.
    func covers(_ offset: UInt64, _ to: UInt64, besides lost: MemberSubflow) -> Bool {
        let copies = copies(besides: lost)
        return !copies.isEmpty && copies.lowerBound <= offset && to <= copies.upperBound
    }

    /// What has a living copy under way on a usable path besides `lost`'s.
    func copies(besides lost: MemberSubflow) -> Range<UInt64> {
        guard let member, member !== lost, member.isAlive, member.health == .usable,
            !member.isStale, start < end
        else { return 0..<0 }
        return start..<end
    }
}

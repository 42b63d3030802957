import Measures
import Subflow
import Wire

/// Time on raw IP: announcements that nobody echoed, subflows that do not end.
extension Connection {
    /// After the peer is known to know that both streams ended, a subflow on a dead path is not waited for
    /// longer than this.
    private static let longestLinger = Interval.seconds(2)

    var rawIPDeadline: Instant {
        var next = raw.lingersUntil
        for item in raw.awaitingEcho { next = min(next, item.deadline) }
        if !raw.signals.isEmpty, raw.signalsFrom > phaseAt { next = min(next, raw.signalsFrom) }
        return next
    }

    func advanceRawIP(to now: Instant) {
        repeatAdvertisements(at: now)
        if !raw.signals.isEmpty, raw.signalsFrom <= now { phase = .control }
        guard raw.lingersUntil <= now else { return }
        raw.lingersUntil = .distantFuture
        for case let member? in members where member.isAlive {
            // RFC 8684 section 3.3.3: what it still owes has arrived by other subflows.
            member.resetReason = MPReset.tooMuchOutstandingData
            member.tcp.abort()
        }
        phase = .control
    }

    func beginLinger(at now: Instant) {
        if raw.lingersUntil == .distantFuture { raw.lingersUntil = now + Self.longestLinger }
    }
}

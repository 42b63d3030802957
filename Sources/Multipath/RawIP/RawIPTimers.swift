import Measures
import Subflow
import Wire

/// Time on raw IP: announcements that nobody echoed, subflows that do not end.
extension Connection {
    /// After both streams ended, a subflow on a dead path is not waited for longer than this.
    private static let longestLinger = Interval.seconds(2)

    var rawIPDeadline: Instant {
        var next = raw.lingersUntil
        for item in raw.awaitingEcho { next = min(next, item.deadline) }
        return next
    }

    func advanceRawIP(to now: Instant) {
        repeatAdvertisements(at: now)
        guard raw.lingersUntil <= now else { return }
        raw.lingersUntil = .distantFuture
        for case let member? in members where member.isAlive { member.tcp.abort() }
        phase = .control
    }

    /// Nobody joins a finished connection on raw IP, so its farewell is done at once.
    func beginLinger(at now: Instant) {
        farewellDone = true
        raw.lingersUntil = now + Self.longestLinger
    }
}

import Measures
import Subflow
import Wire

/// What is due when.
extension Connection {
    /// When `advance(to:)` or `nextSegment` next has something to do; `.distantFuture` where never.
    public var deadline: Instant {
        if turn.phase != .done, hasWork { return turn.at }
        var next = timers.next
        for case let member? in members where !isHeld(member) {
            next = min(next, min(member.tcp.deadline, member.timers.next))
        }
        return next
    }

    /// Input changed since the last turn of `nextSegment` ended.
    private var hasWork: Bool { turn.phase == .control }

    /// Does what is due; then `nextSegment` may have something to send.
    public func advance(to now: Instant) {
        for i in members.indices {
            guard let member = members[i] else { continue }
            if member.tcp.deadline <= now {
                member.tcp.advance(to: now)
                turn.phase = .control
                if member.tcp.isUnanswered { turn.unansweredPath = member.path }
            }
            if member.tcp.statistics.timeouts > member.repair.timeoutsSeen {
                member.repair.timeoutsSeen = member.tcp.statistics.timeouts
                // RFC 8684 section 3.3.6: after a timeout the data may go on another subflow. Once:
                // the copies are that one's care, and a path that fell silent gave its data away at
                // once.
                if livingSubflows > 1, member.health == .usable, member.tcp.backoffs <= 1 {
                    reinjectOutstanding(of: member)
                }
            }
            if member.timers.takeIfDue(.keyProof, at: now) {
                member.timers[.keyProof] =
                    now + max(member.tcp.retransmissionTimeout, .milliseconds(200))
                member.tcp.requestAcknowledgement()
                turn.phase = .control
            }
            if !member.isAlive { retire(member, at: now) }
        }
        if timers.takeIfDue(.endConfirmation, at: now) {
            lifecycle.endConfirmed()
            // A subflow whose peer gave it up, and whose reset was lost, would wait for a FIN for
            // ever.
            for case let member? in members { retire(member, at: now) }
        }
        if timers.takeIfDue(.persist, at: now) { probeWindow() }
        if framing.hasOwnTimers { advanceRawIP(to: now) }
        if timers.takeIfDue(.pacing, at: now) { turn.phase = .control }
        if timers.takeIfDue(.dataFin, at: now) { turn.phase = .control }
        if timers.takeIfDue(.idle, at: now) { releaseIdle() }
    }

    /// A turn of `nextSegment` is over: what now waits for time alone.
    func armAfterTurn() {
        timers[.dataFin] = sender.isFinDue && livingSubflows > 0 ? fin.dueAt : .distantFuture
        if framing.signalsAddresses { timers[.addressSignals] = addressSignalDeadline }
    }

    /// The peer's window is shut and nothing is under way that would bring news: ask (RFC 9293
    /// section 3.8.6.1).
    private func probeWindow() {
        guard sender.isWindowBlocked, let member = bestMember() else { return }
        writer.persist.failed()
        member.tcp.requestProbe()
        turn.phase = .control
    }

    func armPersist(at now: Instant) {
        guard sender.isWindowBlocked,
            !sender.hasUnacknowledged
        else { timers.clear(.persist); return }
        guard !timers.isSet(.persist), let member = bestMember() else { return }
        timers[.persist] =
            now + writer.persist.wait(max(member.tcp.retransmissionTimeout, .milliseconds(200)))
    }

    /// Idle rings give back the memory that they don't need: ten thousand idle connections must be
    /// cheap, and so must a thousand that stand still with a few bytes left.
    private func releaseIdle() {
        sender.ring.shrink()
        if !receiver.hasHoles { receiver.ring.shrink() }
    }

}

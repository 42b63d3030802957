import Measures
import Subflow
import Wire

/// Time on raw IP: announcements that nobody echoed, subflows that do not end.
extension Connection {
    /// After the peer is known to know that both streams ended, a subflow on a dead path is not
    /// waited for longer than this.
    private static let maximumLinger = Interval.seconds(2)

    /// When an address signal goes, or goes again.
    var addressSignalDeadline: Instant {
        var next = Instant.distantFuture
        for item in raw.awaitingEcho { next = min(next, item.deadline) }
        if !raw.signals.isEmpty, raw.signalsFrom > turn.at { next = min(next, raw.signalsFrom) }
        return next
    }

    func advanceRawIP(to now: Instant) {
        if timers.takeIfDue(.addressSignals, at: now) {
            repeatAdvertisements(at: now)
            if !raw.signals.isEmpty, raw.signalsFrom <= now { turn.phase = .control }
        }
        if timers.takeIfDue(.dataRepeat, at: now) { repeatData() }
        if timers.takeIfDue(.orphan, at: now), livingSubflows == 0, !isFinished {
            fail(.peerAborted, at: now)
        }
        guard timers.takeIfDue(.linger, at: now) else { return }
        for case let member? in members where member.isAlive {
            // RFC 8684 section 3.3.3: what it still owes has arrived by other subflows.
            member.ending.resetReason = MPReset.tooMuchOutstandingData
            member.tcp.abort()
        }
        turn.phase = .control
    }

    // MARK: Data that was delivered and is not acknowledged

    /// A peer may drop what it acknowledged on a subflow and not yet by a DATA_ACK (RFC 8684
    /// section 3.3.5); Linux does with data beyond the window it remembers to have offered. Where
    /// nothing is under way any more that could bring a DATA_ACK, the data goes again after a
    /// time-out.
    func armRepeat(at now: Instant) {
        guard framing.mayDropAcknowledged else { return }
        let from = sender.acknowledged
        guard raw.plain == nil, sender.hasUnacknowledged, sender.reinjections.isEmpty,
            !hasTextUnderWay,
            let member = bestMember()
        else { timers.clear(.dataRepeat); return }
        if raw.repeatedFrom != from {
            raw.repeatedFrom = from; raw.repeats.reset(); timers.clear(.dataRepeat)
        }
        guard !timers.isSet(.dataRepeat) else { return }
        timers[.dataRepeat] =
            now
            + raw.repeats.wait(max(member.tcp.retransmissionTimeout, Self.minimumRepeatInterval))
    }

    private static let minimumRepeatInterval = Interval.milliseconds(200)
    /// Segments that go again at once: the first is missing, of the others nothing is known.
    private static let repeatedSegments = 16

    private var hasTextUnderWay: Bool {
        for case let member? in members where member.isAlive && member.tcp.outstandingCount > 0 {
            return true
        }
        return false
    }

    private func repeatData() {
        raw.repeats.failed()
        let maximum = UInt64(Self.repeatedSegments * configuration.subflow.maximumSegmentSize)
        sender.reinject(sender.acknowledged, min(sender.next, sender.acknowledged + maximum))
        turn.phase = .control
    }

    // MARK: The end

    /// A reset ends its subflow only (RFC 8684 section 4); a peer that has given up the connection
    /// makes no other.
    private static let orphanTimeout = Interval.seconds(10)

    func armOrphanTimer(at now: Instant) {
        timers.bringForward(.orphan, to: now + Self.orphanTimeout)
    }

    func beginLinger(at now: Instant) {
        if !timers.isSet(.linger) { timers[.linger] = now + Self.maximumLinger }
    }
}

import Measures

extension Subflow {
    /// How long an empty send ring is kept for the next request.
    static let memoryLifetime = Interval.seconds(5)

    /// When `advance(to:)` or `nextAction` next has something to do; `.distantFuture` where never,
    /// and in the past where something waits to be fetched now.
    public var deadline: Instant {
        if hasPendingAction { return .zero }
        var next = timerDeadline
        if waitsForPacing { next = min(next, pacer.release) }
        return next
    }

    var timerDeadline: Instant {
        min(
            min(min(retransmissionAt, tailProbeAt), min(reorderingAt, giveUpAt)),
            min(min(timeWaitAt, persistAt), min(memoryReleaseAt, acknowledgements.deadline)))
    }

    /// Runs the timers that are due (RTO, tail loss probe, RACK reordering, delayed ACK,
    /// TIME-WAIT).
    public func advance(to now: Instant) {
        declined = false
        if now >= timerDeadline { runTimers(at: now) }
    }

    func runTimers(at now: Instant) {
        acknowledgements.advance(to: now)
        if now >= memoryReleaseAt {
            memoryReleaseAt = .distantFuture
            if board.isEmpty { board.releaseMemory() }
            receiver.releaseMemory()
        }
        if now >= timeWaitAt { return enterClosed(nil) }
        if now >= giveUpAt { return enterClosed(.timedOut) }
        if now >= reorderingAt {
            reorderingAt = .distantFuture
            reorderingExpired(at: now)
        }
        if now >= retransmissionAt {
            retransmissionExpired(at: now)
        } else if now >= tailProbeAt {
            // RFC 8985 section 7.3: a probe, and the RTO counts from it.
            tailProbeAt = .distantFuture
            tail.isDue = !board.isEmpty
            retransmissionAt = now + timeout.value
        }
        if now >= persistAt {
            persistAt = .distantFuture
            persistBackoffs = min(persistBackoffs + 1, 16)
            probeIsDue = true
        }
    }

    /// RFC 6298 section 5.4 to 5.7.
    private func retransmissionExpired(at now: Instant) {
        guard !board.isEmpty else { retransmissionAt = .distantFuture; return }
        statistics.timeouts += 1
        statistics.recoveries += recovery.phase == .timeout ? 0 : 1
        tail.cancel()
        tailProbeAt = .distantFuture
        reorderingAt = .distantFuture
        if board.record(board.first).pointee.flags.contains(.delivered) {
            // The oldest was acknowledged selectively and yet not cumulatively: the peer dropped
            // it.
            board.forgetDeliveries()
            blocks.removeAll()
        }
        if recovery.phase != .timeout {
            controller.remember()
            controller.timedOut(inFlight: board.inFlight, at: now)
        } else {
            controller.timedOutAgain(at: now)
        }
        recovery.enterTimeout(point: sendNext)
        _ = board.markAllLost()
        duplicateAcknowledgements = 0
        timeout.backOff()
        retransmissionAt = now + timeout.value
        pacer.restart(at: now)
        updatePacing()
    }

    private func reorderingExpired(at now: Instant) {
        let lost = detectLosses(at: now)
        if lost > 0 { beginRecoveryIfNeeded(priorInFlight: board.inFlight + lost, at: now) }
        if recovery.phase == .fast {
            recovery.acknowledged(
                newly: 0, flight: board.inFlight, threshold: controller.window,
                segmentSize: sendSegmentSize, isSafe: false)
        }
    }

    /// RFC 8985 section 7.2.
    func armTailProbe(at now: Instant) {
        guard usesSelectiveAcknowledgement,
            synAcknowledged,
            recovery.phase == .open,
            board.deliveredCount == 0,
            board.lostCount == 0, !tail.isOut, !board.isEmpty, timeout.backoffs == 0
        else {
            tailProbeAt = .distantFuture
            return
        }
        var wait = Interval.seconds(1)
        if rtt.isKnown {
            wait = rtt.smoothed * 2
            if board.count == 1 { wait += configuration.peerAcknowledgementDelay }
            wait = max(wait, configuration.minimumProbeTimeout)
        }
        let at = now + wait
        tailProbeAt = at < retransmissionAt ? at : .distantFuture
    }

    /// The subflow goes on over another path: what may have been lost with the old one is said
    /// again at once (SYN, SYN/ACK or an ACK); data follows by its own timers.
    public func pathChanged(at now: Instant) {
        roundTripsFrom = now
        switch state {
        case .synSent, .synReceived: synIsDue = !openIsDue
        case .closed: break
        default: acknowledgements.request()
        }
    }

    /// An acknowledgement came by another path: what was sent until now tells nothing of this one.
    public func heardElsewhere(at now: Instant) { roundTripsFrom = max(roundTripsFrom, now) }

    /// The path answers nothing: what is sent until it returns will be acknowledged after the
    /// outage, if at all, and tells nothing of round trip and rate.
    public func pathFellSilent() { roundTripsFrom = .distantFuture }

    /// The path answers again after a silence: what timed out meanwhile goes again at once, instead
    /// of when a time-out comes up that has doubled with the length of the outage.
    public func pathReturned(at now: Instant) {
        roundTripsFrom = now
        guard timeout.backoffs > 0 else { return }
        timeout.forgetBackoffs()
        switch state {
        case .closed: return
        case .synSent, .synReceived: synIsDue = !openIsDue
        default: if board.isEmpty { return }
        }
        if !board.isEmpty, synAcknowledged {
            recovery.enterTimeout(point: sendNext)
            _ = board.markAllLost()
        }
        retransmissionAt = now + timeout.value
        pacer.restart(at: now)
        updatePacing()
    }

    /// The peer is reached at another address from now on: what is unacknowledged went to the old
    /// one, where nobody is, and goes again at once. `isElsewhere`: by another network, of which
    /// nothing is known yet (RFC 9000 section 9.4); where only a port changed, round trip and rate
    /// stay.
    public func addressMoved(isElsewhere: Bool, at now: Instant) {
        guard state != .closed else { return }
        roundTripsFrom = now
        if isElsewhere {
            rtt.forget(at: now)
            timeout.forget()
            controller.restart()
        }
        timeout.forgetBackoffs()
        if state == .synSent || state == .synReceived { synIsDue = !openIsDue }
        if !board.isEmpty {
            if synAcknowledged {
                recovery.enterTimeout(point: sendNext)
                _ = board.markAllLost()
            }
            retransmissionAt = now + timeout.value
        }
        acknowledgements.request()
        pacer.restart(at: now)
        updatePacing()
    }

    /// Everything sent was acknowledged.
    func stopLossTimers() {
        retransmissionAt = .distantFuture
        tailProbeAt = .distantFuture
        reorderingAt = .distantFuture
        giveUpAt = .distantFuture
    }

    /// The state is over.
    func disarmLossTimers() {
        stopLossTimers()
        tail.cancel()
    }

    func enterTimeWait(at now: Instant) {
        state = .timeWait
        disarmLossTimers()
        persistAt = .distantFuture
        timeWaitAt = now + min(timeout.value * 2, configuration.maximumTimeWait)
    }

    private var hasUnacknowledgedText: Bool {
        for i in 0..<board.count where outstanding(i).length > 0 { return true }
        return false
    }

    func enterClosed(_ failure: Failure?) {
        state = .closed
        self.failure = failure
        disarmLossTimers()
        acknowledgements.sent()
        timeWaitAt = .distantFuture
        persistAt = .distantFuture
        memoryReleaseAt = .distantFuture
        openIsDue = false
        synIsDue = false
        probeIsDue = false
        waitsForPacing = false
        if failure != .aborted { pendingReset = .none }
        // After a failure, or a reset while the last text was under way, the owner still wants to
        // see what was not acknowledged: it goes again on another subflow.
        guard failure == nil, !hasUnacknowledgedText else { return }
        board.removeAll()
        board.releaseMemory()
    }
}

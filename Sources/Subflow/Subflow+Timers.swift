import Measures

extension Subflow {
    /// How long the memory of an empty retransmission queue is kept for the next request.
    static let memoryLifetime = Interval.seconds(5)

    /// When `advance(to:)` or `nextAction` next has something to do; `.distantFuture` where never,
    /// and in the past where something waits to be fetched now.
    public var deadline: Instant {
        if hasPendingAction { return .zero }
        var next = timerDeadline
        if waitsForPacing { next = min(next, pacer.release) }
        return next
    }

    var timerDeadline: Instant { min(timers.next, acknowledgements.deadline) }

    /// Runs the timers that are due (RTO, tail loss probe, RACK reordering, delayed ACK,
    /// TIME-WAIT).
    public func advance(to now: Instant) {
        declined = false
        if now >= timerDeadline { runTimers(at: now) }
    }

    func runTimers(at now: Instant) {
        acknowledgements.advance(to: now)
        if timers.takeIfDue(.memoryRelease, at: now) {
            if board.isEmpty { board.releaseMemory() }
            receiver.releaseMemory()
        }
        if timers.takeIfDue(.timeWait, at: now) { return enterClosed(nil) }
        if timers.takeIfDue(.giveUp, at: now) { return enterClosed(.timedOut) }
        if timers.takeIfDue(.reordering, at: now) { reorderingExpired(at: now) }
        if timers.takeIfDue(.retransmission, at: now) {
            retransmissionExpired(at: now)
        } else if timers.takeIfDue(.tailProbe, at: now) {
            // RFC 8985 section 7.3: a probe, and the RTO counts from it.
            tail.isDue = !board.isEmpty
            timers[.retransmission] = now + timeout.value
        }
        if timers.takeIfDue(.persist, at: now) {
            persistBackoff.failed()
            pending.probe = true
        }
    }

    /// RFC 6298 section 5.4 to 5.7.
    private func retransmissionExpired(at now: Instant) {
        guard !board.isEmpty else { return }
        statistics.timeouts += 1
        statistics.recoveries += recovery.phase == .timeout ? 0 : 1
        tail.cancel()
        timers.clear(.tailProbe)
        timers.clear(.reordering)
        if board.isDelivered(board.first) {
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
        timers[.retransmission] = now + timeout.value
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
        guard negotiated.selectiveAcknowledgement,
            synAcknowledged,
            recovery.phase == .open,
            board.deliveredCount == 0,
            board.lostCount == 0, !tail.isOut, !board.isEmpty, timeout.backoffs == 0
        else {
            timers.clear(.tailProbe)
            return
        }
        var wait = Interval.seconds(1)
        if rtt.isKnown {
            wait = rtt.smoothed * 2
            if board.count == 1 { wait += configuration.peerAcknowledgementDelay }
            wait = max(wait, configuration.minimumProbeTimeout)
        }
        let at = now + wait
        timers[.tailProbe] = at < timers[.retransmission] ? at : .distantFuture
    }

    /// Everything sent was acknowledged.
    func stopLossTimers() {
        timers.clear(.retransmission)
        timers.clear(.tailProbe)
        timers.clear(.reordering)
        timers.clear(.giveUp)
    }

    /// The state is over.
    func disarmLossTimers() {
        stopLossTimers()
        tail.cancel()
    }

    func enterTimeWait(at now: Instant) {
        state = .timeWait
        disarmLossTimers()
        timers.clear(.persist)
        timers[.timeWait] = now + min(timeout.value * 2, configuration.maximumTimeWait)
    }

    private var hasUnacknowledgedText: Bool {
        for i in 0..<board.count where outstanding(i).length > 0 { return true }
        return false
    }

    func enterClosed(_ failure: Failure?) {
        state = .closed
        self.failure = failure
        timers.clearAll()
        tail.cancel()
        acknowledgements.sent()
        pending.close(keepsReset: failure == .aborted)
        waitsForPacing = false
        // After a failure, or a reset while the last text was under way, the owner still wants to
        // see what was not acknowledged: it goes again on another subflow.
        guard failure == nil, !hasUnacknowledgedText else { return }
        board.removeAll()
        board.releaseMemory()
    }
}

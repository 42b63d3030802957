import Measures

extension Subflow {
    /// What an acknowledgement means for RTT, losses, window and timers.
    func applyDelivery(_ delivery: Delivery, priorInFlight: Int, isDuplicate: Bool, at now: Instant)
    {
        let advanced = delivery.advanced
        if advanced {
            timeout.endBackoff(isMeasured: rtt.isKnown)
            if !negotiated.selectiveAcknowledgement { duplicateAcknowledgements = 0 }
        }
        var sample = AcknowledgementSample()
        // Without SACK what waited behind a repaired hole tells nothing of the path.
        if delivery.newestOriginal != .distantFuture, delivery.newestOriginal >= roundTripsFrom,
            negotiated.selectiveAcknowledgement || !delivery.sawRetransmitted
        {
            sample.rtt = max(now - delivery.newestOriginal, RTTEstimator.granularity)
            rtt.add(sample.rtt, at: now)
            timeout.follow(rtt)
        }
        let (rate, startsRound) = sampler.finish(delivery.sample, minimumRTT: rtt.minimum, at: now)
        judgeSpuriousness(delivery)
        if tail.acknowledged(
            sendUnacknowledged, sawDuplicate: delivery.sawDuplicate,
            isRepeat: delivery.isRepeat),
            recovery.phase == .open
        {
            // RFC 8985 section 7.4.2: the probe repaired a loss that nothing else shows.
            controller.congestionEvent(inFlight: board.inFlight, at: now)
        }
        // RFC 6582 section 3.2, step 3: with the ACK that ends recovery the window is the
        // threshold.
        let wasFast = recovery.phase == .fast
        if recovery.isActive, recovery.point.isAtOrBefore(sendUnacknowledged) {
            recovery.leave()
            loss.recoveryEnded()
        }
        let flightBefore = board.inFlight
        let lostSpans =
            negotiated.selectiveAcknowledgement
            ? detectLosses(at: now) : detectLossesWithoutSACK(delivery)
        if lostSpans > 0 { beginRecoveryIfNeeded(priorInFlight: priorInFlight, at: now) }
        if recovery.phase == .fast {
            reduceProportionally(delivery, isDuplicate: isDuplicate, lostSpans: lostSpans)
        }
        let mayJudge = (!wasFast && recovery.phase != .fast) || controller.governsRecovery
        if mayJudge, delivery.bytes > 0 {
            sample.now = now
            sample.bytes = delivery.bytes
            sample.priorInFlight = priorInFlight
            sample.inFlight = board.inFlight
            sample.smoothedRTT = rtt.smoothed
            sample.minimumRTT = rtt.minimum
            // Time that passed in an outage says nothing of the rate.
            sample.deliveryRate = delivery.sample.priorDeliveredAt < roundTripsFrom ? .zero : rate
            sample.isApplicationLimited = delivery.sample.isApplicationLimited
            sample.startsRound = startsRound
            sample.isWindowLimited = mayGrow
            sample.lost = flightBefore &- board.inFlight
            controller.acknowledged(sample)
        }
        updatePacing()
        rearmTimers(progress: advanced || delivery.bytes > 0, at: now)
    }

    private func rearmTimers(progress: Bool, at now: Instant) {
        if board.isEmpty {
            stopLossTimers()
            tail.endFlight()
            timers[.memoryRelease] = now + Subflow.memoryLifetime
        } else if progress {
            timers[.giveUp] = now + configuration.giveUpAfter
            // RFC 6298 section 5.3.
            timers[.retransmission] = now + timeout.value
            armTailProbe(at: now)
        } else if recovery.isActive || board.deliveredCount > 0 {
            timers.clear(.tailProbe)
        }
    }

    /// Two signs that nothing was lost: what a time-out held for lost arrives without having been
    /// sent again (in the manner of F-RTO, RFC 5682), or every retransmission is reported as a
    /// duplicate (RFC 3708).
    private func judgeSpuriousness(_ delivery: Delivery) {
        if delivery.sawDuplicate {
            loss.sawDuplicate(unacknowledged: sendUnacknowledged, next: sendNext)
            if recovery.explainedOne() { return undoRecovery() }
        }
        // Without SACK the ACK may be for what had arrived behind the hole long before.
        if recovery.phase == .timeout,
            delivery.sawFalseLoss,
            recovery.canUndo,
            negotiated.selectiveAcknowledgement
        {
            undoRecovery()
        }
    }

    private func undoRecovery() {
        statistics.spuriousRecoveries += 1
        controller.undo()
        board.reviveLost()
        recovery.leave()
        recovery.forgetUndo()
    }

    /// RFC 8985 section 6.2, step 5; the number of spans newly held for lost.
    func detectLosses(at now: Instant) -> Int {
        timers.clear(.reordering)
        guard negotiated.selectiveAcknowledgement else { return 0 }
        let once = board.oldestOnce(), again = board.oldestAgain()
        let losesOnce =
            once.map { loss.wasSentBefore(board.record($0.bits.trailingZeroBitCount, of: $0)) }
            ?? false
        let losesAgain = again.map { loss.wasSentBefore(board.record($0)) } ?? false
        guard losesOnce || losesAgain else { return 0 }
        let window = loss.reorderingWindow(
            deliveredCount: board.deliveredCount,
            inRecovery: recovery.isActive, rtt: rtt)
        return (losesOnce ? loseOnce(window, at: now) : 0)
            + (losesAgain ? loseAgain(window, at: now) : 0)
    }

    /// Whether the span is lost; where it may be later, the timer is set.
    @inline(__always)
    private func isOverdue(
        _ record: UnsafeMutablePointer<SpanRecord>, _ window: Interval, at now: Instant
    ) -> Bool {
        guard loss.wasSentBefore(record) else { return false }
        let due = record.pointee.sentAt + loss.roundTrip + window
        guard due > now else { return true }
        timers.bringForward(.reordering, to: due)
        return false
    }

    /// Of what was sent once; a word's worth at a time where its last one is lost.
    private func loseOnce(_ window: Interval, at now: Instant) -> Int {
        var lost = 0
        while let stretch = board.oldestOnce() {
            let last = board.record(63 &- stretch.bits.leadingZeroBitCount, of: stretch)
            if loss.wasSentBefore(last), last.pointee.sentAt + loss.roundTrip + window <= now {
                lost += board.markLost(stretch)
                continue
            }
            var bits: UInt64 = 0, left = stretch.bits
            while left != 0 {
                let bit = left.trailingZeroBitCount
                guard isOverdue(board.record(bit, of: stretch), window, at: now) else { break }
                bits |= 1 << UInt64(bit)
                left &= left &- 1
            }
            return bits == 0 ? lost : lost + board.markLost(stretch.with(bits))
        }
        return lost
    }

    /// Of what was sent again.
    private func loseAgain(_ window: Interval, at now: Instant) -> Int {
        var lost = 0
        while let number = board.oldestAgain(),
            isOverdue(board.record(number), window, at: now)
        {
            board.markLost(number)
            lost += 1
        }
        return lost
    }

    /// RFC 6582 for a peer without SACK: the third duplicate ACK, then every partial
    /// acknowledgement, tells of one loss.
    private func detectLossesWithoutSACK(_ delivery: Delivery) -> Int {
        guard !board.isEmpty else { return 0 }
        guard board.isInFlight(board.first) else { return 0 }
        let isThird =
            duplicateAcknowledgements == LossDetection.duplicateThreshold && recovery.phase == .open
        let isPartial = recovery.phase == .fast && delivery.advanced
        guard isThird || isPartial else { return 0 }
        board.markLost(board.first)
        return 1
    }

    func beginRecoveryIfNeeded(priorInFlight: Int, at now: Instant) {
        guard recovery.phase == .open else { return }
        statistics.recoveries += 1
        tail.cancel()
        timers.clear(.tailProbe)
        controller.remember()
        controller.congestionEvent(inFlight: priorInFlight, at: now)
        recovery.enterFast(point: sendNext, flight: priorInFlight, window: board.inFlight)
    }

    private func reduceProportionally(_ delivery: Delivery, isDuplicate: Bool, lostSpans: Int) {
        // Without SACK each duplicate ACK stands for one segment that left the network.
        let departed = duplicateAcknowledgements &* sendSegmentSize
        recovery.acknowledged(
            newly: isDuplicate ? sendSegmentSize : delivery.bytes,
            flight: max(0, board.inFlight &- departed),
            departed: min(board.inFlight, departed),
            threshold: controller.window, segmentSize: sendSegmentSize,
            isSafe: delivery.advanced && lostSpans == 0)
    }
}

import Measures
import Wire

/// Writing segments. Each `fill…` completes a segment that was `reset()`: ports, sequence,
/// acknowledgement, flags, window (scaled from `receiveWindow` bytes), TCP options (MSS, SACK,
/// window scale, timestamps), and notes what was sent. `optionRoom`: bytes of the 40 that the owner
/// needs for MPTCP options; SACK blocks are cut to fit.
extension Subflow {
    /// For `.open`: a SYN, or the SYN/ACK. `dataLength` bytes from `streamOffset` ride on it, at
    /// most the action's room.
    public func fillOpen(
        _ segment: inout Segment, dataLength: Int, streamOffset: UInt64, receiveWindow: Int,
        at now: Instant
    ) {
        precondition(pending.opens && (dataLength == 0 || configuration.earlyData))
        pending.doneWithSYN()
        fillSYN(&segment, receiveWindow: receiveWindow, at: now)
        transmit(
            SpanRecord(
                sequence: sendNext, length: UInt32(dataLength),
                streamOffset: streamOffset, sentAt: now, flags: .syn), at: now)
    }

    /// For `.retransmit`: the span once more, as it was.
    public func fillRetransmission(
        of span: SentSpan, _ segment: inout Segment, receiveWindow: Int,
        optionRoom: Int,
        at now: Instant
    ) {
        beginRetransmission(
            of: span, &segment, receiveWindow: receiveWindow, optionRoom: optionRoom, at: now)
        commitRetransmission(of: span, length: span.length, at: now)
    }

    /// For `.retransmit`: the head of a segment with the span's first bytes. `commitRetransmission`
    /// follows, once the owner knows how many of them fit behind it.
    public func beginRetransmission(
        of span: SentSpan, _ segment: inout Segment, receiveWindow: Int,
        optionRoom: Int, at now: Instant
    ) {
        if span.isSYN {
            fillSYN(&segment, receiveWindow: receiveWindow, at: now)
            pending.doneWithSYN()
        } else {
            fillHead(
                &segment, sequence: span.sequence, receiveWindow: receiveWindow,
                optionRoom: optionRoom, at: now)
            if span.isFIN { segment.flags.insert(.fin) }
        }
    }

    /// `length` bytes of the span leave; all of it where it has a SYN. The rest is asked for next,
    /// as a span of its own.
    public func commitRetransmission(of span: SentSpan, length: Int, at now: Instant) {
        precondition(length == span.length || length > 0 && length < span.length && !span.isSYN)
        let isRest = repeatRest?.sequence == span.sequence
        repeatRest = length == span.length ? nil : span.dropping(length)
        if isRest {
            statistics.segmentsSent += 1
            lastTransmission = now
        } else {
            resent(span, at: now)
        }
    }

    /// A span goes once more, in one segment or several: for the queue it is one transmission.
    private func resent(_ span: SentSpan, at now: Instant) {
        guard let number = numberOfSpan(at: span.sequence) else {
            preconditionFailure("no such span")
        }
        repeating = Scoreboard.absent
        let record = board.record(number)
        let length = Int(record.pointee.length)
        let wasTail = tail.isDue && !board.isLost(number)
        record.pointee.sentAt = now
        let inFlight = board.inFlight
        board.resent(number)
        sampler.stamp(&record.pointee, inFlight: inFlight, at: now)
        recovery.transmitted(length)
        recovery.retransmitted()
        pacer.sent(length, at: now)
        statistics.segmentsSent += 1
        statistics.retransmissions += 1
        statistics.bytesRetransmitted += length
        lastTransmission = now
        if wasTail {
            statistics.tailLossProbes += 1
            tail.sent(end: sendNext, repeatsOld: true)
        }
        if !timers.isSet(.retransmission) { timers[.retransmission] = now + timeout.value }
    }

    /// For `.data`: `length` bytes, 1 to `sendSegmentSize`, from `streamOffset` on.
    public func fillData(
        _ segment: inout Segment, length: Int, streamOffset: UInt64, receiveWindow: Int,
        optionRoom: Int, at now: Instant
    ) {
        beginData(
            &segment, receiveWindow: receiveWindow, optionRoom: optionRoom, at: now)
        commitData(length: length, streamOffset: streamOffset, at: now)
    }

    /// For `.data`: the head of a segment of new data. `commitData` follows, once the owner knows
    /// how much fits behind it.
    public func beginData(
        _ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant
    ) {
        precondition(canSendData)
        if board.inFlight == 0, lastTransmission > .zero, now - lastTransmission > timeout.value {
            controller.resumed(after: now - lastTransmission, timeout: timeout.value, at: now)
            updatePacing()
        }
        fillHead(
            &segment, sequence: sendNext, receiveWindow: receiveWindow, optionRoom: optionRoom,
            at: now)
    }

    /// `length` bytes, 1 to `sendSegmentSize`, from `streamOffset` on, leave behind that head.
    public func commitData(length: Int, streamOffset: UInt64, at now: Instant) {
        precondition(length > 0)
        if tail.isDue {
            statistics.tailLossProbes += 1
            tail.sent(end: sendNext + length, repeatsOld: false)
        }
        transmit(
            SpanRecord(
                sequence: sendNext, length: UInt32(length),
                streamOffset: streamOffset, sentAt: now, flags: []), at: now)
        recordWindowUse()
    }

    /// For `.finish`.
    public func fillFinish(
        _ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant
    ) {
        precondition(finishIsDue)
        fillHead(
            &segment, sequence: sendNext, receiveWindow: receiveWindow, optionRoom: optionRoom,
            at: now)
        segment.flags.insert(.fin)
        transmit(
            SpanRecord(sequence: sendNext, length: 0, streamOffset: 0, sentAt: now, flags: .fin),
            at: now)
        pending.sentFIN()
        state = state == .closeWait ? .lastAck : .finWait1
    }

    /// For `.acknowledge`, and whenever the owner has something to say on a segment without
    /// payload.
    public func fillAcknowledgement(
        _ segment: inout Segment, receiveWindow: Int, optionRoom: Int,
        at now: Instant
    ) {
        fillHead(
            &segment, sequence: sendNext, receiveWindow: receiveWindow, optionRoom: optionRoom,
            at: now)
        statistics.segmentsSent += 1
    }

    /// For `.probe`.
    public func fillProbe(
        _ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant
    ) {
        pending.probe = false
        fillHead(
            &segment, sequence: sendUnacknowledged - 1, receiveWindow: receiveWindow,
            optionRoom: optionRoom,
            at: now)
        statistics.segmentsSent += 1
    }

    /// For `.reset`; after it the subflow is closed, unless it answered a segment that is none of
    /// its own.
    public func fillReset(_ segment: inout Segment) {
        segment.sourcePort = localPort
        segment.destinationPort = remotePort
        segment.flags = .rst
        statistics.segmentsSent += 1
        switch pending.reset {
        case .reply(let sequence, let acknowledgement):
            segment.sequence = sequence
            segment.acknowledgement = acknowledgement ?? SubflowSequence(0)
            if acknowledgement != nil { segment.flags.insert(.ack) }
            pending.reset = .none
        case .abort, .none:
            segment.sequence = sendNext
            segment.acknowledgement = SubflowSequence(0)
            if state != .synSent {
                segment.flags.insert(.ack)
                segment.acknowledgement = receiver.next
            }
            pending.reset = .none
            enterClosed(.aborted)
        }
    }

    // MARK: Details

    /// What was written goes: into the retransmission queue, the timers, the window.
    private func transmit(_ span: consuming SpanRecord, at now: Instant) {
        let length = Int(span.length), extent = span.extent
        if board.isEmpty {
            timers.clear(.memoryRelease)
            timers[.giveUp] = now + configuration.giveUpAfter
        }
        sampler.stamp(&span, inFlight: board.inFlight, at: now)
        _ = board.append(span)
        sendNext += extent
        recovery.transmitted(length)
        pacer.sent(length, at: now)
        controller.sent(length, inFlight: board.inFlight, at: now)
        statistics.segmentsSent += 1
        statistics.bytesSent += length
        lastTransmission = now
        if !timers.isSet(.retransmission) { timers[.retransmission] = now + timeout.value }
        armTailProbe(at: now)
    }

    private func numberOfSpan(at sequence: SubflowSequence) -> UInt32? {
        if repeating != Scoreboard.absent, board.index(of: repeating) < board.count,
            board.record(repeating).pointee.sequence == sequence
        {
            return repeating
        }
        let i = board.firstIndex(startingAtOrAfter: sequence)
        guard i < board.count,
            board.record(board.number(at: i)).pointee.sequence == sequence
        else { return nil }
        return board.number(at: i)
    }

    private func fillSYN(_ segment: inout Segment, receiveWindow: Int, at now: Instant) {
        segment.sourcePort = localPort
        segment.destinationPort = remotePort
        segment.sequence = initialSendSequence
        segment.flags = .syn
        // RFC 7323 section 2.2: the window of a SYN is not scaled.
        segment.window = UInt16(clamping: receiveWindow)
        if state != .synSent {
            segment.flags.insert(.ack)
            segment.acknowledgement = receiver.next
            lastAcknowledged = receiver.next
            acknowledgements.sent()
        } else {
            segment.acknowledgement = SubflowSequence(0)
        }
        segment.options.present.insert(.maximumSegmentSize)
        segment.options.maximumSegmentSize = UInt16(clamping: configuration.maximumSegmentSize)
        if negotiated.windowScale {
            segment.options.present.insert(.windowScale)
            segment.options.windowScale = configuration.windowScale
        }
        if negotiated.selectiveAcknowledgement { segment.options.present.insert(.sackPermitted) }
        if negotiated.timestamps { writeTimestamps(&segment, at: now) }
    }

    private func fillHead(
        _ segment: inout Segment, sequence: SubflowSequence, receiveWindow: Int,
        optionRoom: Int,
        at now: Instant
    ) {
        segment.sourcePort = localPort
        segment.destinationPort = remotePort
        segment.sequence = sequence
        let shift = negotiated.windowScale && synWasSeen ? Int(configuration.windowScale) : 0
        segment.window = UInt16(clamping: receiveWindow >> shift)
        if negotiated.timestamps { writeTimestamps(&segment, at: now) }
        guard synWasSeen else {
            // Early data behind our SYN: there is nothing to acknowledge yet.
            segment.flags = []
            segment.acknowledgement = SubflowSequence(0)
            return
        }
        segment.flags = .ack
        segment.acknowledgement = receiver.next
        lastAcknowledged = receiver.next
        acknowledgements.sent()
        if negotiated.selectiveAcknowledgement, receiver.hasBlocks {
            let free = 40 - optionRoom - negotiated.octets
            let limit = min(SACKBlocks.capacity, (free - 4) / 8)
            guard limit > 0 else { return }
            segment.options.sack.removeAll()
            receiver.writeBlocks(&segment.options.sack, limit: limit)
            if segment.options.sack.count > 0 { segment.options.present.insert(.sack) }
        }
    }

    /// The peer's SYN arrived.
    var synWasSeen: Bool { state != .synSent }

    private func writeTimestamps(_ segment: inout Segment, at now: Instant) {
        segment.options.present.insert(.timestamps)
        segment.options.timestamps = Timestamps(
            value: timestamp(at: now),
            echo: synWasSeen ? recentTimestamp.value : 0)
    }

    /// Milliseconds: RFC 7323 section 5.4 wants 1 ms to 1 s.
    func timestamp(at now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000) &+ initialSendSequence.value
    }
}

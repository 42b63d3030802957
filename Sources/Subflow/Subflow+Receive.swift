import Measures
import Wire

extension Subflow {
    /// Takes one segment. `textIsUsable` false: process the header, but treat payload and FIN as
    /// not received (no mapping for them). `receiveWindow`: the bytes the owner can take, counted
    /// from the next expected sequence number.
    public func receive(
        _ segment: borrowing Segment, payloadLength: Int, textIsUsable: Bool,
        receiveWindow: Int,
        at now: Instant
    ) -> Arrival {
        var arrival = Arrival()
        statistics.segmentsReceived += 1
        declined = false
        switch state {
        case .closed:
            arrival.isUnacceptable = true
            answerWhileClosed(segment, payloadLength: payloadLength, at: now)
        case .synSent:
            receiveInSynSent(
                segment, payloadLength: payloadLength, textIsUsable: textIsUsable,
                receiveWindow: receiveWindow, at: now, &arrival)
        default:
            receiveSynchronized(
                segment, payloadLength: payloadLength, textIsUsable: textIsUsable,
                receiveWindow: receiveWindow, at: now, &arrival)
        }
        return arrival
    }

    /// RFC 9293 section 3.10.7.1.
    private func answerWhileClosed(
        _ segment: borrowing Segment, payloadLength: Int, at now: Instant
    ) {
        guard !segment.flags.contains(.rst), challenges.allow(at: now) else { return }
        if segment.flags.contains(.ack) {
            pendingReset = .reply(segment.acknowledgement, nil)
        } else {
            let extent =
                payloadLength + (segment.flags.contains(.syn) ? 1 : 0)
                + (segment.flags.contains(.fin) ? 1 : 0)
            pendingReset = .reply(SubflowSequence(0), segment.sequence + extent)
        }
    }

    /// RFC 9293 section 3.10.7.3.
    private func receiveInSynSent(
        _ segment: borrowing Segment, payloadLength: Int, textIsUsable: Bool,
        receiveWindow: Int, at now: Instant, _ arrival: inout Arrival
    ) {
        let hasACK = segment.flags.contains(.ack)
        if hasACK {
            let offset = sendUnacknowledged.distance(to: segment.acknowledgement)
            guard offset > 0, offset <= sendUnacknowledged.distance(to: sendNext) else {
                arrival.isUnacceptable = true
                if !segment.flags.contains(.rst), challenges.allow(at: now) {
                    pendingReset = .reply(segment.acknowledgement, nil)
                }
                return
            }
        }
        if segment.flags.contains(.rst) {
            guard hasACK else { arrival.isUnacceptable = true; return }
            arrival.wasReset = true
            return enterClosed(.reset)
        }
        guard segment.flags.contains(.syn) else { arrival.isUnacceptable = true; return }
        lastArrival = now
        lastTextArrival = now
        initialReceiveSequence = segment.sequence
        receiver = ReceiveTracker(next: segment.sequence + 1)
        lastAcknowledged = segment.sequence
        learnOptions(of: segment, at: now)
        guard hasACK else {
            // Simultaneous open: our SYN again, now with ACK.
            state = .synReceived
            synIsDue = !openIsDue
            return
        }
        state = .established
        arrival.established = true
        wasEstablished = true
        acknowledgements.request()
        processAcknowledgement(segment, payloadLength: payloadLength, at: now, &arrival)
        if configuration.earlyData {
            receiveText(
                segment.sequence + 1, payloadLength: payloadLength,
                isFIN: segment.flags.contains(.fin),
                isUsable: textIsUsable, receiveWindow: receiveWindow, at: now, &arrival)
        }
    }

    /// RFC 9293 section 3.10.7.4, in its order.
    private func receiveSynchronized(
        _ segment: borrowing Segment, payloadLength: Int, textIsUsable: Bool,
        receiveWindow: Int, at now: Instant, _ arrival: inout Arrival
    ) {
        let flags = segment.flags
        var sequence = segment.sequence
        if flags.contains(.syn),
            state == .synReceived,
            sequence == initialReceiveSequence,
            !flags.contains(.rst)
        {
            guard flags.contains(.ack), !isPassive else {
                // Our SYN/ACK was lost.
                synIsDue = !openIsDue
                arrival.isUnacceptable = true
                return
            }
            // Simultaneous open: only the SYN/ACK's ACK and text are new.
            sequence += 1
        } else if flags.contains(.syn), !flags.contains(.rst) {
            // RFC 5961 section 4.2: whatever its sequence number.
            arrival.isUnacceptable = true
            if challenges.allow(at: now) { acknowledgements.request() }
            return
        }
        let extent = payloadLength &+ (flags.contains(.fin) ? 1 : 0)
        let offset = receiver.next.distance(to: sequence)
        if usesTimestamps, !flags.contains(.rst), !segment.options.present.contains(.timestamps) {
            // RFC 7323 section 3.2: silently.
            arrival.isUnacceptable = true
            return
        }
        let isOld =
            usesTimestamps && !flags.contains(.rst) ? !hasCurrentTimestamp(segment, at: now) : false
        guard !isOld,
            isAcceptable(
                offset: offset, extent: extent, payloadLength: payloadLength, sequence: sequence,
                window: receiveWindow)
        else {
            return refuse(
                segment, sequence: sequence, offset: offset, payloadLength: payloadLength,
                isOld: isOld, at: now, &arrival)
        }
        if flags.contains(.rst) {
            return receiveReset(offset: offset, window: receiveWindow, at: now, &arrival)
        }
        if flags.contains(.ack) {
            guard acceptAcknowledgement(segment, payloadLength: payloadLength, at: now, &arrival)
            else {
                arrival.isUnacceptable = true
                return
            }
        } else {
            // Early data follows the SYN before there is anything to acknowledge.
            guard state == .synReceived,
                configuration.earlyData
            else { arrival.isUnacceptable = true; return }
        }
        lastArrival = now
        takeTimestamp(segment, at: now)
        receiveText(
            sequence, payloadLength: payloadLength, isFIN: flags.contains(.fin),
            isUsable: textIsUsable,
            receiveWindow: receiveWindow, at: now, &arrival)
    }

    /// RFC 9293 section 3.4, a little wider: an ACK without text may be older than what it
    /// acknowledges, and may stand at the window's edge.
    func isAcceptable(
        offset: Int, extent: Int, payloadLength: Int, sequence: SubflowSequence,
        window: Int
    ) -> Bool {
        if extent == 0 {
            return offset <= window && (offset >= 0 || lastAcknowledged.isAtOrBefore(sequence))
        }
        return offset &+ extent > 0
            && (offset <= 0 || offset < window || (payloadLength == 0 && offset <= window))
    }

    /// RFC 7323 section 5.3, R1 (PAWS).
    func hasCurrentTimestamp(_ segment: borrowing Segment, at now: Instant) -> Bool {
        guard segment.options.present.contains(.timestamps) else { return false }
        let isOlder = Int32(bitPattern: segment.options.timestamps.value &- recentTimestamp) < 0
        // Section 5.5: after 24 days TS.Recent says nothing.
        return !isOlder || now - recentTimestampAt >= .seconds(24 * 86_400)
    }

    /// RFC 7323 section 5.3, R3: only of a segment that is acceptable in every respect, or anybody
    /// could push TS.Recent ahead and have the peer's segments refused.
    private func takeTimestamp(_ segment: borrowing Segment, at now: Instant) {
        guard usesTimestamps, segment.sequence.isAtOrBefore(lastAcknowledged) else { return }
        recentTimestamp = segment.options.timestamps.value
        recentTimestampAt = now
    }

    private func refuse(
        _ segment: borrowing Segment, sequence: SubflowSequence, offset: Int,
        payloadLength: Int, isOld: Bool,
        at now: Instant, _ arrival: inout Arrival
    ) {
        arrival.isUnacceptable = true
        guard !segment.flags.contains(.rst) else { return }
        if payloadLength > 0, offset < 0 {
            statistics.duplicatesReceived += 1
            if usesSelectiveAcknowledgement {
                receiver.noteOldDuplicate(sequence, length: payloadLength)
            }
        }
        if state == .timeWait, segment.flags.contains(.fin), !isOld { enterTimeWait(at: now) }
        if !openIsDue { acknowledgements.request() }
    }

    /// RFC 5961 section 3.2.
    private func receiveReset(offset: Int, window: Int, at now: Instant, _ arrival: inout Arrival) {
        guard offset == 0 else {
            arrival.isUnacceptable = true
            if offset > 0, offset < window, challenges.allow(at: now) { acknowledgements.request() }
            return
        }
        arrival.wasReset = true
        // RFC 9293 section 3.10.7.4: both ends had closed, nobody is told of an error.
        enterClosed(state == .timeWait || state == .closing || state == .lastAck ? nil : .reset)
    }

    /// The ACK field; false: the segment is dropped.
    private func acceptAcknowledgement(
        _ segment: borrowing Segment, payloadLength: Int, at now: Instant,
        _ arrival: inout Arrival
    ) -> Bool {
        let offset = sendUnacknowledged.distance(to: segment.acknowledgement)
        let outstanding = sendUnacknowledged.distance(to: sendNext)
        if state == .synReceived {
            guard offset > 0, offset <= outstanding else {
                if challenges.allow(at: now) { pendingReset = .reply(segment.acknowledgement, nil) }
                return false
            }
            state = .established
            arrival.established = true
            wasEstablished = true
            peerWindowBytes = Int(segment.window) << Int(peerScale)
            windowSequence = segment.sequence
            windowAcknowledgement = segment.acknowledgement
        } else if offset > outstanding || offset < -largestPeerWindow {
            // RFC 5961 section 5.2.
            if challenges.allow(at: now) { acknowledgements.request() }
            return false
        }
        processAcknowledgement(segment, payloadLength: payloadLength, at: now, &arrival)
        if finAcknowledged { finishWasAcknowledged(at: now) }
        return true
    }

    private func finishWasAcknowledged(at now: Instant) {
        switch state {
        case .finWait1: state = .finWait2
        case .closing: enterTimeWait(at: now)
        case .lastAck: enterClosed(nil)
        default: break
        }
    }

    /// Payload and FIN.
    private func receiveText(
        _ sequence: SubflowSequence, payloadLength: Int, isFIN: Bool, isUsable: Bool,
        receiveWindow: Int, at now: Instant, _ arrival: inout Arrival
    ) {
        guard isUsable, payloadLength > 0 || isFIN else { return }
        switch state {
        case .synReceived, .established, .finWait1, .finWait2: break
        default: return
        }
        let (text, outcome) = receiver.place(
            sequence, length: payloadLength, isFIN: isFIN,
            window: receiveWindow)
        arrival.text = text
        if now - lastTextArrival > configuration.minimumRTO { acknowledgements.resumeAfterPause() }
        lastTextArrival = now
        switch outcome {
        case .nothing: break
        case .inOrder: acknowledgements.arrived(text.count, at: now)
        case .duplicate:
            statistics.duplicatesReceived += 1
            acknowledgements.request()
        case .filledGap, .ahead, .refused: acknowledgements.request()
        }
        guard receiver.hasFinished else { return }
        arrival.finished = true
        acknowledgements.request()
        switch state {
        case .synReceived, .established: state = .closeWait
        case .finWait1: state = .closing
        case .finWait2: enterTimeWait(at: now)
        default: break
        }
    }

    /// What the peer's SYN offers, and what of it is used from now on.
    func learnOptions(of syn: borrowing Segment, at now: Instant) {
        let present = syn.options.present
        usesScaling = present.contains(.windowScale)
        peerScale = usesScaling ? min(14, syn.options.windowScale) : 0
        usesSelectiveAcknowledgement =
            usesSelectiveAcknowledgement && present.contains(.sackPermitted)
        usesTimestamps = usesTimestamps && present.contains(.timestamps)
        if usesTimestamps {
            recentTimestamp = syn.options.timestamps.value
            recentTimestampAt = now
        }
        // RFC 9293 section 3.7.1: 536 where the peer says nothing.
        let offered =
            present.contains(.maximumSegmentSize) ? Int(syn.options.maximumSegmentSize) : 536
        negotiatedSegmentSize = max(
            min(configuration.leastSegmentSize, configuration.maximumSegmentSize),
            min(configuration.maximumSegmentSize, offered))
        // RFC 6691: the MSS does not count options.
        if usesTimestamps { negotiatedSegmentSize = max(1, negotiatedSegmentSize - 12) }
        adoptSegmentSize()
        peerWindowBytes = Int(syn.window)
        largestPeerWindow = peerWindowBytes
        windowSequence = syn.sequence
        windowAcknowledgement = syn.flags.contains(.ack) ? syn.acknowledgement : sendUnacknowledged
        updatePacing()
    }
}

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
        let verdict = classify(
            segment, payloadLength: payloadLength, receiveWindow: receiveWindow, at: now)
        switch verdict {
        case .accepted(let sequence):
            accept(
                segment, sequence: sequence, payloadLength: payloadLength,
                textIsUsable: textIsUsable, receiveWindow: receiveWindow, at: now, &arrival)
        case .opening:
            open(
                by: segment, payloadLength: payloadLength, textIsUsable: textIsUsable,
                receiveWindow: receiveWindow, at: now, &arrival)
        case .reset:
            arrival.wasReset = true
            // RFC 9293 section 3.10.7.4: both ends had closed, nobody is told of an error.
            enterClosed(state == .timeWait || state == .closing || state == .lastAck ? nil : .reset)
        default:
            arrival.isUnacceptable = true
            answer(verdict, segment, payloadLength: payloadLength, at: now)
        }
        return arrival
    }

    /// What a segment that is not taken calls for.
    private func answer(
        _ verdict: Verdict, _ segment: borrowing Segment, payloadLength: Int, at now: Instant
    ) {
        switch verdict {
        case .accepted, .opening, .reset, .dropped: break
        case .forNobody: answerWhileClosed(segment, payloadLength: payloadLength, at: now)
        case .wrongAcknowledgement:
            if challenges.allow(at: now) { pending.reset = .reply(segment.acknowledgement, nil) }
        case .repeatedSYN: pending.repeatSYN()  // our SYN/ACK was lost
        case .challenged: if challenges.allow(at: now) { acknowledgements.request() }
        case .inexactReset(let isAhead):
            if isAhead, challenges.allow(at: now) { acknowledgements.request() }
        case .outsideWindow(let sequence, let isOld):
            refuse(
                segment, sequence: sequence, payloadLength: payloadLength, isOld: isOld, at: now)
        }
    }

    /// RFC 9293 section 3.10.7.1.
    private func answerWhileClosed(
        _ segment: borrowing Segment, payloadLength: Int, at now: Instant
    ) {
        guard !segment.flags.contains(.rst), challenges.allow(at: now) else { return }
        if segment.flags.contains(.ack) {
            pending.reset = .reply(segment.acknowledgement, nil)
        } else {
            let extent =
                payloadLength + (segment.flags.contains(.syn) ? 1 : 0)
                + (segment.flags.contains(.fin) ? 1 : 0)
            pending.reset = .reply(SubflowSequence(0), segment.sequence + extent)
        }
    }

    /// RFC 9293 section 3.10.7.3: the peer's SYN, with or without an answer to ours.
    private func open(
        by segment: borrowing Segment, payloadLength: Int, textIsUsable: Bool,
        receiveWindow: Int, at now: Instant, _ arrival: inout Arrival
    ) {
        lastArrival = now
        lastTextArrival = now
        initialReceiveSequence = segment.sequence
        receiver = ReceiveTracker(next: segment.sequence + 1)
        lastAcknowledged = segment.sequence
        learnOptions(of: segment, at: now)
        guard segment.flags.contains(.ack) else {
            // Simultaneous open: our SYN again, now with ACK.
            state = .synReceived
            pending.repeatSYN()
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

    /// RFC 9293 section 3.10.7.4, behind its checks.
    @inline(__always)
    private func accept(
        _ segment: borrowing Segment, sequence: SubflowSequence, payloadLength: Int,
        textIsUsable: Bool, receiveWindow: Int, at now: Instant, _ arrival: inout Arrival
    ) {
        let flags = segment.flags
        if flags.contains(.ack) {
            takeAcknowledgement(segment, payloadLength: payloadLength, at: now, &arrival)
        }
        lastArrival = now
        takeTimestamp(segment, at: now)
        receiveText(
            sequence, payloadLength: payloadLength, isFIN: flags.contains(.fin),
            isUsable: textIsUsable,
            receiveWindow: receiveWindow, at: now, &arrival)
    }

    private func takeTimestamp(_ segment: borrowing Segment, at now: Instant) {
        guard negotiated.timestamps, segment.sequence.isAtOrBefore(lastAcknowledged) else { return }
        recentTimestamp.take(segment.options.timestamps.value, at: now)
    }

    /// An ACK says what is expected instead.
    private func refuse(
        _ segment: borrowing Segment, sequence: SubflowSequence, payloadLength: Int, isOld: Bool,
        at now: Instant
    ) {
        guard !segment.flags.contains(.rst) else { return }
        if payloadLength > 0, receiver.next.distance(to: sequence) < 0 {
            statistics.duplicatesReceived += 1
            if negotiated.selectiveAcknowledgement {
                receiver.noteOldDuplicate(sequence, length: payloadLength)
            }
        }
        if state == .timeWait, segment.flags.contains(.fin), !isOld { enterTimeWait(at: now) }
        if !pending.opens { acknowledgements.request() }
    }

    /// The ACK field, which is in order.
    private func takeAcknowledgement(
        _ segment: borrowing Segment, payloadLength: Int, at now: Instant,
        _ arrival: inout Arrival
    ) {
        if state == .synReceived {
            state = .established
            arrival.established = true
            wasEstablished = true
            offered.take(from: segment.sequence, segment.acknowledgement)
            offered.offer(segment.window)
        }
        processAcknowledgement(segment, payloadLength: payloadLength, at: now, &arrival)
        if finAcknowledged { finishWasAcknowledged(at: now) }
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
        negotiated.agree(to: present)
        if negotiated.timestamps {
            recentTimestamp.take(syn.options.timestamps.value, at: now)
        }
        sizeBounds.negotiate(
            present.contains(.maximumSegmentSize) ? syn.options.maximumSegmentSize : nil,
            optionOctets: negotiated.octets, configuration)
        adoptSegmentSize()
        offered.open(
            syn.window, scale: negotiated.windowScale ? syn.options.windowScale : 0,
            sequence: syn.sequence,
            acknowledgement: syn.flags.contains(.ack) ? syn.acknowledgement : sendUnacknowledged)
        updatePacing()
    }
}

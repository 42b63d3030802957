import Measures
import Wire

/// What a segment is to a subflow: the checks of RFC 9293 section 3.10.7, RFC 5961 and RFC 7323 in
/// their order, without consequences. `Subflow.receive` draws those.
enum Verdict: Equatable {
    /// Its acknowledgement counts, and its text, which begins with `sequence`.
    case accepted(sequence: SubflowSequence)
    /// The peer's SYN, which we wait for.
    case opening
    /// It ends the subflow.
    case reset
    /// An RST beside the next sequence number expected; `isAhead`: within the window, so that it is
    /// answered with a challenge (RFC 5961 section 3.2).
    case inexactReset(isAhead: Bool)
    /// The SYN that we answered, once more.
    case repeatedSYN
    /// Outside the window, or, `isOld`, by its timestamp from the past: answered with an ACK.
    case outsideWindow(sequence: SubflowSequence, isOld: Bool)
    /// A SYN where there is none to come, or an acknowledgement far from what was sent: answered
    /// with a challenge (RFC 5961 sections 4.2 and 5.2).
    case challenged
    /// It acknowledges what we have not sent in this handshake: answered with an RST.
    case wrongAcknowledgement
    /// Means nothing, and gets no answer.
    case dropped
    /// The subflow is closed: answered with an RST.
    case forNobody
}

extension Subflow {
    /// Whether `receive` would look into this segment. An owner asks before it acts upon options of
    /// its own (RFC 8684 section 3). An RST beside the expected number counts here, since
    /// MP_FASTCLOSE proves itself by its key.
    public func wouldAccept(
        _ segment: borrowing Segment, payloadLength: Int, receiveWindow: Int,
        at now: Instant
    ) -> Bool {
        switch classify(
            segment, payloadLength: payloadLength, receiveWindow: receiveWindow, at: now)
        {
        case .accepted, .opening, .reset, .inexactReset: true
        case .repeatedSYN, .outsideWindow, .challenged, .wrongAcknowledgement, .dropped, .forNobody:
            false
        }
    }

    @inline(__always)
    func classify(
        _ segment: borrowing Segment, payloadLength: Int, receiveWindow: Int, at now: Instant
    ) -> Verdict {
        switch state {
        case .closed: .forNobody
        case .synSent: classifyAnswer(segment)
        default:
            classifySynchronized(
                segment, payloadLength: payloadLength, receiveWindow: receiveWindow, at: now)
        }
    }

    /// RFC 9293 section 3.10.7.3.
    private func classifyAnswer(_ segment: borrowing Segment) -> Verdict {
        let flags = segment.flags
        if flags.contains(.ack), !acknowledgesSent(segment) {
            return flags.contains(.rst) ? .dropped : .wrongAcknowledgement
        }
        if flags.contains(.rst) { return flags.contains(.ack) ? .reset : .dropped }
        return flags.contains(.syn) ? .opening : .dropped
    }

    /// Something that was sent and not acknowledged yet.
    private func acknowledgesSent(_ segment: borrowing Segment) -> Bool {
        let acknowledged = sendUnacknowledged.distance(to: segment.acknowledgement)
        return acknowledged > 0 && acknowledged <= sendUnacknowledged.distance(to: sendNext)
    }

    /// RFC 9293 section 3.10.7.4.
    @inline(__always)
    private func classifySynchronized(
        _ segment: borrowing Segment, payloadLength: Int, receiveWindow: Int, at now: Instant
    ) -> Verdict {
        let flags = segment.flags
        var sequence = segment.sequence
        if flags.contains(.syn), !flags.contains(.rst) {
            // RFC 5961 section 4.2: whatever its sequence number.
            guard state == .synReceived, sequence == initialReceiveSequence else {
                return .challenged
            }
            guard flags.contains(.ack), !isPassive else { return .repeatedSYN }
            // Simultaneous open: only the SYN/ACK's ACK and text are new.
            sequence += 1
        }
        let isReset = flags.contains(.rst)
        var isOld = false
        if negotiated.timestamps, !isReset {
            // RFC 7323 section 3.2: silently.
            guard segment.options.present.contains(.timestamps) else { return .dropped }
            isOld = !recentTimestamp.admits(segment.options.timestamps.value, at: now)
        }
        let offset = receiver.next.distance(to: sequence)
        guard !isOld,
            isInWindow(
                offset: offset, payloadLength: payloadLength, isFIN: flags.contains(.fin),
                sequence: sequence, window: receiveWindow)
        else { return .outsideWindow(sequence: sequence, isOld: isOld) }
        if isReset {
            return offset == 0
                ? .reset : .inexactReset(isAhead: offset > 0 && offset < receiveWindow)
        }
        guard flags.contains(.ack) else {
            // Early data follows the SYN before there is anything to acknowledge.
            return state == .synReceived && configuration.earlyData
                ? .accepted(sequence: sequence) : .dropped
        }
        if state == .synReceived {
            return acknowledgesSent(segment)
                ? .accepted(sequence: sequence) : .wrongAcknowledgement
        }
        let acknowledged = sendUnacknowledged.distance(to: segment.acknowledgement)
        // RFC 5961 section 5.2.
        return acknowledged <= sendUnacknowledged.distance(to: sendNext)
            && acknowledged >= -offered.largest
            ? .accepted(sequence: sequence) : .challenged
    }

    /// RFC 9293 section 3.4, a little wider: an ACK without text may be older than what it
    /// acknowledges, and may stand at the window's edge.
    @inline(__always)
    private func isInWindow(
        offset: Int, payloadLength: Int, isFIN: Bool, sequence: SubflowSequence, window: Int
    ) -> Bool {
        let extent = payloadLength &+ (isFIN ? 1 : 0)
        if extent == 0 {
            return offset <= window && (offset >= 0 || lastAcknowledged.isAtOrBefore(sequence))
        }
        return offset &+ extent > 0
            && (offset <= 0 || offset < window || (payloadLength == 0 && offset <= window))
    }
}

import Measures
import Wire

extension Subflow {
    /// Whether `receive` would look into this segment: the checks of RFC 9293 section 3.10.7, RFC
    /// 5961 and RFC 7323 without their consequences. An owner asks before it acts upon options of
    /// its own (RFC 8684 section 3).
    public func wouldAccept(
        _ segment: borrowing Segment, payloadLength: Int, receiveWindow: Int,
        at now: Instant
    ) -> Bool {
        let flags = segment.flags
        let acknowledged = sendUnacknowledged.distance(to: segment.acknowledgement)
        let outstanding = sendUnacknowledged.distance(to: sendNext)
        if state == .closed { return false }
        if state == .synSent {
            guard flags.contains(.ack) else { return flags.contains(.syn) && !flags.contains(.rst) }
            return acknowledged > 0 && acknowledged <= outstanding
                && !flags.isDisjoint(with: [.syn, .rst])
        }
        var sequence = segment.sequence
        if flags.contains(.syn) {
            guard state == .synReceived, sequence == initialReceiveSequence else { return false }
            sequence += 1
        }
        let extent = payloadLength &+ (flags.contains(.fin) ? 1 : 0)
        guard
            isAcceptable(
                offset: receiver.next.distance(to: sequence), extent: extent,
                payloadLength: payloadLength, sequence: sequence, window: receiveWindow)
        else { return false }
        if flags.contains(.rst) { return true }
        if usesTimestamps, !hasCurrentTimestamp(segment, at: now) { return false }
        guard flags.contains(.ack) else { return state == .synReceived && configuration.earlyData }
        if state == .synReceived { return acknowledged > 0 && acknowledged <= outstanding }
        return acknowledged <= outstanding && acknowledged >= -largestPeerWindow
    }
}

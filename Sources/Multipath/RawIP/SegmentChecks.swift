import Measures
import Subflow
import Wire

/// What others may do wrong on raw IP, or a middlebox to what they do right: segments that belong
/// to nothing, and subflows on which options do not get through.
extension Connection {
    /// RFC 8684 section 3: TCP's own checks come before every MPTCP option.
    func isCredible(
        _ segment: borrowing Segment, count: Int, _ member: MemberSubflow,
        at now: Instant
    ) -> Bool {
        member.tcp.wouldAccept(
            segment, payloadLength: count,
            receiveWindow: 2 * configuration.receiveLimit, at: now)
    }

    /// What is not credible goes to the TCP alone, which answers as RFC 5961 says.
    func receiveWithoutOptions(
        _ segment: borrowing Segment, count: Int, _ member: MemberSubflow,
        at now: Instant
    ) {
        guard !hasFailed || lifecycle.isAborting else { return }
        let arrival = member.tcp.receive(
            segment, payloadLength: count, textIsUsable: false,
            receiveWindow: 2 * configuration.receiveLimit, at: now)
        if arrival.wasReset { return wasReset(member, segment, at: now) }
        if !member.isAlive { retire(member, at: now) }
    }

    /// RFC 8684 section 3.3: a checksum exactly where checksums were agreed on; else the subflow is
    /// reset.
    func checksumIsAsAgreed(_ segment: borrowing Segment, _ member: MemberSubflow) -> Bool {
        let present = segment.options.present, hasOne: Bool
        if present.contains(.dss), let mapping = segment.options.dss.mapping, mapping.length > 0 {
            hasOne = mapping.checksum != nil
        } else if present.contains(.multipathCapable),
            segment.options.multipathCapable.dataLength != nil
        {
            hasOne = segment.options.multipathCapable.checksum != nil
        } else {
            return true
        }
        if hasOne == raw.usesChecksums { return true }
        reset(member, reason: MPReset.multipathSpecific)
        return false
    }

    /// Segments in a row without a mapping, and the time they go on, that make a subflow broken.
    private static let maximumUnmapped = 4
    private static let unmappedTimeout = Interval.seconds(1)

    /// Text that no mapping covers is not taken, and the peer repeats it. Where that goes on,
    /// options do not get through any more (RFC 8684 sections 3.3.1 and 3.7).
    func noteUnmapped(
        _ segment: borrowing Segment, count: Int, _ member: MemberSubflow, at now: Instant
    ) {
        guard count > 0, raw.plain == nil, remoteKey != nil else { return }
        let position = member.relativeReceive(segment.sequence)
        let isNew =
            Int32(
                bitPattern: position &+ UInt32(truncatingIfNeeded: count)
                    &- member.relativeReceive(member.tcp.receiveNext)) > 0
        guard isNew else { return }
        guard segment.options.present.isDisjoint(with: [.dss, .multipathCapable]),
            member.mappings.locate(position) == nil,
            !isUncheckedMapped(from: position, count: 1, member: member)
        else { member.raw.unmapped = 0; return }
        if member.raw.unmapped == 0 { member.raw.unmappedFrom = now }
        member.raw.unmapped += 1
        if member.raw.unmapped >= Self.maximumUnmapped,
            now - member.raw.unmappedFrom >= Self.unmappedTimeout
        {
            reset(member, reason: MPReset.middleboxInterference)
        }
    }

    /// RFC 8684 section 3.7: data acknowledged on a joined subflow that has never had a DSS from
    /// the peer.
    func noteBareAcknowledgement(
        _ segment: borrowing Segment, delivered: Int, _ member: MemberSubflow
    ) {
        let present = segment.options.present
        if present.contains(.dss) {
            if segment.options.dss.acknowledgement != nil {
                member.raw.hasDataAcknowledgement = true
            }
        } else if delivered > 0, member.kind == .join, !member.raw.hasDataAcknowledgement,
            raw.plain == nil,
            present.isDisjoint(with: SegmentOptions.multipath)
        {
            reset(member, reason: MPReset.middleboxInterference)
        }
    }

    /// RFC 8684 section 3.3.5: a subflow carries no more than its own window takes, which a
    /// middlebox may have made smaller than the connection's. One with nothing under way may send a
    /// segment: its answer tells the window.
    func keepToSubflowWindow(
        _ candidate: inout SchedulingCandidate, size: Int, _ member: MemberSubflow
    ) {
        let outstanding = member.tcp.sendUnacknowledged.distance(to: member.tcp.sendNext)
        let room =
            outstanding == 0
            ? max(size, member.tcp.peerWindow) : member.tcp.peerWindow - outstanding
        if room < candidate.room { candidate.room = room < size ? 0 : room }
    }
}

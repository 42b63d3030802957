import Buffers
import Measures
import Subflow
import Wire

/// What goes a second time: on its own subflow, since that has lost it, or on another
/// (reinjection).
extension Connection {
    // MARK: On its own subflow

    /// False where the subflow can't be repaired and is reset instead (its RST comes next).
    func retransmit(
        _ span: SentSpan, _ member: MemberSubflow, at now: Instant,
        into out: inout OutgoingSegment
    ) -> Bool {
        if span.length > 0, span.streamOffset < sender.ring.base || isNotWorthRepair(member) {
            // The bytes are at the peer already, over another path; inside a session a new subflow
            // costs less than filling the old one's holes with them.
            reset(member, reason: MPReset.unacceptablePerformance)
            turn.phase = .control
            return false
        }
        begin(&out, member)
        member.tcp.beginRetransmission(
            of: span, &out.segment, receiveWindow: receiver.offered,
            optionRoom: optionRoom(member, mapping: true), at: now)
        let position = member.relativeSend(span.sequence) &+ (span.isSYN ? 1 : 0)
        attach(
            &out.segment, member,
            mapping: span.length > 0 ? (span.streamOffset, span.length, position) : nil, at: now)
        let length = span.isSYN ? span.length : fit(span.length, behind: &out.segment, member)
        member.tcp.commitRetransmission(of: span, length: length, at: now)
        if length > 0 { out.payload = sender.ring.pieces(from: span.streamOffset, count: length) }
        return true
    }

    /// More than this many bytes outstanding that the peer has over another path: not worth
    /// repeating.
    private static let maximumDeadBytes: UInt64 = 64 << 10

    private func isNotWorthRepair(_ member: MemberSubflow) -> Bool {
        if mayMove(member) { return false }
        guard framing.replacesStaleSubflows,
            livingSubflows > 1,
            member.isStale,
            member.tcp.outstandingCount > 1
        else { return false }
        let last = member.tcp.outstanding(member.tcp.outstandingCount - 1)
        let front = member.tcp.outstanding(0)
        return last.streamOffset &+ UInt64(last.length) <= sender.acknowledged
            && UInt64(max(0, front.sequence.distance(to: last.sequence))) > Self.maximumDeadBytes
    }

    // MARK: On another one

    /// New data ahead of reinjections that may not be needed, behind what may have found the path's
    /// interface closed. Of redundant data the other path has sent whatever there is.
    func newDataAmongReinjections(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard sender.uncertainLoss.prefersNewData, !isRedundant else { return false }
        if let newest = sender.newest {
            guard let end = reinject(newest, at: now, into: &out) else { return false }
            sender.newestWent(to: end)
            return true
        }
        guard newData(at: now, into: &out) else { return false }
        // reinjections take from its room
        turn.burst = nil
        sender.wentNew()
        return true
    }

    func reinjection(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        if sender.reinjections.isEmpty { sender.reinjectRest() }
        guard let end = reinject(sender.reinjections[0], at: now, into: &out) else { return false }
        sender.reinjected(to: end)
        return true
    }

    /// A segment from the front of `span` once more; where it ends, nil where nothing may carry it.
    private func reinject(
        _ span: OffsetRanges.Span, at now: Instant, into out: inout OutgoingSegment
    ) -> UInt64? {
        collectCandidates(segment: span.count, at: now)
        guard let member = fastestWithRoom() ?? repairing(awaiting: span.start) else { return nil }
        let n = emit(
            member, offset: span.start, upTo: min(span.count, member.tcp.sendSegmentSize),
            isCopy: true, at: now, into: &out)
        traffic.counted.bytesReinjected += n
        return span.start &+ UInt64(n)
    }

    /// A subflow with room for nothing but its own losses, for what the peer lacks first: the
    /// losses may lie so far ahead that the peer can't keep them before. One segment a time-out,
    /// and one for each that has arrived.
    private func repairing(awaiting offset: UInt64) -> MemberSubflow? {
        guard framing.repairsInDataOrder, offset == sender.acknowledged else { return nil }
        for i in 0..<candidateScratch.count {
            guard let member = member(candidateScratch[i].subflow), member.tcp.isRepairingTimeout,
                member.repair.awaitedSent != offset
                    || member.repair.afterTimeouts != member.tcp.statistics.timeouts
            else { continue }
            member.repair.awaitedSent = offset
            member.repair.afterTimeouts = member.tcp.statistics.timeouts
            return member
        }
        return nil
    }
}

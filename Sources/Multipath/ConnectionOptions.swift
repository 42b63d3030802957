import Buffers
import Measures
import Subflow
import Wire

/// What MPTCP adds to a segment on its way out: keys and HMACs, mapping and data acknowledgement,
/// MP_PRIO, the reason of a reset.
extension Connection {
    /// Of the 40 option bytes, what MPTCP takes: the keys (with a data length) or an HMAC, which
    /// stand alone, or a DSS with a mapping, or a data acknowledgement; and MP_PRIO.
    func optionRoom(_ member: MemberSubflow, mapping: Bool) -> Int {
        let priority = member.priority.isDue ? 4 : 0
        if framing.limitsOptions, member.isOpener, !member.proof.isKnownToPeer {
            return 24 + priority
        }
        return (mapping ? framing.mappingOctets : framing.dataAcknowledgementOctets) + priority
    }

    /// A segment of `member`, with nothing in it yet.
    func begin(_ out: inout OutgoingSegment, _ member: MemberSubflow) {
        out.segment.reset()
        out.payload = .empty
        out.subflow = member.index
        out.path = member.path
    }

    func attach(
        _ segment: inout Segment, _ member: MemberSubflow,
        mapping: (offset: UInt64, length: Int, position: UInt32)?,
        fin: Bool = false, at now: Instant
    ) {
        if segment.flags.isDisjoint(with: .syn), isPlain(mapping) {
            return attachPlain(&segment, member: member, mapping: mapping)
        }
        let wide = framing.limitsOptions
        let isFirstRawData =
            wide && mapping?.offset == 0 && member.kind == .initial
            && member.isOpener && !member.proof.isKnownToPeer
        // later data has its own mapping instead
        if segment.flags.contains(.syn) || (member.isOpener && !member.proof.isKnownToPeer),
            !wide || isFirstRawData || (mapping == nil && !fin)
        {
            attachHandshake(
                &segment, member: member, firstData: isFirstRawData ? mapping!.length : nil, at: now
            )
        }
        if member.priority.isDue, !segment.flags.contains(.syn) {
            segment.options.priority.backup = member.priority.byUs
            segment.options.present.insert(.priority)
            member.priority.left -= 1
        }
        if isFirstRawData {  // MP_CAPABLE maps it (RFC 8684 section 3.1)
            return addChecksum(&segment, offset: mapping!.offset, length: mapping!.length)
        }
        let dss = dataSignal(beside: segment.flags, member, mapping: mapping, fin: fin)
        // Keys or an HMAC leave no room for a DSS beside timestamps in the 40 bytes of a real TCP
        // header.
        guard dss.acknowledgement != nil || dss.mapping != nil,
            !(wide && !segment.options.present.isDisjoint(with: [.multipathCapable, .join]))
        else { return }
        segment.options.dss = dss
        segment.options.present.insert(.dss)
        if wide {
            addChecksum(&segment, offset: mapping?.offset ?? 0, length: mapping?.length ?? 0)
            attachFail(&segment)
        }
        if dss.acknowledgement != nil { receiver.advertise() }
    }

    /// The data acknowledgement, where one may be said, and the mapping of what the segment
    /// carries: data, or DATA_FIN.
    @inline(__always)
    private func dataSignal(
        beside flags: ControlBits, _ member: MemberSubflow,
        mapping: (offset: UInt64, length: Int, position: UInt32)?, fin: Bool
    ) -> DSS {
        let wide = framing.limitsOptions
        var dss = DSS()
        if flags.contains(.ack) || member.kind == .join, let first = peer.firstSequence,
            !(wide && flags.contains(.syn))
        {
            dss.acknowledgement = first + Int(receiver.next) + (receiver.isFinReached ? 1 : 0)
            dss.acknowledgementWidth =
                wide || (member.owesWideAcknowledgement && mapping == nil)
                ? .eight : .four
            if dss.acknowledgementWidth == .eight { member.owesWideAcknowledgement = false }
        }
        if let mapping {
            var m = DSS.Mapping()
            m.dataSequence = sender.sequence(at: mapping.offset)
            m.width = framing.dataSequenceWidth
            m.subflowSequence = mapping.position
            m.length = UInt16(mapping.length)
            dss.mapping = m
        } else if fin, let finOffset = sender.finOffset {
            var m = DSS.Mapping()
            m.dataSequence = sender.sequence(at: finOffset)
            m.width = framing.dataSequenceWidth
            m.length = 1
            dss.mapping = m
            dss.dataFin = true
        }
        return dss
    }

    func attachReset(_ segment: inout Segment, _ member: MemberSubflow) {
        if raw.plain != nil { return }
        if let failedSequence = member.raw.failedSequence {
            segment.options.fail.dataSequence = failedSequence
            segment.options.present.insert(.fail)
            traffic.counted.failsSent += 1
        }
        if lifecycle.isAborting, let remoteKey {
            segment.options.fastClose.receiverKey = remoteKey
            segment.options.present.insert(.fastClose)
        } else {
            segment.options.reset.reason = member.ending.resetReason ?? MPReset.unspecified
            segment.options.reset.transient = MPReset.isTransient(segment.options.reset.reason)
            segment.options.present.insert(.reset)
        }
    }
}

import Buffers
import Measures

extension SealedSegment {
    /// Writes the frame's head, at most `maximumHead` bytes, and returns its length; the payload
    /// follows it.
    ///
    /// With `runsToEnd` nothing may follow the payload in the datagram; without, there are at most
    /// 32,000 bytes of it. The context moves on as though the segment were sent: where it is not,
    /// that is the same as a loss (or put a copy of the context back).
    public static func write(
        _ s: borrowing Segment, payloadLength: Int, runsToEnd: Bool,
        context: inout SealedContext, into p: UnsafeMutableRawPointer
    ) -> Int {
        precondition(payloadLength >= 0 && payloadLength <= (runsToEnd ? 65_535 : 32_000))
        p.put(context.number, 1)
        guard !runsToEnd else { return writeBody(s, payloadLength, 0, &context, p, 3) }
        let start = payloadLength < 0x80 ? 4 : 5
        var at = writeBody(s, payloadLength, lengthBit, &context, p, start)
        let body = at - start + payloadLength
        if body < 0x80 {
            p.put(UInt8(truncatingIfNeeded: body), 3)
            return at
        }
        if start == 4 {
            // The head is what makes it long.
            (p + 5).copyMemory(from: p + 4, byteCount: at - 4)
            at += 1
        }
        p.put(UInt16(truncatingIfNeeded: body) | 0x8000, 3)
        return at
    }

    /// How long the head is that `write` would write now, the frame running to the datagram's end.
    /// Nothing is changed: `inout` spares the copies.
    public static func headLength(
        of s: inout Segment, payloadLength: Int, context: inout SealedContext
    ) -> Int {
        guard isCompact(s, payloadLength, context) else {
            let options = s.options
            let octets = withUnsafeTemporaryAllocation(byteCount: maximumHead, alignment: 1) {
                options.write(to: $0.baseAddress!, padded: false)
            }
            let ack = s.flags.contains(.ack) ? 4 : 0, urgent = s.urgentPointer != 0 ? 2 : 0
            return 11 &+ ack &+ urgent &+ octets
        }
        let present = s.options.present, isPlain = s.flags == .ack
        var start = 7
        if present.contains(.dss), s.options.dss.mapping != nil { start &+= 4 }
        let known = context.confirmedReference
        let hasSACK = present.contains(.sack)
        let acknowledges = known?.acknowledgement != s.acknowledgement.value
        let opens = known?.window != s.window
        var length = start &+ 1 &+ (acknowledges ? 4 : 0) &+ (opens ? 2 : 0)
        var saysAll = hasSACK || acknowledges || opens || !isPlain
        if present.contains(.dss), let dataAck = s.options.dss.acknowledgement {
            let isKnown =
                known?.hasDataAcknowledgement == true && known?.dataAcknowledgement == dataAck.low32
            if hasSACK || !isKnown { length &+= 4 }
            if !isKnown { saysAll = true }
        } else if known?.hasDataAcknowledgement != false {
            saysAll = true
        }
        guard saysAll else { return start }
        return hasSACK ? length &+ s.options.sack.compactLength(from: s.acknowledgement) : length
    }

    /// All behind number and length, and the first byte; where the head ends.
    @inline(__always)
    private static func writeBody(
        _ s: borrowing Segment, _ payloadLength: Int, _ lengthBits: UInt8,
        _ context: inout SealedContext, _ p: UnsafeMutableRawPointer,
        _ start: Int
    ) -> Int {
        guard isCompact(s, payloadLength, context) else {
            return writeGeneral(s, payloadLength, lengthBits, &context, p, start)
        }
        var at = start
        let relative = s.sequence.value &- context.sendInitial.value
        p.put(relative, at)
        at &+= 4
        var first = frameBit | lengthBits
        var fields = SealedContext.Fields()
        fields.acknowledgement = s.acknowledgement.value
        fields.window = s.window
        if s.options.present.contains(.dss) {
            if let mapping = s.options.dss.mapping {
                first |= mapBit
                p.put(mapping.dataSequence.low32, at)
                at &+= 4
            }
            if let dataAck = s.options.dss.acknowledgement {
                fields.hasDataAcknowledgement = true
                fields.dataAcknowledgement = dataAck.low32
            }
        }
        context.confirm()
        let isReference = context.era != 0 && fields == context.reference
        if isReference, s.flags == .ack, !s.options.present.contains(.sack) {
            p.put(first | context.era, 0)
        } else {
            p.put(first, 0)
            at = writeControl(s, fields, context, p, at)
        }
        if payloadLength > 0 {
            context.sent(fields, isReference: isReference, end: s.sequence + payloadLength)
        }
        return at
    }

    /// The shapes the compact form has: ACK, perhaps PSH; a mapping of exactly this payload;
    /// four-octet numbers; SACK only beside a data acknowledgement.
    @inline(__always)
    private static func isCompact(
        _ s: borrowing Segment, _ payloadLength: Int,
        _ context: SealedContext
    ) -> Bool {
        guard s.flags.subtracting(.psh) == .ack, s.urgentPointer == 0, context.knowsSendInitial,
            context.knowsReceiveInitial
        else { return false }
        let present = s.options.present
        if present == [] { return true }
        guard present.subtracting(.sack) == .dss, !s.options.dss.dataFin else { return false }
        if s.options.dss.acknowledgement != nil {
            guard s.options.dss.acknowledgementWidth == .four else { return false }
        } else if present.contains(.sack) {
            return false
        }
        guard let mapping = s.options.dss.mapping else {
            return s.options.dss.acknowledgement != nil
        }
        guard payloadLength > 0, mapping.width == .four, mapping.checksum == nil else {
            return false
        }
        let relative = s.sequence.value &- context.sendInitial.value
        return Int(mapping.length) == payloadLength && mapping.subflowSequence == relative
    }

    /// The control byte and what it says. Sequence numbers are relative to the initial ones.
    private static func writeControl(
        _ s: borrowing Segment, _ fields: SealedContext.Fields,
        _ context: SealedContext,
        _ p: UnsafeMutableRawPointer, _ start: Int
    ) -> Int {
        let reference = context.reference, hasReference = context.era != 0
        var control = context.era << 5
        var at = start + 1
        if s.flags.contains(.psh) { control |= Control.push }
        if !hasReference || fields.acknowledgement != reference.acknowledgement {
            control |= Control.acknowledgement
            p.put(fields.acknowledgement &- context.receiveInitial.value, at)
            at += 4
        }
        if !hasReference || fields.window != reference.window {
            control |= Control.window
            p.put(fields.window, at)
            at += 2
        }
        if fields.hasDataAcknowledgement {
            let hasSACK = s.options.present.contains(.sack)
            if !hasSACK, hasReference, reference.hasDataAcknowledgement,
                reference.dataAcknowledgement == fields.dataAcknowledgement
            {
                control |= Control.reference
            } else {
                control |= hasSACK ? Control.saidWithSACK : Control.said
                p.put(fields.dataAcknowledgement, at)
                at += 4
                if hasSACK {
                    at += s.options.sack.writeCompact(to: p + at, from: s.acknowledgement)
                }
            }
        }
        p.put(control, start)
        return at
    }

    private static func writeGeneral(
        _ s: borrowing Segment, _ payloadLength: Int, _ lengthBits: UInt8,
        _ context: inout SealedContext, _ p: UnsafeMutableRawPointer,
        _ start: Int
    ) -> Int {
        var first = frameBit | generalBit | lengthBits
        p.put(s.flags.rawValue, start)
        var at = start + 2
        p.put(s.sequence.value, at)
        at += 4
        if s.flags.contains(.ack) {
            p.put(s.acknowledgement.value, at)
            at += 4
        }
        p.put(s.window, at)
        at += 2
        if s.urgentPointer != 0 {
            first |= urgentBit
            p.put(s.urgentPointer, at)
            at += 2
        }
        let octets = s.options.write(to: p + at, padded: false)
        p.put(UInt8(truncatingIfNeeded: octets), start + 1)
        p.put(first, 0)
        context.sentGeneral(s, end: s.sequence + payloadLength + sequenceFlags(s.flags))
        return at + octets
    }

    /// SYN and FIN take a sequence number each.
    private static func sequenceFlags(_ flags: ControlBits) -> Int {
        (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0)
    }
}

import Buffers
import Measures

/// A segment inside a sealed datagram: the same `Segment`, without what the datagram, the frame or
/// an earlier segment already says. docs/wire.md draws it byte by byte.
///
/// ```
/// compact  1 0 L 0 M EEE │ number 2 │ [length 1|2] │ sequence 4 │ [data sequence 4]
///          │ [control 1 │ [acknowledgement 4] │ [window 2] │ [data acknowledgement 4] │ [SACK]]
/// general  1 1 L 0 0 0 0 U │ number 2 │ [length 1|2] │ flags 1 │ options length 1 │ sequence 4
///          │ [acknowledgement 4] │ window 2 │ [urgent pointer 2] │ options
/// ```
/// The length is that of all behind it, so that who knows no such subflow can pass over the frame;
/// a frame without one (L 0) runs to the end of the datagram. The payload is what the head leaves.
///
/// A bulk data segment takes `bulkHead` bytes before its payload.
public enum SealedSegment {
    /// Bit 7 of a frame's first byte: set in segment frames, clear in all others.
    public static let frameBit: UInt8 = 0x80
    /// The port of the side that did not open the subflow.
    public static let listenerPort: UInt16 = 443
    /// Head of a data segment whose acknowledgement, window and data acknowledgement the peer has
    /// already.
    public static let bulkHead = 11
    /// The same where all three must be said.
    public static let explicitHead = 22
    /// No head is longer: the room `write` needs.
    public static let mostHead = 224

    private static let generalBit: UInt8 = 0x40
    private static let mapBit: UInt8 = 0x08
    private static let eraMask: UInt8 = 0x07
    private static let urgentBit: UInt8 = 0x01
    /// The frame says its length (L); else it runs to the end of the datagram.
    private static let lengthBit: UInt8 = 0x20
    /// Bits of the first byte that nothing is assigned to: with one of them set a segment is not
    /// understood.
    private static let compactZeros: UInt8 = 0x10, generalZeros: UInt8 = 0x1e

    /// The control byte: era ‖ PSH ‖ acknowledgement said ‖ window said ‖ how the data
    /// acknowledgement stands.
    private enum Control {
        static let push: UInt8 = 0x10, acknowledgement: UInt8 = 0x08, window: UInt8 = 0x04,
            dataMask: UInt8 = 0x03
        /// There is none; it is the reference's; it is said; it is said and SACK blocks follow.
        static let absent: UInt8 = 0, reference: UInt8 = 1, said: UInt8 = 2, saidWithSACK: UInt8 = 3
    }

    // MARK: Looking

    /// The subflow number of a segment frame; nil for other frames and for too few bytes.
    @inline(__always) public static func peekNumber(_ frame: UnsafeRawBufferPointer) -> UInt16? {
        guard frame.count >= 3, let p = frame.baseAddress, p.byte(0) & frameBit != 0 else {
            return nil
        }
        return p.word16(1)
    }

    /// The bytes of the segment frame at the start of `rest`, whoever knows its subflow; nil where
    /// it is cut short.
    @inline(__always) public static func extent(_ rest: UnsafeRawBufferPointer) -> Int? {
        guard rest.count >= 3, let p = rest.baseAddress else { return nil }
        guard p.byte(0) & lengthBit != 0 else { return rest.count }
        guard rest.count >= 4 else { return nil }
        let high = Int(p.byte(3))
        guard high >= 0x80 else { return 4 &+ high <= rest.count ? 4 &+ high : nil }
        guard rest.count >= 5 else { return nil }
        let end = 5 &+ ((high & 0x7f) << 8 | Int(p.byte(4)))
        return end <= rest.count ? end : nil
    }

    /// Whether the frame is a SYN without ACK, for which a context may be made.
    public static func isInitialSYN(_ frame: UnsafeRawBufferPointer) -> Bool {
        guard let flags = peekFlags(frame) else { return false }
        return flags.contains(.syn) && !flags.contains(.ack)
    }

    /// Whether the frame is a segment without ACK, SYN and RST: data sent before the peer's SYN/ACK
    /// came.
    public static func isBeforeAnswer(_ frame: UnsafeRawBufferPointer) -> Bool {
        guard let flags = peekFlags(frame) else { return false }
        return flags.isDisjoint(with: [.ack, .syn, .rst])
    }

    /// Whether the frame is an RST, which is always in the general form.
    public static func isReset(_ frame: UnsafeRawBufferPointer) -> Bool {
        peekFlags(frame)?.contains(.rst) ?? false
    }

    /// The flags of a segment in the general form.
    private static func peekFlags(_ frame: UnsafeRawBufferPointer) -> ControlBits? {
        guard frame.count >= 6, let p = frame.baseAddress else { return nil }
        guard p.byte(0) & (frameBit | generalBit) == frameBit | generalBit else { return nil }
        return ControlBits(rawValue: p.byte(bodyStart(p)))
    }

    /// Where the part behind number and length begins; there are at least four bytes where a length
    /// is said.
    @inline(__always) private static func bodyStart(_ p: UnsafeRawPointer) -> Int {
        p.byte(0) & lengthBit == 0 ? 3 : p.byte(3) < 0x80 ? 4 : 5
    }

    // MARK: Out

    /// Writes the frame's head, at most `mostHead` bytes, and returns its length; the payload
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

    // MARK: In

    /// Reads one segment frame, which begins at the start of `frame`; the payload is the
    /// `payloadLength` bytes after the head, and the frame's last. On an error nothing of the
    /// context has changed and `segment` is undefined; `extent` tells where the next frame begins.
    public static func read(
        _ frame: UnsafeRawBufferPointer, context: inout SealedContext,
        into segment: inout Segment
    )
        throws(WireError) -> (headLength: Int, payloadLength: Int)
    {
        guard let count = extent(frame), let p = frame.baseAddress else { throw .truncated }
        let first = p.byte(0)
        guard first & frameBit != 0 else { throw .notASegmentFrame }
        guard p.word16(1) == context.number else { throw .wrongSubflow }
        let start = bodyStart(p)
        guard first & generalBit == 0 else {
            return try readGeneral(p, count, start, &context, &segment)
        }
        guard first & compactZeros == 0 else { throw .notASegmentFrame }
        guard context.knowsSendInitial, context.knowsReceiveInitial else {
            throw .unknownInitialSequence
        }

        let hasMapping = first & mapBit != 0
        var head = start &+ (hasMapping ? 8 : 4)
        guard head <= count else { throw .truncated }
        let relative = p.word32(start)
        segment.sequence = context.receiveInitial + Int(relative)
        segment.flags = .ack
        segment.urgentPointer = 0
        segment.options.present = []
        var fields: SealedContext.Fields
        var proposal: UInt8?
        if first & eraMask != 0 {
            guard let known = context.fields(era: first & eraMask) else { throw .unknownReference }
            fields = known
        } else {
            guard head < count else { throw .truncated }
            proposal = p.byte(head) >> 5
            fields = SealedContext.Fields()
            head = try readControl(p, count, head, context, &fields, &segment)
        }
        segment.acknowledgement = SubflowSequence(fields.acknowledgement)
        segment.window = fields.window
        let payloadLength = min(count &- head, 65_535)
        if hasMapping || fields.hasDataAcknowledgement {
            segment.options.present.insert(.dss)
            segment.options.dss = DSS()
            if fields.hasDataAcknowledgement {
                segment.options.dss.acknowledgement = DataSequence(
                    UInt64(fields.dataAcknowledgement))
                segment.options.dss.acknowledgementWidth = .four
            }
            if hasMapping {
                guard payloadLength > 0 else { throw .notASegmentFrame }
                var mapping = DSS.Mapping()
                mapping.dataSequence = DataSequence(UInt64(p.word32(start &+ 4)))
                mapping.width = .four
                mapping.subflowSequence = relative
                mapping.length = UInt16(truncatingIfNeeded: payloadLength)
                segment.options.dss.mapping = mapping
            }
        }
        setPorts(context, &segment)
        if let proposal, payloadLength > 0 {
            context.proposed(fields, after: proposal, end: segment.sequence + payloadLength)
        }
        context.received(acknowledgement: segment.acknowledgement)
        return (head, payloadLength)
    }

    @inline(__always) private static func setPorts(
        _ context: SealedContext, _ segment: inout Segment
    ) {
        segment.sourcePort = context.isInitiator ? listenerPort : context.number
        segment.destinationPort = context.isInitiator ? context.number : listenerPort
    }

    /// Returns where the head ends.
    private static func readControl(
        _ p: UnsafeRawPointer, _ count: Int, _ start: Int,
        _ context: SealedContext,
        _ fields: inout SealedContext.Fields, _ segment: inout Segment
    )
        throws(WireError) -> Int
    {
        let control = p.byte(start), era = control >> 5, data = control & Control.dataMask
        let saysAll =
            control & (Control.acknowledgement | Control.window)
            == Control.acknowledgement | Control.window
        if !saysAll || data == Control.reference {
            guard let known = context.fields(era: era) else { throw .unknownReference }
            guard data != Control.reference || known.hasDataAcknowledgement else {
                throw .unknownReference
            }
            fields = known
        } else if era > 6 {
            throw .notASegmentFrame
        }
        var at = start + 1
        if control & Control.push != 0 { segment.flags.insert(.psh) }
        if control & Control.acknowledgement != 0 {
            guard at + 4 <= count else { throw .truncated }
            fields.acknowledgement = p.word32(at) &+ context.sendInitial.value
            at += 4
        }
        if control & Control.window != 0 {
            guard at + 2 <= count else { throw .truncated }
            fields.window = p.word16(at)
            at += 2
        }
        fields.hasDataAcknowledgement = data != Control.absent
        if data == Control.absent { fields.dataAcknowledgement = 0 }
        if data >= Control.said {
            guard at + 4 <= count else { throw .truncated }
            fields.dataAcknowledgement = p.word32(at)
            at += 4
        }
        if data == Control.saidWithSACK {
            let blocks = UnsafeRawBufferPointer(start: p + at, count: count - at)
            at += try segment.options.sack.readCompact(
                blocks, from: SubflowSequence(fields.acknowledgement))
            segment.options.present.insert(.sack)
        }
        return at
    }

    private static func readGeneral(
        _ p: UnsafeRawPointer, _ count: Int, _ start: Int,
        _ context: inout SealedContext,
        _ segment: inout Segment
    )
        throws(WireError) -> (headLength: Int, payloadLength: Int)
    {
        let first = p.byte(0)
        guard start + 2 <= count else { throw .truncated }
        guard first & generalZeros == 0 else { throw .notASegmentFrame }
        let flags = ControlBits(rawValue: p.byte(start)), octets = Int(p.byte(start + 1))
        let hasAck = flags.contains(.ack), hasUrgent = first & urgentBit != 0
        var at = start + 2
        let options = at + 6 + (hasAck ? 4 : 0) + (hasUrgent ? 2 : 0)
        guard options + octets <= count else { throw .truncated }
        segment.flags = flags
        segment.sequence = SubflowSequence(p.word32(at))
        at += 4
        segment.acknowledgement = SubflowSequence(hasAck ? p.word32(at) : 0)
        if hasAck { at += 4 }
        segment.window = p.word16(at)
        segment.urgentPointer = hasUrgent ? p.word16(at + 2) : 0
        try segment.options.read(p + options, count: octets, flags: flags)
        setPorts(context, &segment)
        if flags.contains(.syn) { context.received(initialSequence: segment.sequence) }
        if hasAck { context.received(acknowledgement: segment.acknowledgement) }
        return (options + octets, min(count - options - octets, 65_535))
    }
}

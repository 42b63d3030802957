import Buffers
import Measures

extension SealedSegment {
    /// Reads one segment frame, which begins at the start of `frame`; the payload is the
    /// `payloadLength` bytes after the head, and the frame's last. On an error nothing of the
    /// context has changed and `segment` is undefined; `extent` tells where the next frame begins.
    ///
    /// `record`: packet number of the record it came in, on the subflow's path. What names an era
    /// was sent after the proposal that made it, so in a later record; a segment from an older one
    /// is a straggler from six eras ago or more. Nil: not known, and not checked.
    public static func read(
        _ frame: UnsafeRawBufferPointer, context: inout SealedContext, record: UInt64? = nil,
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
            guard let known = context.fields(era: first & eraMask, record: record) else {
                throw .unknownReference
            }
            fields = known
        } else {
            guard head < count else { throw .truncated }
            proposal = p.byte(head) >> 5
            fields = SealedContext.Fields()
            head = try readControl(p, count, head, context, record, &fields, &segment)
        }
        segment.acknowledgement = SubflowSequence(fields.acknowledgement)
        segment.window = fields.window
        let payloadLength = min(count &- head, 65_535)
        if hasMapping || fields.hasDataAcknowledgement {
            guard !hasMapping || payloadLength > 0 else { throw .notASegmentFrame }
            let mapping = hasMapping ? (sequence: p.word32(start &+ 4), length: payloadLength) : nil
            setDSS(fields, mapping, relative, &segment)
        }
        setPorts(context, &segment)
        if let proposal, payloadLength > 0 {
            context.proposed(
                fields, after: proposal, end: segment.sequence + payloadLength, record: record)
        }
        context.received(acknowledgement: segment.acknowledgement)
        return (head, payloadLength)
    }

    /// The data acknowledgement of `fields`, and the mapping of the whole payload, whose first byte
    /// has the subflow's number `relative`.
    @inline(__always) private static func setDSS(
        _ fields: SealedContext.Fields, _ mapping: (sequence: UInt32, length: Int)?,
        _ relative: UInt32, _ segment: inout Segment
    ) {
        segment.options.present.insert(.dss)
        segment.options.dss = DSS()
        if fields.hasDataAcknowledgement {
            segment.options.dss.acknowledgement = DataSequence(UInt64(fields.dataAcknowledgement))
            segment.options.dss.acknowledgementWidth = .four
        }
        if let mapping {
            var whole = DSS.Mapping()
            whole.dataSequence = DataSequence(UInt64(mapping.sequence))
            whole.width = .four
            whole.subflowSequence = relative
            whole.length = UInt16(truncatingIfNeeded: mapping.length)
            segment.options.dss.mapping = whole
        }
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
        _ context: SealedContext, _ record: UInt64?,
        _ fields: inout SealedContext.Fields, _ segment: inout Segment
    )
        throws(WireError) -> Int
    {
        let control = p.byte(start), era = control >> 5, data = control & Control.dataMask
        let saysAll =
            control & (Control.acknowledgement | Control.window)
            == Control.acknowledgement | Control.window
        if !saysAll || data == Control.reference {
            guard let known = context.fields(era: era, record: record) else {
                throw .unknownReference
            }
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

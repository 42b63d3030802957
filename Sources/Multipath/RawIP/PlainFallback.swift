import Measures
import Subflow
import Wire

/// Fallback to plain TCP on raw IP: the peer or a middlebox drops the options (RFC 8684 sections
/// 3.1 and
/// 3.7), or a payload was changed under way and MP_FAIL was exchanged. The one subflow's sequence
/// then is the data's, its acknowledgements acknowledge data, its FIN ends the stream.
extension Connection {
    /// The connection goes on as plain TCP.
    public var isPlain: Bool { raw.plain != nil }
    /// Whether DSS checksums are in use.
    public var usesChecksums: Bool { raw.usesChecksums }
    /// The peer takes no joins to the address of the first subflow (RFC 8684 section 3.1, flag C).
    public var peerDeniesInitialJoins: Bool { raw.peerDeniesInitialJoins }

    /// Whether we can speak this MP_CAPABLE: version 1, HMAC-SHA256, no extension (flag B). An
    /// offer on a SYN may be of a later version, and is answered with ours (section 3.1).
    static func isUsable(_ option: MPCapable, isOffer: Bool = false) -> Bool {
        (isOffer ? option.version >= 1 : option.version == 1) && option.hmacSHA256
            && !option.extensible
    }

    /// Looks at a segment of the first subflow before its text is placed: where options are missing
    /// that an MPTCP peer would have sent, the connection is plain TCP from its first byte.
    func noticeFallback(_ segment: borrowing Segment, payloadLength: Int, member: MemberSubflow) {
        guard raw.plain == nil, member.kind == .initial, !hasFailed else { return }
        let flags = segment.flags, acknowledgement = segment.acknowledgement
        if flags.contains(.rst) { return }
        if flags.contains(.syn) {
            guard member.isOpener, flags.contains(.ack), remoteKey == nil,
                member.tcp.state == .synSent,
                acknowledgement == member.tcp.sendNext
            else { return }
            return fallBack(position: 1, offset: 0)
        }
        guard segment.options.present.isDisjoint(with: SegmentOptions.multipath) else { return }
        if raw.failWasSent, payloadLength > 0, livingSubflows == 1 { return fallBackHere(member) }
        let first = member.tcp.initialSendSequence + 1
        if !member.isOpener, remoteKey == nil {
            fallBack(position: 1, offset: 0)
        } else if !member.isOpener, !member.raw.hasDataAcknowledgement, livingSubflows == 1,
            flags.contains(.ack), first.isBefore(acknowledgement)
        {
            // Our data is acknowledged without a DSS (section 3.7): after the handshake no option
            // gets through.
            raw.infinite = (first: sender.next, from: sender.acknowledged)
            fallBackHere(member)
        } else if member.isOpener, !member.proof.isKnownToPeer, remoteKey != nil {
            // What acknowledges our data, or brings some, without a DSS: the keys did not get
            // through.
            guard payloadLength > 0 || first.isBefore(acknowledgement) else { return }
            member.timers.clear(.keyProof)
            raw.infinite = (first: sender.next, from: sender.acknowledged)
            fallBack(position: 1, offset: 0)
        }
    }

    /// A listener's view of MP_CAPABLE on the SYN, an initiator's of the SYN/ACK: what both sides
    /// then do.
    func takeRequests(_ segment: borrowing Segment) {
        let option = segment.options.multipathCapable
        guard segment.options.present.contains(.multipathCapable),
            Self.isUsable(option, isOffer: role == .listener)
        else {
            if role == .listener { fallBack(position: 1, offset: 0) }
            return
        }
        raw.usesChecksums = configuration.requiresChecksum || option.checksumRequired
        raw.peerDeniesInitialJoins = option.deniesJoinToInitialAddress
    }

    /// A SYN without MP_CAPABLE: a listener's answer to one without it, an initiator's when nobody
    /// answered.
    func goesWithoutKeys(_ member: MemberSubflow) -> Bool {
        guard framing.mayBeChanged, member.kind == .initial else { return false }
        return raw.plain != nil
            || (member.isOpener && member.tcp.backoffs >= configuration.timeoutsBeforePlainSYN)
    }

    /// What we send is plain TCP: since the connection fell back, or since data went behind an
    /// MP_FAIL.
    var sendsPlain: Bool {
        if raw.plain != nil { return true }
        guard let infinite = raw.infinite else { return false }
        return sender.next > infinite.first
    }

    /// The same of one segment: the data that first goes behind an MP_FAIL counts.
    func isPlain(_ mapping: (offset: UInt64, length: Int, position: UInt32)?) -> Bool {
        if sendsPlain { return true }
        guard let infinite = raw.infinite, let mapping else { return false }
        return mapping.offset >= infinite.first
    }

    /// The options that only raw IP has, and plain TCP's meaning of the rest.
    func takeRawIPOptions(
        _ segment: borrowing Segment, finished: Bool, member: MemberSubflow,
        at now: Instant
    ) {
        takeAddressSignals(segment, at: now)
        if segment.options.present.contains(.fail) {
            takeFail(segment.options.fail, member: member)
        }
        if finished, raw.plain == nil, sendsPlain, !receiver.isFinReached { fallBackHere(member) }
        if sendsPlain { takePlain(segment, finished: finished, member: member) }
    }

    /// From the next byte on the subflow's sequence is the data's.
    func fallBackHere(_ member: MemberSubflow) {
        releaseUnchecked(of: member)
        fallBack(position: member.relativeReceive(member.tcp.receiveNext), offset: receiver.next)
    }

    func fallBack(position: UInt32, offset: UInt64) {
        guard raw.plain == nil else { return }
        raw.plain = .init(position: position, offset: offset)
        raw.signals = []
        raw.awaitingEcho = []
        traffic.counted.fallbacks += 1
        // The window of plain TCP counts from the acknowledgement.
        timers.clear(.persist)
    }

    /// A mapping of length 0 turns MPTCP off from its subflow sequence number on (section 3.7).
    func takeInfiniteMapping(_ mapping: DSS.Mapping, member: MemberSubflow) {
        traffic.counted.infiniteMappings += 1
        guard raw.plain == nil,
            let offset = dataOffset(of: mapping.dataSequence, width: mapping.width)
        else { return }
        // Mapped bytes that wait for the rest of their checksummed mapping are taken as they are.
        releaseUnchecked(of: member)
        fallBack(position: mapping.subflowSequence, offset: offset)
    }

    /// The data offset of a segment's first byte in plain TCP.
    func plainOffset(of segment: borrowing Segment, member: MemberSubflow) -> UInt64? {
        guard let plain = raw.plain else { return nil }
        let ahead = Int64(
            Int32(bitPattern: member.relativeReceive(segment.sequence) &- plain.position))
        let offset = Int64(bitPattern: plain.offset) + ahead
        return offset >= 0 ? UInt64(offset) : nil
    }

    /// What a segment means where the subflow's numbers are the data's.
    func takePlain(_ segment: borrowing Segment, finished: Bool, member: MemberSubflow) {
        var acknowledged = sender.next
        for i in 0..<member.tcp.outstandingCount {
            let span = member.tcp.outstanding(i)
            if span.length > 0 { acknowledged = span.streamOffset; break }
        }
        let before = sender.acknowledged
        if acknowledged > before {
            _ = sender.acknowledge(sender.sequence(at: acknowledged))
            writer.persist.reset()
            dataAcknowledged()
        }
        if segment.flags.contains(.ack) {
            let edge = sender.edge
            sender.openWindow(
                from: sender.sequence(at: sender.acknowledged), bytes: member.tcp.peerWindow)
            if sender.edge > edge { writer.persist.reset(); timers.clear(.persist) }
        }
        if sender.isOnlyFinUnacknowledged, member.tcp.finAcknowledged {
            sender.assumeFinAcknowledged()
        }
        if finished, receiver.finish(at: receiver.next) { report(.readable) }
    }

    /// FIN takes the place of DATA_FIN.
    func finishPlain() {
        for case let member? in members { member.tcp.close() }
        fin.dueAt = .distantFuture
    }

    /// What plain TCP still says of MPTCP: after an MP_FAIL the first new data has the infinite
    /// mapping, and what was sent before keeps its own.
    func attachPlain(
        _ segment: inout Segment, member: MemberSubflow,
        mapping: (offset: UInt64, length: Int, position: UInt32)?
    ) {
        receiver.advertise()
        attachFail(&segment)
        guard let infinite = raw.infinite, let mapping, mapping.offset <= infinite.first else {
            return
        }
        var m = DSS.Mapping()
        if mapping.offset == infinite.first {
            let back = infinite.first &- infinite.from
            m.dataSequence = sender.sequence(at: infinite.from)
            m.subflowSequence = mapping.position &- UInt32(truncatingIfNeeded: back)
            m.checksum = raw.usesChecksums ? 0 : nil
        } else {
            m.dataSequence = sender.sequence(at: mapping.offset)
            m.subflowSequence = mapping.position
            m.length = UInt16(mapping.length)
        }
        segment.options.dss = DSS()
        segment.options.dss.mapping = m
        segment.options.present.insert(.dss)
        if m.length > 0 { addChecksum(&segment, offset: mapping.offset, length: mapping.length) }
    }
}

import Buffers
import Crypto
import Measures
import Subflow
import Wire

/// Opening and joining: MP_CAPABLE (RFC 8684 section 3.1) and MP_JOIN (section 3.2).
extension Connection {
    /// The initiator's first subflow: SYN with MP_CAPABLE. Returns the subflow's index.
    /// `sizes`: payload bytes a segment on this path may have; nil for the configured size.
    public func open(
        path: PathID, localPort: UInt16, remotePort: UInt16,
        initialSequence: SubflowSequence, backup: Bool,
        estimate: PathEstimate?, sizes: SegmentSizes? = nil, at now: Instant
    ) -> SubflowIndex {
        let tcp = Subflow(
            opening: subflowConfiguration(sizes), localPort: localPort,
            remotePort: remotePort,
            initialSequence: initialSequence, estimate: estimate, at: now)
        let member = MemberSubflow(
            tcp: tcp, path: path, kind: .initial, isOpener: true,
            addressID: .initial, backup: backup)
        return add(member, SealedContext(number: localPort, isInitiator: true), at: now)
    }

    /// A further subflow: SYN with MP_JOIN. Nil before the remote key is known.
    public func join(
        path: PathID, localPort: UInt16, remotePort: UInt16,
        initialSequence: SubflowSequence, addressID: AddressID,
        nonce: UInt32, backup: Bool, estimate: PathEstimate?, sizes: SegmentSizes? = nil,
        at now: Instant
    ) -> SubflowIndex? {
        guard canJoin else { return nil }
        let tcp = Subflow(
            opening: subflowConfiguration(sizes), localPort: localPort,
            remotePort: remotePort,
            initialSequence: initialSequence, estimate: estimate, at: now)
        let member = MemberSubflow(
            tcp: tcp, path: path, kind: .join, isOpener: true,
            addressID: addressID, backup: backup)
        member.join.localNonce = nonce
        member.join.localAddressID = addressID
        return add(member, SealedContext(number: localPort, isInitiator: true), at: now)
    }

    /// The listener's first subflow, from a SYN with MP_CAPABLE. `context`: what that was read
    /// with; nil where it came unsealed.
    public func accept(
        _ syn: borrowing Segment, payload: UnsafeRawBufferPointer,
        context: SealedContext? = nil, path: PathID,
        initialSequence: SubflowSequence,
        estimate: PathEstimate?, sizes: SegmentSizes? = nil, at now: Instant
    ) -> SubflowIndex {
        let unsealed = SealedContext(number: syn.sourcePort, isInitiator: false)
        if framing.mayBeChanged { takeRequests(syn) }
        // Data on the SYN is mapped from IDSN + 1; the key that gives the upper bits comes with the
        // third packet.
        var taken = 0
        if framing.carriesEarlyData,
            syn.options.present.contains(.dss),
            let mapping = syn.options.dss.mapping,
            mapping.subflowSequence == 1, Int(mapping.length) == payload.count
        {
            peer.firstSequence = DataSequence(UInt64(mapping.dataSequence.low32))
            taken = payload.count
        }
        let tcp = Subflow(
            accepting: syn, payloadLength: taken,
            configuration: subflowConfiguration(sizes),
            initialSequence: initialSequence, estimate: estimate, at: now)
        let member = MemberSubflow(
            tcp: tcp, path: path, kind: .initial, isOpener: false,
            addressID: .initial, backup: false)
        if taken > 0 { place(payload, at: 0, member: member, path: path) }
        return add(member, context ?? unsealed, at: now)
    }

    /// The listener's further subflow, from a SYN with MP_JOIN whose token is ours; nil where it is
    /// refused (the caller answers with RST). `context`: as in `accept`.
    public func acceptJoin(
        _ syn: borrowing Segment, payload: UnsafeRawBufferPointer,
        context: SealedContext? = nil, path: PathID,
        initialSequence: SubflowSequence,
        nonce: UInt32, addressID: AddressID? = nil, estimate: PathEstimate?,
        sizes: SegmentSizes? = nil, at now: Instant
    ) -> SubflowIndex? {
        let unsealed = SealedContext(number: syn.sourcePort, isInitiator: false)
        guard syn.options.present.contains(.join), raw.plain == nil,
            case .syn(let token, let remoteNonce) = syn.options.join.form,
            token == localToken, !hasFailed, lifecycle != .closed,
            livingSubflows < SchedulingCandidates.capacity, memberCount < Self.maximumMembers
        else {
            traffic.counted.joinsRefused += 1
            return nil
        }
        guard remoteKey != nil || framing.joinsBeforeKeys else {
            traffic.counted.joinsRefused += 1
            return nil
        }
        var offset: UInt64?
        if framing.carriesEarlyData, !payload.isEmpty, syn.options.present.contains(.dss),
            let mapping = syn.options.dss.mapping, mapping.subflowSequence == 1,
            Int(mapping.length) == payload.count
        {
            offset = dataOffset(of: mapping.dataSequence, width: mapping.width)
            if let start = offset, !receiver.accepts(start, start &+ UInt64(payload.count)) {
                offset = nil
            }
        }
        let tcp = Subflow(
            accepting: syn, payloadLength: offset == nil ? 0 : payload.count,
            configuration: subflowConfiguration(sizes),
            initialSequence: initialSequence, estimate: estimate, at: now)
        let theirID = syn.options.join.addressID
        let member = MemberSubflow(
            tcp: tcp, path: path, kind: .join, isOpener: false,
            addressID: addressID ?? theirID, backup: false)
        member.join.localAddressID = member.join.addressID
        member.join.remoteAddressID = theirID
        member.join.localNonce = nonce
        member.join.remoteNonce = remoteNonce
        member.priority.byPeer = syn.options.join.backup
        if syn.options.present.contains(.dss) {
            takeDSS(of: syn, window: tcp.peerWindow, member: member, at: now)
        }
        if let offset { place(payload, at: offset, member: member, path: path) }
        traffic.counted.joinsAccepted += 1
        let index = add(member, context ?? unsealed, at: now)
        closeIfFinished(at: now)
        return index
    }

    private func subflowConfiguration(_ sizes: SegmentSizes?) -> SubflowConfiguration {
        var c = configuration.subflow
        c.earlyData = framing.carriesEarlyData
        if let segments = framing.initialWindowSegments { c.initialWindowSegments = segments }
        if let sizes {
            c.maximumSegmentSize = sizes.maximum
            c.segmentLimit = sizes.limit
        }
        return c
    }

    private func add(
        _ member: MemberSubflow, _ context: SealedContext, at now: Instant
    ) -> SubflowIndex {
        inputChanged(at: now)
        timers.clear(.orphan)
        if let coupling { member.tcp.couple(with: coupling) }
        if lifecycle == .closing { closeAfterEnd(on: member) }
        if let free = members.firstIndex(where: { $0 == nil }), !ended.contains(SubflowIndex(free))
        {
            member.index = SubflowIndex(free)
            members[free] = member
        } else {
            member.index = SubflowIndex(members.count)
            members.append(member)
        }
        keep(context, of: member.index)
        return member.index
    }

    // MARK: What arrives

    /// Learns from a segment's handshake options what later checks rely on, before its text is
    /// placed.
    func takeKeys(_ segment: borrowing Segment, member: MemberSubflow) {
        guard member.kind == .initial else { return }
        let option = segment.options.multipathCapable
        if member.isOpener {
            guard remoteKey == nil, segment.flags.contains(.syn), let key = option.senderKey,
                Self.isUsable(option), raw.plain == nil
            else { return }
            if framing.mayBeChanged { takeRequests(segment) }
            learn(remoteKey: key)
        } else if let theirs = option.senderKey, let ours = option.receiverKey {
            guard ours == localKey else {
                traffic.counted.dssErrors += 1
                // RFC 8684 section 3.1: somebody under way has changed the handshake.
                if framing.mayBeChanged, remoteKey == nil {
                    fallBack(position: 1, offset: 0)
                }
                return
            }
            if option.dataLength != nil { raw.peerHasKeys = true }
            if remoteKey == nil { learn(remoteKey: theirs) }
            guard remoteKey == theirs else { traffic.counted.dssErrors += 1; return }
            member.proof.isVerified = true
            member.owesWideAcknowledgement = true
            member.tcp.requestAcknowledgement()
        }
    }

    private func learn(remoteKey key: UInt64) {
        let first = DataSequence(MultipathHash.initialDataSequence(of: key)) + 1
        // What rode on the SYN was mapped by the low half of this very number.
        if let provisional = peer.firstSequence, provisional.low32 != first.low32 {
            abort(
                .protocolViolation(
                    "the data on the SYN does not start at the key's initial data sequence number"))
            return
        }
        remoteKey = key
        peer.firstSequence = first
        peer.token = MultipathHash.token(of: key)
    }

    /// MP_JOIN's second and third packet, and the evidence that the peer has our proof.
    func takeJoin(_ segment: borrowing Segment, member: MemberSubflow, at now: Instant) {
        if member.kind == .initial { return takeKeyEvidence(segment, member: member) }
        guard let remoteKey else { return }
        if segment.options.present.contains(.join) {
            takeProof(segment.options.join, key: remoteKey, member: member, at: now)
        } else if lacksProof(segment, member) {
            reset(member, reason: MPReset.multipathSpecific)
        } else if member.isOpener, !segment.flags.contains(.syn),
            !member.proof.isKnownToPeer, member.proof.sentAt < .distantFuture
        {
            let isEvidence = saysProofArrived(segment)
            if isEvidence || now - member.proof.sentAt >= member.tcp.smoothedRTT * 3 / 4 {
                member.proof.isKnownToPeer = true
                member.timers.clear(.keyProof)
            }
        }
    }

    /// The first subflow's: a DSS tells that the peer has both keys.
    private func takeKeyEvidence(_ segment: borrowing Segment, member: MemberSubflow) {
        guard segment.options.present.contains(.dss) else { return }
        if !member.isOpener, remoteKey != nil { raw.peerHasKeys = true }
        guard member.isOpener, !member.proof.isKnownToPeer else { return }
        let dss = segment.options.dss
        let saysKeysArrived =
            !framing.confirmsKeysByWideAcknowledgement || dss.acknowledgementWidth == .eight
        if dss.acknowledgement != nil, saysKeysArrived {
            member.proof.isKnownToPeer = true
            raw.peerHasKeys = true
            member.timers.clear(.keyProof)
        }
    }

    /// The HMAC of MP_JOIN's second or third packet.
    private func takeProof(
        _ join: MPJoin, key remoteKey: UInt64, member: MemberSubflow, at now: Instant
    ) {
        switch join.form {
        case .synAck(let hmac, let nonce) where member.isOpener && !member.proof.isVerified:
            let expected = MultipathHash.join(
                keys: remoteKey, localKey, nonces: nonce, member.join.localNonce)
            guard constantTimeEqual(expected.0, hmac) else { return refuseProof(of: member) }
            member.join.remoteNonce = nonce
            member.priority.byPeer = join.backup
            member.join.remoteAddressID = join.addressID
            member.proof.isVerified = true
            member.timers[.keyProof] =
                now + max(member.tcp.retransmissionTimeout, .milliseconds(200))
            member.tcp.requestAcknowledgement()
        case .ack(let hmac) where !member.isOpener && !member.proof.isVerified:
            let expected = MultipathHash.join(
                keys: remoteKey, localKey,
                nonces: member.join.remoteNonce, member.join.localNonce)
            guard MultipathHash.matches(expected, (hmac.a, hmac.b, hmac.c)) else {
                return refuseProof(of: member)
            }
            member.proof.isVerified = true
            // RFC 8684 section 3.2: the fourth packet, which lets the peer send data.
            member.tcp.requestAcknowledgement()
        case .ack where !member.isOpener:
            // Repeated, since our answer was lost, or came sooner than the opener believes: a
            // radio that slept while it sent its SYN measured seconds.
            member.tcp.requestAcknowledgement()
        default: break
        }
    }

    private func refuseProof(of member: MemberSubflow) {
        traffic.counted.hmacFailures += 1
        reset(member, reason: MPReset.multipathSpecific)
    }

    /// RFC 8684 section 3.2: a SYN/ACK without MP_JOIN, or a third packet without it. Inside a
    /// session data may precede that.
    private func lacksProof(_ segment: borrowing Segment, _ member: MemberSubflow) -> Bool {
        guard !member.proof.isVerified else { return false }
        let flags = segment.flags
        if member.isOpener { return flags.isSuperset(of: [.syn, .ack]) }
        return !framing.joinsBeforeKeys && !flags.contains(.syn)
    }

    /// On raw IP a listener sends data on a joined subflow only after it has verified the proof.
    private func saysProofArrived(_ segment: borrowing Segment) -> Bool {
        guard !framing.joinsBeforeKeys, segment.options.present.contains(.dss) else {
            return false
        }
        return segment.options.dss.mapping != nil
    }

    /// No early exit on a byte: the comparison of HMACs takes the same time whatever they hold.
    func constantTimeEqual(_ a: UInt64, _ b: UInt64) -> Bool {
        var difference = a ^ b
        difference |= difference >> 32
        difference |= difference >> 16
        difference |= difference >> 8
        return UInt8(truncatingIfNeeded: difference) == 0
    }

    // MARK: What leaves

    /// Whether data may be put on the subflow as far as the MPTCP handshake goes.
    func mayCarryData(_ member: MemberSubflow) -> Bool {
        guard member.tcp.canSendData, !member.isEnding else { return false }
        if framing.joinsBeforeKeys { return true }
        switch (member.kind, member.isOpener) {
        case (.initial, _): return remoteKey != nil || raw.plain != nil
        // RFC 8684 section 3.2: not before the fourth packet
        case (.join, true): return member.proof.isKnownToPeer
        case (.join, false): return member.proof.isVerified
        }
    }

    /// Raw IP, initiator: the third packet of the handshake has not gone, or may have been lost.
    func owesKeys(_ member: MemberSubflow) -> Bool {
        guard framing.sendsKeysAhead, member.kind == .initial, member.isOpener,
            raw.plain == nil
        else { return false }
        return !member.proof.isKnownToPeer
            && (member.proof.sentAt == .distantFuture || raw.finSentAt >= member.proof.sentAt)
    }

    /// Adds MP_CAPABLE or MP_JOIN where the segment must carry it.
    func attachHandshake(
        _ segment: inout Segment, member: MemberSubflow, firstData: Int?, at now: Instant
    ) {
        let isSYN = segment.flags.contains(.syn)
        if isSYN, goesWithoutKeys(member) { return }
        switch member.kind {
        case .initial:
            guard isSYN || (member.isOpener && !member.proof.isKnownToPeer && remoteKey != nil)
            else {
                return
            }
            var option = MPCapable()
            option.checksumRequired = configuration.requiresChecksum || raw.usesChecksums
            option.deniesJoinToInitialAddress = configuration.deniesInitialJoins
            if !(isSYN && member.isOpener) { option.senderKey = localKey }
            if !isSYN { option.receiverKey = remoteKey }
            if let firstData, framing.limitsOptions {
                option.dataLength = UInt16(firstData)
            }
            segment.options.multipathCapable = option
            segment.options.present.insert(.multipathCapable)
            if !isSYN { member.proof.sentAt = now }
        case .join:
            guard let remoteKey,
                isSYN || (member.isOpener && member.proof.isVerified && !member.proof.isKnownToPeer)
            else { return }
            var option = MPJoin()
            option.backup = member.priority.byUs
            option.addressID = member.join.addressID
            switch (isSYN, member.isOpener) {
            case (true, true): option.form = .syn(token: peer.token, nonce: member.join.localNonce)
            case (true, false):
                let h = MultipathHash.join(
                    keys: localKey, remoteKey, nonces: member.join.localNonce,
                    member.join.remoteNonce)
                option.form = .synAck(hmac: h.0, nonce: member.join.localNonce)
            default:
                let h = MultipathHash.join(
                    keys: localKey, remoteKey, nonces: member.join.localNonce,
                    member.join.remoteNonce)
                option.form = .ack(MPJoin.HMAC160(h.0, h.1, h.2))
                if member.proof.sentAt == .distantFuture { member.proof.sentAt = now }
            }
            segment.options.join = option
            segment.options.present.insert(.join)
        }
    }
}

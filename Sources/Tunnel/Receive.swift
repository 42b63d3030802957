import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// A record's way in: header, session, keys, replay window, decryption in place, then frame by
/// frame.
extension Endpoint {
    func receiveRecord(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer,
        from remote: SocketAddress,
        local: IPAddress, uplink: Int, at now: Instant
    ) {
        let slot = Int(header.session & 0xffff)
        guard slot < sessions.count, var session = sessions[slot]?.holder(of: header.session) else {
            counters.unknownSession += 1
            return
        }
        guard datagram.count >= DatagramHeader.size + RecordCipher.tagBytes,
            Int(header.path) < Limits.paths,
            let keys = session.keys(epochBits: header.epoch)
        else {
            counters.malformed += 1
            return
        }
        let known = session.paths[Int(header.path)]
        let number = ((known?.replay.highest ?? 0) &+ 1).nearestPacketNumber(low: header.number)
        if let known, !known.replay.isFresh(number) { counters.replayed += 1; return }
        let record = UnsafeMutableRawBufferPointer(rebasing: datagram[DatagramHeader.size...])
        guard let cipher = keys.receive, now - keys.since < configuration.keyDeath + Limits.keyGrace
        else {
            counters.notAuthentic += 1
            return
        }
        guard
            let length = cipher.open(
                path: UInt32(header.path), packetNumber: number,
                associated: UnsafeRawBufferPointer(
                    rebasing: datagram[..<DatagramHeader.size]),
                record: record)
        else {
            counters.notAuthentic += 1
            return
        }
        if !session.isConfirmed { session = confirm(session, at: now) }
        // The proxy gives the paths their numbers; the concentrator learns them from authentic
        // records.
        let path: Path
        if let known = session.paths[Int(header.path)] {
            path = known
        } else {
            guard !session.isInitiator else { counters.malformed += 1; return }
            path = Path(
                number: Int(header.path), uplink: uplink, uplinkName: "", remote: remote,
                local: local,
                datagramLimit: Self.longestDatagram(isIPv4: remote.address.isIPv4),
                isValidated: false)
            session.paths[path.number] = path
        }
        let isNewest = number > path.replay.highest
        guard path.replay.accept(number) else { counters.replayed += 1; return }
        path.arriving = number
        if keys === session.next { adoptNextKeys(session, at: now) }
        let source = PathAddress(remote: remote, local: local, uplink: uplink)
        arrivalBytes = datagram.count
        noteSource(source, bytes: datagram.count, isNewest: isNewest, session, path, at: now)
        path.loss.note(highest: path.replay.highest)
        path.receiveMeter.add(datagram.count, at: now)
        noteArrival(session, path, at: now)
        readFrames(
            UnsafeRawBufferPointer(start: record.baseAddress, count: length), session, path, at: now
        )
    }

    /// Frames until the end, or until one whose length is not known: then the rest means nothing.
    /// One that is not understood is passed over. That a path is gone or silent counts last: its
    /// subflows' last words come with the signal.
    private func readFrames(
        _ plain: UnsafeRawBufferPointer, _ session: Session, _ path: Path,
        at now: Instant
    ) {
        isReading = true
        statesInDatagram = 0
        endsInDatagram = 0
        defer { isReading = false }
        readInOrder(plain, session, path, at: now)
        if endings.isEmpty { return }
        for ending in endings where !session.isClosing { receive(ending, session, path, at: now) }
        endings.removeAll(keepingCapacity: true)
    }

    private func readInOrder(
        _ plain: UnsafeRawBufferPointer, _ session: Session, _ path: Path,
        at now: Instant
    ) {
        var rest = plain
        while let first = rest.first {
            let isSegment = first & SealedSegment.frameBit != 0
            guard let extent = isSegment ? SealedSegment.extent(rest) : FrameType.extent(rest)
            else {
                counters.badFrames += 1
                return
            }
            let frame = UnsafeRawBufferPointer(rebasing: rest[..<extent])
            if isSegment {
                if !readSegment(frame, session, path, at: now) { counters.badSegments += 1 }
            } else {
                if !readFrame(frame, session, path, at: now) { counters.badFrames += 1 }
            }
            if session.isClosing { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[extent...])
        }
    }

    /// False where the frame is malformed or of an unknown type.
    private func readFrame(
        _ bytes: UnsafeRawBufferPointer, _ session: Session, _ path: Path,
        at now: Instant
    ) -> Bool {
        switch FrameType(rawValue: bytes[0]) {
        case .padding:
            break
        case .probe, .probeAnswer:
            guard let frame = ProbeFrame.read(bytes) else { return false }
            if frame.isAnswer, frame.isChallenge {
                receiveProof(frame, session, path, at: now)
            } else {
                receive(frame, session, path, at: now)
            }
        case .pathState, .pathStateEcho:
            statesInDatagram += 1
            guard let frame = PathStateFrame.read(bytes), Int(frame.path) < Limits.paths,
                statesInDatagram <= Limits.statesPerDatagram
            else { return false }
            if !frame.isEcho, !frame.isOpen || frame.isSilent {
                endings.append(frame)
            } else {
                receive(frame, session, path, at: now)
            }
        case .rekey, .rekeyAnswer:
            guard let frame = RekeyFrame.read(bytes) else { return false }
            receive(frame, session, path, at: now)
        case .close:
            guard let frame = CloseFrame.read(bytes) else { return false }
            end(
                session,
                reason: "closed by the peer (\(frame.reason.map { "\($0)" } ?? "unknown reason"))",
                at: now)
        case .joinRequest:
            guard let frame = JoinRequestFrame.read(bytes) else { return false }
            receive(frame, session, at: now)
        case .subflowReset:
            guard let frame = SubflowResetFrame.read(bytes) else { return false }
            receive(frame, session, at: now)
        case .addressState, .addressStateEcho:
            statesInDatagram += 2
            guard let frame = AddressStateFrame.read(bytes),
                statesInDatagram <= Limits.statesPerDatagram
            else { return false }
            receive(frame, session, path, at: now)
        case .flowAcknowledged, .flowClosed, .flowUnknown, .datagramReport, nil:
            return false
        }
        return true
    }

    // MARK: Segments

    /// False where the segment can't be read; TCP takes it for a loss.
    private func readSegment(
        _ frame: UnsafeRawBufferPointer, _ session: Session, _ path: Path,
        at now: Instant
    ) -> Bool {
        guard let number = SealedSegment.peekNumber(frame) else { return false }
        guard case .used(let entry) = session.numbers.lookup(number),
            let stream = streams[entry.slot]
        else {
            return readUnknown(frame, number, session, path, at: now)
        }
        catchUp(stream, session, at: now)
        let lengths: (headLength: Int, payloadLength: Int)
        // A subflow's last word comes by another path than its own.
        stream.links[entry.subflow].context.record =
            stream.links[entry.subflow].path == path.number ? path.arriving : .max
        do {
            lengths = try SealedSegment.read(
                frame, context: &stream.links[entry.subflow].context,
                into: &incoming)
        } catch { return false }
        let payload = UnsafeRawBufferPointer(
            start: frame.baseAddress! + lengths.headLength,
            count: lengths.payloadLength)
        if isNewIncarnation(stream, entry.subflow, session) {
            retire(stream, entry.subflow, number, session, at: now)
            return readUnknown(frame, number, session, path, at: now)
        }
        if !session.isInitiator,
            stream.connection.remoteKey == nil,
            stream.links[entry.subflow].path != path.number
        {
            // Before the keys are here the first subflow may have moved to another path.
            stream.connection.move(subflow: entry.subflow, to: path.number, at: now)
            stream.links[entry.subflow].context.forgetRecords()
            stream.links[entry.subflow].path =
                stream.connection.subflowPath(entry.subflow) ?? path.number
            stream.connection.limitSegments(
                to: path.segmentSizes.limit, path: path.number, repeatsAll: false,
                at: now)
        }
        if stream.links[entry.subflow].path != path.number {
            stream.connection.heardElsewhere(subflow: entry.subflow, at: now)
        }
        if payload.isEmpty {
            noteAcknowledgement(session, path, at: now)
        } else {
            noteData(session, path, stream, at: now)
        }
        if capture != nil { captureIncoming(payload, path, at: now) }
        stream.connection.receive(incoming, payload: payload, subflow: entry.subflow, at: now)
        // A reset that ended the connection need not be repeated.
        if incoming.flags.contains(.rst), stream.connection.error == .peerAborted {
            resetUnknown(number, path, session)
        }
        note(stream, at: now)
        ready.append(stream)
        return true
    }

    /// A SYN for a number that is in use here with another initial sequence number: the peer has
    /// long forgotten the subflow we still know.
    private func isNewIncarnation(
        _ stream: StreamHandle, _ subflow: Int, _ session: Session
    ) -> Bool {
        guard !session.isInitiator, incoming.flags.contains(.syn), !incoming.flags.contains(.ack),
            let tcp = stream.connection.subflow(subflow)
        else { return false }
        return tcp.initialReceiveSequence != incoming.sequence
    }

    private func retire(
        _ stream: StreamHandle, _ subflow: Int, _ number: UInt16,
        _ session: Session, at now: Instant
    ) {
        synthesizeReset(stream, subflow, at: now)
        session.numbers.release(number, until: now)
        session.numbers.wake(at: now)
        stream.links[subflow].isUsed = false
    }

    /// A segment whose number means nothing here: a SYN may open something, all else is answered by
    /// a reset.
    private func readUnknown(
        _ frame: UnsafeRawBufferPointer, _ number: UInt16, _ session: Session,
        _ path: Path,
        at now: Instant
    ) -> Bool {
        var context = SealedContext(number: number, isInitiator: false)
        // Data sent early, whose SYN was lost or overtaken: the SYN comes again.
        if SealedSegment.isBeforeAnswer(frame) { return true }
        guard SealedSegment.isInitialSYN(frame), !session.isInitiator else {
            if SealedSegment.isReset(frame) { abort(byKeyIn: frame, &context, session, at: now) }
            resetUnknown(number, path, session)
            return true
        }
        guard
            let lengths = try? SealedSegment.read(
                frame, context: &context,
                into: &incoming)
        else {
            return false
        }
        // A number that rests: a SYN of the past, repeated. One that was freed for reuse is free by
        // now.
        session.numbers.wake(at: now)
        if case .resting = session.numbers.lookup(number) { return true }
        let payload = UnsafeRawBufferPointer(
            start: frame.baseAddress! + lengths.headLength,
            count: lengths.payloadLength)
        if capture != nil { captureIncoming(payload, path, at: now) }
        let present = incoming.options.present
        if present.contains(.join), case .syn(let token, _) = incoming.options.join.form {
            acceptJoin(token: token, payload, context, session, path, at: now)
        } else if present.contains(.multipathCapable) {
            acceptConnection(payload, context, session, path, at: now)
        } else {
            refuse(&context, payload.count, MPReset.unspecified, session, path, at: now)
        }
        return true
    }

    /// An abort whose subflow is gone here: the key in it still tells which connection it means
    /// (RFC 8684 section 3.5), which would else wait for a join that never comes.
    private func abort(
        byKeyIn frame: UnsafeRawBufferPointer, _ context: inout SealedContext,
        _ session: Session, at now: Instant
    ) {
        guard !session.isInitiator, resetsThisTurn < Limits.resetsPerTurn,
            (try? SealedSegment.read(frame, context: &context, into: &incoming)) != nil,
            incoming.options.present.contains(.fastClose)
        else { return }
        let key = incoming.options.fastClose.receiverKey
        guard let slot = session.tokens[MultipathHash.token(of: key)], let stream = streams[slot],
            stream.connection.abortByPeer(key: key, at: now)
        else { return }
        note(stream, at: now)
        ready.append(stream)
    }

    /// What is known of a number that nothing has here: the reset of the connection that had it,
    /// where the peer has not confirmed it, since a subflow's end alone would leave the connection
    /// waiting; and that there is no such subflow.
    private func resetUnknown(_ number: UInt16, _ path: Path, _ session: Session) {
        guard resetsThisTurn < Limits.resetsPerTurn else { return }
        if let frame = session.resets.frame(of: number), let out = path.append(frame.count) {
            frame.withUnsafeBytes { out.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            markDirty(session)
        }
        guard let out = path.append(SubflowResetFrame.size) else { return }
        resetsThisTurn += 1
        SubflowResetFrame(number: number, reason: MPReset.unspecified).write(into: out)
        markDirty(session)
    }

    /// The peer has no such subflow: ours ends as if an RST had come.
    private func receive(_ frame: SubflowResetFrame, _ session: Session, at now: Instant) {
        guard case .used(let entry) = session.numbers.lookup(frame.number),
            let stream = streams[entry.slot]
        else { return session.resets.confirm(frame.number) }
        catchUp(stream, session, at: now)
        endsInDatagram += 1
        guard endsInDatagram <= Limits.endsPerDatagram else { return }
        // A SYN is never answered so: this answers something that overtook it.
        if stream.connection.subflow(entry.subflow)?.state == .synSent { return }
        synthesizeReset(stream, entry.subflow, at: now)
        note(stream, at: now)
        ready.append(stream)
    }

    /// Gives the connection the RST that the peer could not write for want of state.
    private func synthesizeReset(_ stream: StreamHandle, _ subflow: Int, at now: Instant) {
        guard let tcp = stream.connection.subflow(subflow) else { return }
        incoming.reset()
        incoming.sourcePort = tcp.remotePort
        incoming.destinationPort = tcp.localPort
        incoming.flags = tcp.state == .synSent ? [.rst, .ack] : .rst
        incoming.sequence = tcp.state == .synSent ? SubflowSequence(0) : tcp.receiveNext
        incoming.acknowledgement = tcp.sendNext
        stream.connection.receive(
            incoming, payload: UnsafeRawBufferPointer(start: nil, count: 0),
            subflow: subflow, at: now)
    }
}

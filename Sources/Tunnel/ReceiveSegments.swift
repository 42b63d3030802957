import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// A segment's way in: its subflow, its connection, and what is answered where there is none.
extension Session {
    /// False where the segment can't be read; TCP takes it for a loss.
    func readSegment(
        _ frame: UnsafeRawBufferPointer, _ path: Path, _ arrival: inout Arrival, at now: Instant
    ) -> Bool {
        guard let number = SealedSegment.peekNumber(frame) else { return false }
        guard case .used(let entry) = numbers.lookup(number),
            let stream = host.streams[entry.slot]
        else {
            return readUnknown(frame, number, path, &arrival, at: now)
        }
        guard catchUp(stream, &arrival, at: now) else { return true }
        // A local value and `inout`: what is borrowed would be copied for each call.
        var segment = Segment()
        let lengths: (headLength: Int, payloadLength: Int)
        // A subflow's final ACK or reset comes by another path than its own.
        let isOwnPath = stream.links[entry.subflow.value].path == path.id
        do {
            lengths = try stream.connection.read(
                sealed: frame, record: isOwnPath ? arrival.number : nil, subflow: entry.subflow,
                into: &segment)
        } catch {
            _ = arrival.work.affords(ArrivalWork.unreadable)
            return false
        }
        let payload = UnsafeRawBufferPointer(
            start: frame.baseAddress! + lengths.headLength,
            count: lengths.payloadLength)
        if segment.flags.contains(.syn), isNewIncarnation(segment, of: stream, entry.subflow) {
            guard arrival.work.affords(costOfEnd(ArrivalWork.subflowEnd, entry.subflow, of: stream))
            else { return true }
            retire(stream, entry.subflow, number, at: now)
            return readUnknown(frame, number, path, &arrival, at: now)
        }
        guard let mostSpans = admit(&segment, entry.subflow, of: stream, &arrival)
        else { return true }
        let before =
            mostSpans > 0 ? stream.connection.subflow(entry.subflow)?.undeliveredCount ?? 0 : 0
        take(&segment, payload, stream, entry.subflow, number, on: path, at: now)
        followUp(stream, at: now)
        if mostSpans > 0, let left = stream.connection.subflow(entry.subflow) {
            let delivered = before - left.undeliveredCount
            arrival.work.refund((mostSpans - delivered) * ArrivalWork.span)
        }
        return true
    }

    /// The segment that was read is the subflow's: what it tells of the path, and what the
    /// connection makes of it.
    @inline(__always)
    private func take(
        _ segment: inout Segment, _ payload: UnsafeRawBufferPointer, _ stream: StreamHandle,
        _ subflow: SubflowIndex, _ number: UInt16, on path: Path, at now: Instant
    ) {
        let connection = stream.connection
        if !isInitiator, connection.remoteKey == nil,
            stream.links[subflow.value].path != path.id
        {
            // Before the keys are here the first subflow may have moved to another path.
            connection.move(subflow: subflow, to: path.id, at: now)
            stream.links[subflow.value].path = connection.subflowPath(subflow) ?? path.id
            connection.limitSegments(
                to: path.segmentSizes.limit, path: path.id, repeatsAll: false, at: now)
        }
        if stream.links[subflow.value].path != path.id {
            connection.heardElsewhere(subflow: subflow, at: now)
        }
        if payload.isEmpty {
            noteAcknowledgement(path, at: now)
        } else {
            noteData(payload.count, path, stream, at: now)
        }
        if host.observers.packetTrace != nil {
            traceIncoming(segment, payload, path, at: now)
        }
        connection.receive(segment, payload: payload, subflow: subflow, at: now)
        // A reset that ended the connection need not be repeated.
        if segment.flags.contains(.rst), connection.error?.isByPeer == true {
            resetUnknown(number, path)
        }
    }

    /// A SYN for a number that is in use here with another initial sequence number: the peer has
    /// long forgotten the subflow we still know.
    private func isNewIncarnation(
        _ segment: borrowing Segment, of stream: StreamHandle, _ subflow: SubflowIndex
    ) -> Bool {
        guard !isInitiator, !segment.flags.contains(.ack),
            let tcp = stream.connection.subflow(subflow)
        else { return false }
        return tcp.initialReceiveSequence != segment.sequence
    }

    private func retire(
        _ stream: StreamHandle, _ subflow: SubflowIndex, _ number: UInt16,
        at now: Instant
    ) {
        synthesizeReset(stream, subflow, at: now)
        numbers.release(number, until: now)
        numbers.wake(at: now)
        stream.links[subflow.value].isUsed = false
    }

    /// A segment whose number means nothing here: a SYN may open something, all else is answered by
    /// a reset.
    private func readUnknown(
        _ frame: UnsafeRawBufferPointer, _ number: UInt16, _ path: Path, _ arrival: inout Arrival,
        at now: Instant
    ) -> Bool {
        guard arrival.work.affords(ArrivalWork.frame) else { return true }
        var context = SealedContext(number: number, isInitiator: false)
        // Data sent early, whose SYN was lost or overtaken: the SYN comes again.
        if SealedSegment.isBeforeAnswer(frame) { return true }
        guard SealedSegment.isInitialSYN(frame), !isInitiator else {
            if SealedSegment.isReset(frame) {
                guard arrival.work.affords(ArrivalWork.abortByKey),
                    abort(byKeyIn: frame, &context, &arrival, at: now)
                else { return true }
            }
            resetUnknown(number, path)
            return true
        }
        arrival.openings += 1
        guard arrival.openings <= Limits.openingsPerDatagram else { return true }
        var segment = Segment()
        guard let lengths = try? SealedSegment.read(frame, context: &context, into: &segment) else {
            return false
        }
        guard arrival.work.affords(ArrivalWork.opening) else { return true }
        // A number that rests: a SYN of the past, repeated. One that was freed for reuse is free by
        // now.
        numbers.wake(at: now)
        if case .resting = numbers.lookup(number) { return true }
        let payload = UnsafeRawBufferPointer(
            start: frame.baseAddress! + lengths.headLength,
            count: lengths.payloadLength)
        if host.observers.packetTrace != nil {
            traceIncoming(segment, payload, path, at: now)
        }
        let present = segment.options.present
        if present.contains(.join),
            case .syn(let token, _) = segment.options.join.form
        {
            acceptJoin(segment, token: token, payload, context, path, &arrival, at: now)
        } else if present.contains(.multipathCapable) {
            acceptConnection(segment, payload, context, path, at: now)
        } else {
            refuse(segment, &context, payload.count, MPReset.unspecified, path, at: now)
        }
        return true
    }

    /// An abort whose subflow is gone here: the key in it still tells which connection it means
    /// (RFC 8684 section 3.5), which would else wait for a join that never comes. False where that
    /// is too much for this datagram.
    private func abort(
        byKeyIn frame: UnsafeRawBufferPointer, _ context: inout SealedContext,
        _ arrival: inout Arrival, at now: Instant
    ) -> Bool {
        var segment = Segment()
        guard !isInitiator, host.work.resetsThisTurn < Limits.resetsPerTurn,
            (try? SealedSegment.read(frame, context: &context, into: &segment)) != nil,
            segment.options.present.contains(.fastClose)
        else { return true }
        let key = segment.options.fastClose.receiverKey
        guard let slot = directory.tokens[MultipathHash.token(of: key)],
            let stream = host.streams[slot]
        else { return true }
        guard arrival.work.affords(costOfAbort(of: stream.connection)) else { return false }
        arrived(for: stream, at: now) { _ = $0.abortByPeer(key: key, at: now) }
        return true
    }

    /// What is known of a number that nothing has here: the reset of the connection that had it,
    /// where the peer has not confirmed it, since a subflow's end alone would leave the connection
    /// waiting; and that there is no such subflow.
    private func resetUnknown(_ number: UInt16, _ path: Path) {
        guard host.work.resetsThisTurn < Limits.resetsPerTurn else { return }
        if let frame = directory.resets.frame(of: number),
            let out = append(frame.count, to: path, work: ArrivalWork.sentAbort)
        {
            frame.withUnsafeBytes { out.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        }
        // More than the other end reads of a datagram are asked for again.
        guard let out = append(SubflowResetFrame.size, to: path, work: ArrivalWork.sentReset)
        else { return }
        host.work.resetsThisTurn += 1
        SubflowResetFrame(number: number, reason: MPReset.unspecified).write(into: out)
    }

    /// The peer has no such subflow: ours ends as if an RST had come.
    func receive(
        _ frame: SubflowResetFrame, at now: Instant
    ) {
        guard case .used(let entry) = numbers.lookup(frame.number),
            let stream = host.streams[entry.slot]
        else { return directory.resets.confirm(frame.number) }
        arrived(for: stream, at: now) { connection in
            // A SYN is never answered so: this answers something that overtook it.
            if connection.subflow(entry.subflow)?.state == .synSent { return }
            synthesizeReset(stream, entry.subflow, at: now)
        }
    }

    /// Gives the connection the RST that the peer could not write for want of state.
    private func synthesizeReset(_ stream: StreamHandle, _ subflow: SubflowIndex, at now: Instant) {
        guard let tcp = stream.connection.subflow(subflow) else { return }
        var reset = Segment()
        reset.sourcePort = tcp.remotePort
        reset.destinationPort = tcp.localPort
        reset.flags = tcp.state == .synSent ? [.rst, .ack] : .rst
        reset.sequence = tcp.state == .synSent ? SubflowSequence(0) : tcp.receiveNext
        reset.acknowledgement = tcp.sendNext
        stream.connection.receive(
            reset, payload: UnsafeRawBufferPointer(start: nil, count: 0),
            subflow: subflow, at: now)
    }
}

/// What segments cost (`ArrivalWork`).
extension Session {
    /// The connection hears of its paths' changes before a segment of it is read, where that is
    /// little. Where its subflows are touched that waits for its turn, so that no datagram is cut
    /// for what another one has said. False where even the little is too much for this one.
    private func catchUp(_ stream: StreamHandle, _ arrival: inout Arrival, at now: Instant) -> Bool
    {
        guard stream.place.seenChange != changes.latest, costOfNews(for: stream) == 0 else {
            return true
        }
        guard arrival.work.affords(ArrivalWork.notice) else { return false }
        catchUp(stream, at: now)
        return true
    }

    /// Counts what the segment may cost at most; the spans that are counted for it, nil where that
    /// is too much.
    private func admit(
        _ segment: inout Segment, _ subflow: SubflowIndex, of stream: StreamHandle,
        _ arrival: inout Arrival
    ) -> Int? {
        let connection = stream.connection
        let isFirst = arrival.latestStream != stream.slot
        arrival.latestStream = stream.slot
        var cost = isFirst ? ArrivalWork.firstSegment : ArrivalWork.segment
        // Keys, or a proof.
        if !segment.options.present.isDisjoint(with: [.multipathCapable, .join]) {
            cost += ArrivalWork.opening
        }
        var spans = connection.outstandingCount(subflow)
        if segment.options.present.contains(.sack) {
            cost += segment.options.sack.count * ArrivalWork.block
        }
        if segment.options.present.contains(.fastClose) {
            cost += costOfAbort(of: connection)
            spans = 0
        } else if segment.flags.contains(.rst) {
            cost += ArrivalWork.subflowEnd
        } else if !arrival.work.couldAfford(cost + spans * ArrivalWork.span) {
            spans = connection.subflow(subflow)?.spansDelivered(by: segment) ?? 0
        }
        return arrival.work.affords(cost + spans * ArrivalWork.span) ? spans : nil
    }

    /// Of all subflows and what they have under way.
    private func costOfAbort(of connection: Connection) -> Int {
        connection.memberCount * ArrivalWork.subflowEnd
            + connection.outstandingSpans * ArrivalWork.span
    }

    /// `end`: without its spans.
    private func costOfEnd(_ end: Int, _ subflow: SubflowIndex, of stream: StreamHandle) -> Int {
        end + stream.connection.outstandingCount(subflow) * ArrivalWork.span
    }

    /// Of a subflow's reset.
    func cost(of frame: SubflowResetFrame) -> Int {
        guard case .used(let entry) = numbers.lookup(frame.number),
            let stream = host.streams[entry.slot]
        else { return ArrivalWork.frame }
        return costOfEnd(ArrivalWork.subflowReset, entry.subflow, of: stream)
    }
}

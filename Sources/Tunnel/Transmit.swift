import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// A segment's way out: pulled from its connection in turn, its head written, its payload sealed
/// from the send ring into the batch. Small frames wait in their path for the end of the turn and
/// share datagrams.
extension Endpoint {
    /// Writes what is due into `batch` until nothing is left (false) or the batch is full (true).
    public func transmit(into batch: DatagramBatch, at now: Instant) -> Bool {
        if let listener, listener.isDue {
            listener.isDue = false
            openHellos(at: now)
        }
        for lane in 0..<DatagramBatch.laneCount where !batch.hasRoom(lane) { return true }
        guard postHandshakes(into: batch) else { return true }
        notifyConnections(at: now)
        var isFull = !fillDatagrams(into: batch, at: now)
        while let stream = host.work.ready.popFirst() {
            guard stream.slot != nil, let session = stream.session, !session.isClosing
            else { continue }
            switch session.visit(stream, batch, at: now) {
            case .nothingLeft: session.endVisit(stream, at: now)
            case .more: host.work.ready.append(stream)
            case .batchFull: host.work.ready.prepend(stream); isFull = true
            }
            if isFull { break }
        }
        if !flush(into: batch, at: now) { isFull = true }
        refreshTimers(at: now)
        if !isFull, let listener, listener.gate.nextAt <= now {
            // Hellos are opened when the records have left.
            listener.isDue = true
            return true
        }
        assert(
            isFull || !host.work.activity.isEmpty || !host.work.events.isEmpty
                || !host.work.ready.isEmpty
                || !host.work.sessionsWithChanges.isEmpty || !ending.isEmpty
                || !host.work.rekeys.isEmpty || deadline > now,
            "the loop would spin")
        return isFull || !host.work.ready.isEmpty || !host.work.sessionsToFlush.isEmpty
            || !host.work.outbox.isEmpty
            || !host.work.sessionsWithDatagrams.isEmpty
    }

    private func postHandshakes(into batch: DatagramBatch) -> Bool {
        if host.work.outbox.isEmpty { return true }
        var sent = 0
        defer { host.work.outbox.removeFirst(sent) }
        for item in host.work.outbox {
            guard let out = batch.reserve(lane: 0) else { return false }
            item.bytes.withUnsafeBytes {
                out.copyMemory(from: $0.baseAddress!, byteCount: $0.count)
            }
            batch.commit(
                lane: 0, length: item.bytes.count, uplink: item.uplink,
                remote: item.remote, local: item.local)
            sent += 1
        }
        return batch.hasRoom(0)
    }

    /// Sends what waits in every path; false where a lane is full.
    private func flush(into batch: DatagramBatch, at now: Instant) -> Bool {
        var isFull = false, kept = 0
        // Sealing may make a session wait again (a rekey that is due): by index, to the end of the
        // list.
        var i = 0
        while i < host.work.sessionsToFlush.count {
            let session = host.work.sessionsToFlush[i]
            i += 1
            guard sessions.holds(session) else { continue }
            if !session.flush(into: batch, at: now) {
                isFull = true
                host.work.sessionsToFlush[kept] = session
                kept += 1
            }
        }
        host.work.sessionsToFlush.removeSubrange(kept...)
        return !isFull
    }
}

extension Session {

    // MARK: One connection's turn

    /// What a segment counts besides its payload, bytes: about its head and its share of a
    /// datagram.
    private static let chargedHead = 64

    /// What its connections may do has changed: each is visited.
    func visitAllStreams() {
        for slot in streams {
            if let stream = host.streams[slot] { host.work.ready.append(stream) }
        }
    }

    enum Visit { case nothingLeft, more, batchFull }

    func visit(
        _ stream: StreamHandle, _ batch: DatagramBatch,
        at now: Instant
    ) -> Visit {
        catchUp(stream, at: now)
        var left = Limits.segmentsPerVisit, bytes = 0
        // A local value and `inout`: what is borrowed would be copied for each call.
        var outgoing = OutgoingSegment()
        defer {
            host.work.ready.charge(stream, bytes: bytes, segments: Limits.segmentsPerVisit - left)
        }
        while left > 0 {
            guard stream.connection.nextSegment(at: now, into: &outgoing) else {
                if manageSubflows(stream, at: now) { continue }
                return .nothingLeft
            }
            left -= 1
            bytes += outgoing.payload.count + Self.chargedHead
            guard let path = carrier(of: outgoing), outgoing.subflow.value < stream.links.count,
                stream.links[outgoing.subflow.value].isUsed
            else { continue }
            send(&outgoing, stream, path, batch, at: now)
            if !batch.hasRoom(path.lane) { return .batchFull }
        }
        return .more
    }

    /// The path a segment goes by: its subflow's. A reset of a subflow whose path is silent goes by
    /// another one, or the peer would hold the dead subflow and open no new one when the path is
    /// back.
    private func carrier(of outgoing: borrowing OutgoingSegment) -> Path? {
        guard let own = paths[outgoing.path] else { return nil }
        let isReset = outgoing.segment.flags.contains(.rst)
        if own.health == .usable || !isReset {
            return own.isOpen ? own : nil
        }
        for case let other? in paths where other.health == .usable { return other }
        return own.isOpen ? own : nil
    }

    /// After a connection has nothing more to send: its events, its deadline, its end.
    func endVisit(_ stream: StreamHandle, at now: Instant) {
        endUnopened(stream, at: now)
        dispatchEvents(of: stream, at: now)
        guard let slot = stream.slot, !stream.queues.isReady else { return }
        if stream.connection.isOver {
            remember(unsaidAbortOf: stream, at: now)
            drop(stream, at: now)
            return
        }
        noteOrphan(stream, at: now)
        requestJoin(stream, at: now)
        // A turn ends after so many bytes: who waited for the next one may be due by now, and is
        // told at once.
        host.deadlines.set(slot, max(stream.deadline, now + .microseconds(10)))
    }

    // MARK: One segment

    private func send(
        _ outgoing: inout OutgoingSegment, _ stream: StreamHandle, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        let count = outgoing.payload.count
        if count > 0 { noteActivity(stream, at: now) }
        let isAnswered = !outgoing.segment.flags.isDisjoint(with: [.syn, .fin])
        if count > 0 || isAnswered { noteEliciting(path, at: now) }
        if count > Limits.smallPayload {
            sendBulk(&outgoing, stream, path, batch, at: now)
        } else {
            if host.observers.packetTrace != nil { trace(&outgoing, path, at: now) }
            sendSmall(&outgoing, stream, path, batch, at: now)
        }
    }

    /// A segment that shares its datagram: written in plain into the path's waiting frames.
    private func sendSmall(
        _ outgoing: inout OutgoingSegment, _ stream: StreamHandle, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        let payload = outgoing.payload
        let head = stream.connection.write(
            sealed: outgoing.segment, payloadLength: payload.count, runsToEnd: false,
            subflow: outgoing.subflow, into: host.headScratch)
        let length = head + payload.count
        if outgoing.segment.flags.contains(.rst), let error = stream.connection.error,
            !error.isByPeer
        {
            stream.progress.saidReset = true
            remember(
                reset: UnsafeRawBufferPointer(start: host.headScratch, count: head),
                number: stream.links[outgoing.subflow.value].number, at: now)
        }
        let work = ArrivalWork.sent(outgoing.segment)
        if !path.takes(length, work: work), !flush(path, batch, at: now) { return }
        // the same as a loss; no datagram is that small
        guard let out = append(length, to: path, work: work) else { return }
        out.copyMemory(from: host.headScratch, byteCount: head)
        copy(payload, to: out + head)
    }

    private func copy(_ payload: Pieces, to out: UnsafeMutableRawPointer) {
        if payload.first.count > 0 {
            out.copyMemory(from: payload.first.baseAddress!, byteCount: payload.first.count)
        }
        if payload.second.count > 0 {
            (out + payload.first.count).copyMemory(
                from: payload.second.baseAddress!,
                byteCount: payload.second.count)
        }
    }

    /// A bulk segment: a datagram of its own, sealed from where the payload lies.
    private func sendBulk(
        _ outgoing: inout OutgoingSegment, _ stream: StreamHandle, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        // What was said before on this path must not arrive later.
        if path.waiting.count > 0 || (path.statement.isPending && path.statement.isDue) {
            _ = flush(path, batch, at: now)
        }
        let payload = outgoing.payload
        let headLength = stream.connection.write(
            sealed: outgoing.segment, payloadLength: payload.count, runsToEnd: true,
            subflow: outgoing.subflow, into: host.headScratch)
        let head = UnsafeRawBufferPointer(start: host.headScratch, count: headLength)
        path.mtu.sent(
            DatagramHeader.size + headLength + payload.count + RecordCipher.tagBytes, at: now)
        if host.observers.packetTrace != nil { trace(&outgoing, path, at: now) }
        seal(head, payload, path, batch, at: now)
    }

    /// Pads the head so that full datagrams of a path are equally long (one UDP_SEGMENT run), and
    /// seals.
    private func seal(
        _ head: UnsafeRawBufferPointer, _ payload: Pieces, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        // `hasRoom` was asked before
        guard let out = batch.reserve(lane: path.lane) else { return }
        var at = DatagramHeader.size
        let space =
            path.datagramLimit - DatagramHeader.size - RecordCipher.tagBytes - head.count
            - payload.count
        if signals.isRunning {
            at += writeSignals(into: out + at, space: space)
            if at == DatagramHeader.size, path.statement.foundNoSpace(at: now) { requestFlush() }
            if at > DatagramHeader.size { signalsLeave(on: path) }
        }
        if at == DatagramHeader.size, space > 0, payload.count >= 1000 {
            let padding = min(space, max(0, SealedSegment.paddedHead - head.count))
            (out + at).initializeMemory(
                as: UInt8.self, repeating: FrameType.padding.rawValue, count: padding)
            at += padding
        }
        UnsafeMutableRawBufferPointer(start: out + at, count: head.count).copyMemory(from: head)
        finish(out, plain: at + head.count - DatagramHeader.size, payload, path, batch, at: now)
    }

    /// Seals the plain bytes behind the header and the payload, and closes the datagram; its
    /// length.
    @discardableResult
    func finish(
        _ out: UnsafeMutableRawPointer, plain: Int, _ payload: Pieces,
        _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) -> Int {
        let length = sealRecord(out, plain: plain, payload, path, at: now)
        if length == 0 { return 0 }  // as good as lost
        if path.validation.isValidated {
            batch.commit(
                lane: path.lane, length: length, uplink: path.uplink, remote: path.remote,
                local: path.address.local)
        } else {
            commitUnvalidated(out, length, path, batch, at: now)
        }
        rekeyIfDue(at: now)
        return length
    }

    /// The datagram's length; zero where the keys are gone.
    func sealRecord(
        _ out: UnsafeMutableRawPointer, plain: Int, _ payload: Pieces,
        _ path: Path, at now: Instant
    ) -> Int {
        if keys.current.isDead { return 0 }
        let number = path.records.takeNumber()
        DatagramHeader(
            kind: .record, epoch: keys.current.epoch, path: path.id.octet,
            session: indices.remote,
            number: UInt32(truncatingIfNeeded: number & 0xff_ffff)
        ).write(into: out)
        let body = out + DatagramHeader.size
        let sealed = keys.current.seal(
            path: UInt32(truncatingIfNeeded: path.id.number), packetNumber: number,
            associated: UnsafeRawBufferPointer(
                start: out,
                count: DatagramHeader.size),
            head: UnsafeRawBufferPointer(start: body, count: plain),
            payload: payload, into: body)
        guard let sealed else { return 0 }
        let length = DatagramHeader.size + sealed
        keys.recordsSent &+= 1
        path.traffic.sent.add(length, at: now)
        return length
    }
}

extension DatagramBatch {
    /// Room for a flush of small frames and a bulk datagram.
    @inline(__always) fileprivate func hasRoom(_ lane: Int) -> Bool {
        room(lane: lane) >= 2 * Self.maximumDatagram
    }
}

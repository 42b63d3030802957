import Buffers
import Measures
import Multipath
import Subflow
import Wire

/// Application connections: opening and accepting them, the preface and the dial status that their
/// owners never see, what the owner is told, and their end.
extension Endpoint {
    // MARK: The owner's side

    /// Proxy: opens a connection to `target`; it waits for the session where there is none yet.
    /// `mode`: its own, which it keeps whatever `setMode` says; nil for the session's. `only`: the
    /// uplinks it may use; nil: all. `isRedundant`: every byte goes on two paths, both ways.
    public func open(
        _ target: Target, mode own: HandoverMode? = nil, only restriction: UplinkRestriction? = nil,
        isRedundant: Bool = false, at now: Instant
    ) -> StreamHandle {
        var preface: [UInt8] = []
        preface.reserveCapacity(1 + Target.maximumEncoding)
        if isRedundant { preface.append(StreamHandle.redundantMark) }
        target.write(into: &preface)
        let stream = open(
            preface, target: target, association: nil, mode: own, only: restriction, at: now)
        if isRedundant { stream.connection.sendRedundantly() }
        return stream
    }

    /// A stream that begins with `preface`, which is that of `target` or of `association`.
    func open(
        _ preface: [UInt8], target: Target?, association: AssociationPreface?,
        mode own: HandoverMode?, only restriction: UplinkRestriction?, at now: Instant
    ) -> StreamHandle {
        precondition(isProxy)
        let connection = Connection(
            role: .initiator, configuration: host.configuration.connection,
            localKey: host.random.next(), memory: ownMemory, at: now)
        connection.mode = own ?? mode
        let taken = preface.withUnsafeBytes { connection.write($0, at: now) }
        let stream = StreamHandle(
            connection: connection, host: host, session: nil, target: target)
        stream.association = association
        stream.ownMode = own
        stream.restriction = restriction
        guard host.streams.living < host.configuration.maximumConnections, ownMemory.free >= 0,
            taken == preface.count
        else {
            connection.fail(.sessionLost, at: now)
            stream.progress.stage = .answered
            host.emit(.answered(stream, .tooManyConnections))
            return stream
        }
        host.streams.insert(stream)
        if let session = currentSession {
            session.attach(stream, at: now)
            if session.needsHandshake(at: now) { beginHandshake(at: now) }
        } else {
            host.proxy.waiting.append(stream)
            // Whoever waits does not wait for an idle proxy's time-out.
            if let next = handshake?.nextAt, next > now + Limits.firstHandshakeTimeout {
                handshake?.nextAt = now + Limits.firstHandshakeTimeout
                handshake?.count = 0
            }
            beginHandshake(at: now)
        }
        return stream
    }

    /// The concentrator knows nothing of `old` any more. What was opened in it since the
    /// concentrator was last heard, and has got no answer, waits for the next session instead of
    /// failing: no concentrator that could have dialled for it is there. (Where the old session
    /// lived on and a fresh one was insisted on, it may have been dialled: there it fails, so that
    /// no request is made twice.)
    func keepUnheard(of old: Session, at now: Instant) {
        for slot in old.streams {
            guard let stream = host.streams[slot], stream.connection.isUnheard,
                !stream.progress.isReleased,
                stream.place.attachedAt >= old.activity.lastArrival
            else { continue }
            old.detach(stream, at: now)
            stream.connection.startAgain(at: now)
            stream.links.removeAll()
            stream.session = nil
            stream.progress.stage = .waiting
            stream.joining.seenForJoins = 0
            stream.stopJoining()
            host.deadlines.set(slot, .distantFuture)
            host.proxy.waiting.append(stream)
        }
    }
}

extension SessionHost {
    /// Tells the owner that nothing more will come.
    func reportEnd(_ stream: StreamHandle, isProxy: Bool) {
        guard !stream.progress.isReleased else { return }
        if isProxy, !stream.progress.isAnswered {
            reportUnanswered(stream)
        }
        if isProxy || stream.progress.isStarted { work.activity.append(stream) }
    }

    /// Initiator: the connection ended before its dial was answered.
    fileprivate func reportUnanswered(_ stream: StreamHandle) {
        stream.progress.stage = .answered
        let isRefused = stream.connection.error == .lackOfResources
        emit(.answered(stream, isRefused ? .tooManyConnections : .generalFailure))
    }

    /// A stream that has no session yet is not wanted any more.
    func stopWaiting(_ stream: StreamHandle) {
        guard stream.slot != nil else { return }
        proxy.waiting.removeAll { $0 === stream }
        remove(stream)
    }

    /// The stream goes out of the tables.
    func remove(_ stream: StreamHandle) {
        guard let slot = stream.slot else { return }
        stream.countEnd()
        deadlines.set(slot, .distantFuture)
        streams.remove(stream)
        stream.session = nil
    }
}

extension Session {
    func attach(_ stream: StreamHandle, at now: Instant) {
        guard let slot = stream.slot else { return }
        stream.session = self
        stream.place.attachedAt = now
        stream.place.position = streams.count
        streams.append(slot)
        timersChanged()
        stream.place.seenChange = changes.latest
        stream.connection.mode = mode(of: stream)
        stream.connection.costs = costs
        countMode(of: stream, by: 1, at: now)
        beginAssociation(of: stream)
        host.work.ready.append(stream)
    }

    /// The connection is over, or the session is: out of all tables.
    func drop(_ stream: StreamHandle, at now: Instant) {
        guard stream.slot != nil else { return }
        detach(stream, at: now)
        host.reportEnd(stream, isProxy: isInitiator)
        host.remove(stream)
    }

    func detach(_ stream: StreamHandle, at now: Instant) {
        endAssociation(of: stream, at: now)
        for i in stream.links.indices where stream.links[i].isUsed {
            releaseNumber(stream, SubflowIndex(i), at: now)
        }
        if let token = isInitiator ? stream.connection.peerToken : stream.connection.localToken {
            directory.tokens[token] = nil
        }
        if let position = stream.place.position {
            let last = streams.removeLast()
            timersChanged()
            if last != stream.slot {
                streams[position] = last
                host.streams[last]?.place.position = position
            }
            stream.place.position = nil
            countMode(of: stream, by: -1, at: now)
        }
    }

    func releaseNumber(_ stream: StreamHandle, _ subflow: SubflowIndex, at now: Instant) {
        guard stream.links[subflow.value].isUsed else { return }
        stream.links[subflow.value].isUsed = false
        numbers.release(
            stream.links[subflow.value].number,
            until: now
                + (isInitiator
                    ? Limits.numberRest : Limits.listenerNumberRest))
    }

    // MARK: What the connection says

    /// Looks at what a connection has to tell after any input.
    func dispatchEvents(of stream: StreamHandle, at now: Instant) {
        let events = stream.connection.takeEvents()
        if events.isEmpty { return }
        if events.contains(.readable) { noteDelivery(stream, at: now) }
        if isInitiator, events.contains(.established), let token = stream.connection.peerToken {
            directory.tokens[token] = stream.slot
        }
        if events.contains(.subflowEnded) {
            while let subflow = stream.connection.takeEndedSubflow() {
                if subflow.value < stream.links.count { releaseNumber(stream, subflow, at: now) }
            }
            retryJoin(stream, at: now)
        }
        if stream.progress.isReleased || stream.progress.stage == .refused {
            stream.discardReadable(at: now)
            if stream.progress.isReleased { return }
        } else if isInitiator {
            readStatus(stream, events, at: now)
        } else if !stream.progress.isStarted {
            readPreface(stream, at: now)
            return
        }
        if events.isDisjoint(with: [.readable, .writable, .closed]) { return }
        if isInitiator ? stream.progress.isAnswered : true { host.work.activity.append(stream) }
    }

    /// Initiator: the listener's first byte.
    private func readStatus(_ stream: StreamHandle, _ events: Connection.Events, at now: Instant) {
        guard !stream.progress.isAnswered else { return }
        let readable = stream.connection.readable
        if let byte = readable.first.first {
            stream.progress.stage = .answered
            stream.connection.consume(1, at: now)
            guard let status = DialStatus(rawValue: byte) else {
                stream.connection.abort(at: now)
                host.emit(.answered(stream, .generalFailure))
                return
            }
            host.emit(.answered(stream, status))
        } else if events.contains(.closed) || stream.connection.isReadFinished {
            host.reportUnanswered(stream)
        }
    }

    /// Listener: where to dial, as soon as all of it is there.
    private func readPreface(_ stream: StreamHandle, at now: Instant) {
        if stream.connection.readable.first.first == StreamHandle.redundantMark,
            !stream.connection.isRedundant
        {
            stream.connection.consume(1, at: now)
            stream.connection.sendRedundantly()
        }
        let readable = stream.connection.readable
        if readable.first.first == AssociationPreface.type {
            readAssociation(readable.first, stream, at: now)
            return
        }
        var reading = Target.read(readable.first)
        if case .needMore = reading, !readable.second.isEmpty {
            // Only where a peer dribbled the preface around the end of the ring.
            let joined =
                Array(readable.first) + Array(readable.second.prefix(Target.maximumEncoding))
            reading = joined.withUnsafeBytes { Target.read($0) }
        }
        switch reading {
        case .needMore:
            if stream.connection.isReadFinished { stream.connection.abort(at: now) }
        case .target(let target, let length):
            stream.connection.consume(length, at: now)
            stream.progress.stage = .started
            stream.countTarget()
            host.emit(.incoming(stream, target: target, user: user?.name ?? ""))
            if stream.connection.readable.count > 0 || stream.connection.isReadFinished {
                host.work.activity.append(stream)
            }
        case .unknownAddressType, .invalidName:
            stream.connection.abort(at: now)
            host.counters.badFrames += 1
        }
    }

    // MARK: Accepting (concentrator)

    func acceptConnection(
        _ syn: borrowing Segment, _ payload: UnsafeRawBufferPointer, _ context: SealedContext,
        _ path: Path,
        at now: Instant
    ) {
        var context = context
        guard let user, admit(path, at: now) else { return }
        if directory.openings.contains(context.number, syn.sequence, at: now) {
            refuse(syn, &context, payload.count, MPReset.unspecified, path, at: now)
            return
        }
        guard host.streams.living < host.configuration.maximumConnections else {
            refuse(syn, &context, payload.count, MPReset.lackOfResources, path, at: now)
            return
        }
        var isHalfOpen = true
        let mark = payload.first == StreamHandle.redundantMark ? 1 : 0
        let target = UnsafeRawBufferPointer(rebasing: payload[mark...])
        if case .target = Target.read(target) { isHalfOpen = false }
        if AssociationPreface(payload) != nil { isHalfOpen = false }
        if let limit = user.limitReached(isHalfOpen: isHalfOpen, host.configuration) {
            refuse(syn, &context, payload.count, MPReset.lackOfResources, path, at: now)
            host.turnedAway(by: limit, user, at: now)
            return
        }
        directory.openings.remember(context.number, syn.sequence, at: now)
        var connection: Connection
        repeat {
            connection = Connection(
                role: .listener, configuration: host.configuration.connection,
                localKey: host.random.next(), memory: memory, at: now)
        } while directory.tokens[connection.localToken] != nil
        connection.mode = modes.session
        let sequence = SubflowSequence(UInt32(truncatingIfNeeded: host.random.next()))
        let index = connection.accept(
            syn, payload: payload, context: context, path: path.id,
            initialSequence: sequence,
            estimate: path.monitor.estimate(at: now),
            sizes: path.segmentSizes,
            at: now)
        let stream = StreamHandle(connection: connection, host: host, session: self, target: nil)
        host.streams.insert(stream)
        stream.countOpening(of: user, at: now)
        attach(stream, at: now)
        directory.tokens[connection.localToken] = stream.slot
        withConnection(of: stream, at: now) { _ in
            link(stream, index, context.number, path.id)
            noteData(payload.count, path, stream, at: now)
        }
    }

    func acceptJoin(
        _ syn: borrowing Segment, token: UInt32, _ payload: UnsafeRawBufferPointer,
        _ context: SealedContext, _ path: Path, _ arrival: inout Arrival, at now: Instant
    ) {
        var context = context
        guard admit(path, at: now) else { return }
        guard let slot = directory.tokens[token], let stream = host.streams[slot] else {
            // RFC 8684 section 3.2: an unknown token is answered with a RST.
            refuse(syn, &context, payload.count, MPReset.multipathSpecific, path, at: now)
            return
        }
        // What it has not heard of yet must not end the subflow that is about to be.
        guard arrival.work.affords(costOfNews(for: stream)) else { return }
        catchUp(stream, at: now)
        let sequence = SubflowSequence(UInt32(truncatingIfNeeded: host.random.next()))
        let nonce = UInt32(truncatingIfNeeded: host.random.next())
        guard
            let index = stream.connection.acceptJoin(
                syn, payload: payload, context: context,
                path: path.id, initialSequence: sequence,
                nonce: nonce, estimate: path.monitor.estimate(at: now),
                sizes: path.segmentSizes,
                at: now)
        else {
            refuse(syn, &context, payload.count, MPReset.multipathSpecific, path, at: now)
            return
        }
        withConnection(of: stream, at: now) { _ in
            link(stream, index, context.number, path.id)
            if !payload.isEmpty { noteData(payload.count, path, stream, at: now) }
        }
    }

    /// A SYN on a path that was removed is one of the past; on one never spoken of it opens the
    /// path.
    private func admit(_ path: Path, at now: Instant) -> Bool {
        if path.isOpen { return true }
        guard !path.statement.isKnown else { return false }
        enter(.usable, path, at: now)
        challengeAddress(path)
        return true
    }

    func link(
        _ stream: StreamHandle, _ index: SubflowIndex, _ number: UInt16, _ path: PathID
    ) {
        let link = SubflowLink(number: number, path: path)
        if index.value < stream.links.count {
            stream.links[index.value] = link
        } else {
            precondition(index.value == stream.links.count, "subflow indices have no holes")
            stream.links.append(link)
        }
        if let slot = stream.slot { numbers.set(number, slot: slot, subflow: index) }
    }

    /// Answers a SYN with RST and MP_TCPRST (RFC 8684 section 3.6).
    func refuse(
        _ syn: borrowing Segment, _ context: inout SealedContext, _ payloadLength: Int,
        _ reason: UInt8,
        _ path: Path,
        at now: Instant
    ) {
        var reset = Segment()
        reset.sourcePort = syn.destinationPort
        reset.destinationPort = syn.sourcePort
        reset.flags = [.rst, .ack]
        reset.acknowledgement = syn.sequence + 1 + payloadLength
        reset.options.reset.reason = reason
        reset.options.present = .reset
        let length = SealedSegment.write(
            reset, payloadLength: 0, runsToEnd: false,
            context: &context, into: host.headScratch)
        guard let out = append(length, to: path, work: ArrivalWork.sentReset) else { return }
        out.copyMemory(from: host.headScratch, byteCount: length)
        if host.observers.packetTrace != nil { traceOutgoing(reset, .empty, path, at: now) }
    }
}

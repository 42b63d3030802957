import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// What the preface of an association's stream says (docs/wire.md, A stream's first bytes).
struct AssociationPreface: Equatable {
    /// Where a target has its type of address.
    static let type: UInt8 = 16
    static let size = 4
    var number: UInt16
    var policy: DatagramPolicy
    /// Answers may take only the paths by which its datagrams come.
    var keepsToPaths = false

    private static let keepsToPathsBit: UInt8 = 0x80

    var bytes: [UInt8] {
        [
            Self.type, UInt8(number >> 8), UInt8(number & 0xff),
            policy.rawValue | (keepsToPaths ? Self.keepsToPathsBit : 0)
        ]
    }

    init(number: UInt16, policy: DatagramPolicy, keepsToPaths: Bool = false) {
        self.number = number
        self.policy = policy
        self.keepsToPaths = keepsToPaths
    }

    /// Nil while it is not whole. A policy to come is none of ours to refuse.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size, bytes[0] == Self.type else { return nil }
        number = UInt16(bytes[1]) << 8 | UInt16(bytes[2])
        policy = DatagramPolicy(rawValue: bytes[3] & ~Self.keepsToPathsBit) ?? .auto
        keepsToPaths = bytes[3] & Self.keepsToPathsBit != 0
    }
}

/// Associations: streams that say how long flows of datagrams live, and nothing else.
extension Endpoint {
    /// Proxy: opens an association, which waits for the session where there is none yet. It is
    /// answered like a dial (`.answered`), lives until it is released, and ends with its stream's
    /// error.
    public func openAssociation(
        policy: DatagramPolicy, mode own: HandoverMode? = nil,
        only restriction: UplinkRestriction? = nil, at now: Instant
    ) -> StreamHandle {
        let preface = AssociationPreface(
            number: nextAssociation(), policy: policy, keepsToPaths: restriction != nil)
        return open(
            preface.bytes, target: nil, association: preface, mode: own, only: restriction,
            at: now)
    }

    /// A number that no association of a session has: an old one may live on when the numbers begin
    /// again.
    private func nextAssociation() -> UInt16 {
        for _ in 0...UInt16.max {
            host.proxy.lastAssociation &+= 1
            let number = host.proxy.lastAssociation
            if sessions.allSatisfy({ $0?.datagrams.associations[number] == nil }) { break }
        }
        return host.proxy.lastAssociation
    }

    /// Sends a datagram to `target`, where the concentrator is to send it, or at the concentrator
    /// from `target`, where it came from. False where it is dropped, which is counted.
    public func send(
        _ payload: UnsafeRawBufferPointer, on stream: StreamHandle, to target: Target,
        at now: Instant
    ) -> Bool {
        guard let association = stream.association, let session = stream.session else {
            return false
        }
        do throws(DatagramFlows.Refusal) {
            try session.datagrams.send(
                payload, association: association.number, to: target, at: now)
        } catch {
            if error == .tooManyFlows { session.noteFlowRefused(at: now) }
            return false
        }
        session.requestDatagramTurn()
        return true
    }

    /// Sends the datagrams of all sessions that have some, ahead of this turn's streams; false
    /// where some are left for the next batch.
    func fillDatagrams(into batch: DatagramBatch, at now: Instant) -> Bool {
        var isLeft = false
        // Those that have more left stand in the list again, behind these.
        let due = host.work.sessionsWithDatagrams.count
        for i in 0..<due {
            let session = host.work.sessionsWithDatagrams[i]
            session.turn.wantsDatagramTurn = false
            guard sessions.holds(session) else { continue }
            if !session.fillDatagrams(into: batch, at: now) { isLeft = true }
        }
        host.work.sessionsWithDatagrams.removeFirst(due)
        return !isLeft
    }
}

extension Session {
    // MARK: Associations

    /// The stream is in the session: from now on its association's flows can be.
    func beginAssociation(of stream: StreamHandle) {
        guard let association = stream.association, let slot = stream.slot else { return }
        _ = datagrams.open(
            association: association.number, owner: slot, policy: association.policy,
            allowed: stream.restriction.map { .uplinks($0) } ?? .all)
    }

    /// The stream has ended, or is going to.
    func endAssociation(of stream: StreamHandle, at now: Instant) {
        guard let association = stream.association, let slot = stream.slot,
            datagrams.associations[association.number]?.owner == slot
        else { return }
        datagrams.close(association: association.number, at: now)
        requestDatagramTurn()
    }

    /// Listener: an association's preface, as soon as all of it is there. A peer that dribbles four
    /// bytes around the end of a ring gets none.
    func readAssociation(
        _ bytes: UnsafeRawBufferPointer, _ stream: StreamHandle, at now: Instant
    ) {
        guard let preface = AssociationPreface(bytes) else {
            if stream.connection.isReadFinished { stream.connection.abort(at: now) }
            return
        }
        stream.connection.consume(AssociationPreface.size, at: now)
        stream.progress.stage = .started
        stream.countTarget()
        guard let slot = stream.slot,
            datagrams.open(
                association: preface.number, owner: slot, policy: preface.policy,
                allowed: preface.keepsToPaths ? .arrived(by: []) : .all)
        else {
            stream.connection.abort(at: now)
            host.counters.badFrames += 1
            return
        }
        stream.association = preface
        host.emit(.associating(stream, user: user?.name ?? ""))
        if stream.connection.isReadFinished { host.work.activity.append(stream) }
    }

    // MARK: What arrives

    func receive(_ frame: DatagramFrame, _ path: Path, number: UInt64, at now: Instant) {
        renewCarrier(path)
        noteUse(frame.size, at: now)
        if let due = path.monitor.receivedData(0, at: now) { bringForward(.paths, to: due) }
        let refused = datagrams.counters.refusedFlows
        datagrams.receive(
            frame, path: path.id, packet: number, at: now, deliver: handOver)
        if datagrams.counters.refusedFlows != refused { noteFlowRefused(at: now) }
        requestDatagramTurn()
    }

    /// There are too many flows for one more.
    fileprivate func noteFlowRefused(at now: Instant) {
        if let user { host.turnedAway(by: .flows, user, at: now) }
    }

    func receive(_ frame: FlowFrame, at now: Instant) {
        datagrams.receive(frame, at: now)
        requestDatagramTurn()
    }

    func receive(_ frame: DatagramReportFrame, _ path: Path, at now: Instant) {
        renewCarrier(path)
        datagrams.receive(frame, path: path.id, at: now)
        noteAcknowledgement(path, at: now)
        requestDatagramTurn()
    }

    private func handOver(_ owner: StreamSlot, _ from: Target, _ payload: UnsafeRawBufferPointer) {
        guard let stream = host.streams[owner], !stream.progress.isReleased else { return }
        host.observers.datagramArrived?(stream, from, payload)
    }

    /// Datagrams came or go: round trips are to be known.
    private func noteUse(_ bytes: Int, at now: Instant) {
        if activity.moves(at: now) { timersChanged() }
        if use.isOn { noteUse(datagram: bytes, at: now) }
    }

    /// Packet numbers begin anew, or lead elsewhere: what was under way is not any more.
    private func renewCarrier(_ path: Path) {
        let incarnation = UInt64(indices.local) << 8 | UInt64(path.statement.incarnation)
        if datagrams.carriers[path.id.number].incarnation != incarnation {
            datagrams.carriers[path.id.number] = DatagramCarrier()
            datagrams.carriers[path.id.number].incarnation = incarnation
        }
    }

    // MARK: A turn

    /// Its datagrams want a turn.
    func requestDatagramTurn() {
        guard !turn.wantsDatagramTurn else { return }
        turn.wantsDatagramTurn = true
        host.work.sessionsWithDatagrams.append(self)
    }

    /// A path ended or is suspected: what it took lately may have to go once more.
    func reviewRecentDatagrams() {
        guard !datagrams.recent.isEmpty else { return }
        datagrams.recent.isRepeatDue = true
        requestDatagramTurn()
    }

    /// False where some are left for the next batch.
    fileprivate func fillDatagrams(into batch: DatagramBatch, at now: Instant) -> Bool {
        guard !isClosing, !hasExpiredKeys else { return true }
        datagrams.advance(to: now, deliver: handOver)
        watchSizes(at: now)
        sendReports(batch, at: now)
        // One that lets no full datagrams through will do for small frames.
        let best = bestPath() ?? latestPath
        datagrams.repeatClosings(wait: best?.probeTimeout ?? Limits.initialTimeout, at: now)
        appendStatements(on: best)
        if datagrams.recent.isRepeatDue || !datagrams.turns.isEmpty && datagrams.retryAt <= now {
            var views = datagramPaths(batch, at: now)
            datagrams.fill(&views, mode: modes.session, at: now) { number, frame in
                guard let path = paths[number] else { return false }
                return carry(frame, path, batch, at: now)
            }
        }
        guard datagrams.deadline <= now || !datagrams.statements.isEmpty else {
            set(.datagrams, to: datagrams.deadline)
            return true
        }
        requestDatagramTurn()
        return false
    }

    /// Long records of datagrams seem not to arrive: probes of the path's size tell.
    private func watchSizes(at now: Instant) {
        for i in datagrams.carriers.indices
        where datagrams.carriers[i].window.sizes.takeSuspicion(at: now) {
            guard let path = paths[PathID(i)], path.isOpen, path.mtu.current > path.mtu.base else {
                continue
            }
            if path.monitor.probe.isOutstanding {
                // An answer to what was asked before tells nothing of what is asked now.
                datagrams.carriers[i].window.sizes.postpone(
                    until: now + Limits.minimumVariation)
            } else {
                checkForBlackHole(path, at: now)
            }
        }
    }

    private func sendReports(_ batch: DatagramBatch, at now: Instant) {
        for case let path? in paths {
            guard let report = datagrams.carriers[path.id.number].arrivals.takeReport(at: now),
                path.isOpen
            else { continue }
            if !path.takes(DatagramReportFrame.size) { _ = flush(path, batch, at: now) }
            guard let out = append(DatagramReportFrame.size, to: path) else { continue }
            report.write(into: out)
        }
    }

    /// Words about flows go on the best path; without one they are lost, and asked for again.
    private func appendStatements(on path: Path?) {
        guard !datagrams.statements.isEmpty else { return }
        guard let path, path.isOpen else { datagrams.statements.removeAll(); return }
        let (count, work) = datagrams.statements(
            room: path.frameSpace, work: ArrivalWork.maximumSent - path.waiting.work)
        guard count > 0, let out = append(count * FlowFrame.size, to: path, work: work) else {
            return
        }
        datagrams.writeStatements(count, into: out)
    }

    private func carry(
        _ frame: DatagramFrame, _ path: Path, _ batch: DatagramBatch, at now: Instant
    ) -> Bool {
        let size = frame.size, work = frame.cost
        if !path.takes(size, work: work), !flush(path, batch, at: now) { return false }
        guard let out = append(size, to: path, work: work) else { return false }
        frame.write(into: out)
        noteUse(size, at: now)
        noteEliciting(path, at: now)
        let length = path.datagramLimit - path.frameSpace
        path.mtu.sent(length, at: now)
        datagrams.carriers[path.id.number].window.noteSent(
            size, number: path.records.next, isFull: length > path.mtu.base,
            answer: roundTripBound(path) + DatagramLimits.reportWait, at: now)
        return true
    }

    /// The paths as datagrams see them.
    private func datagramPaths(_ batch: DatagramBatch, at now: Instant) -> [DatagramPath] {
        var views: [DatagramPath] = []
        for case let path? in paths where path.isOpen && path.id != selection.superseded {
            renewCarrier(path)
            // A batch's lane must take the largest datagram, in pieces.
            let isFull = batch.room(lane: path.lane) < 8 * DatagramBatch.maximumDatagram
            let space = datagrams.carriers[path.id.number].window.space(at: now)
            let measured = datagrams.carriers[path.id.number].window.delay
            views.append(
                DatagramPath(
                    id: path.id, incarnation: datagrams.carriers[path.id.number].incarnation,
                    uplink: path.uplink, isUsable: isEligible(path),
                    isBackup: path.role.isResting,
                    isUncertain: path.monitor.lifecycle.isUntried || !path.validation.isValidated
                        || path.monitor.probe.isAskingAboutSilence,
                    delay: measured
                        ?? (path.roundTrip.isKnown
                            ? path.roundTrip.smoothed / 2 : .milliseconds(100)),
                    space: isFull ? 0 : space,
                    rate: datagrams.carriers[path.id.number].window.rate,
                    limit: path.datagramLimit - DatagramHeader.size - RecordCipher.tagBytes))
        }
        return views
    }
}

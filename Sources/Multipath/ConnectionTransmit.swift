import Buffers
import Measures
import Subflow
import Wire

/// A segment's way out. A turn has three parts: what subflows must say (SYN, retransmissions, RST),
/// data by the scheduler, and what remains (FIN, bare ACKs, probes), so that an ACK rides on data
/// where there is any. What goes a second time is in `ConnectionRetransmit`.
extension Connection {
    /// The next segment to send at `now`, written into `out`; false where there is none.
    public func nextSegment(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        if turn.phase == .control || now != turn.at {
            turn.phase = .control
            turn.at = now
            turn.burst = nil
        }
        if turn.phase == .control {
            if controlSegment(at: now, into: &out) || signalSegment(at: now, into: &out) {
                return true
            }
            turn.phase = .data
            timers.clear(.pacing)
        }
        if turn.phase == .data {
            if !hasFailed {
                if framing.sendsKeysAhead, keysAhead(at: now, into: &out) { return true }
                if sender.hasReinjections,
                    newDataAmongReinjections(at: now, into: &out)
                        || reinjection(at: now, into: &out)
                {
                    return true
                }
                switch redundantData(at: now, into: &out) {
                case .sent: return true
                case .idle: break
                case .none:
                    if newData(at: now, into: &out) { return true }
                    if copyAhead(at: now, into: &out) { return true }
                    if shadow(at: now, into: &out) { return true }
                }
                if dataFin(at: now, into: &out) { return true }
                armPersist(at: now)
                armRepeat(at: now)
            }
            turn.phase = .tail
        }
        if turn.phase == .tail {
            if tailSegment(at: now, into: &out) { return true }
            // a subflow was given up
            if turn.phase == .control { return nextSegment(at: now, into: &out) }
            turn.phase = .done
            armAfterTurn()
        }
        return false
    }

    // MARK: What subflows must say

    private func controlSegment(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        for i in members.indices {
            guard let member = members[i], !isHeld(member) else { continue }
            if !member.isAlive { retire(member, at: now); continue }
            if member.finalAcknowledgement.isDue {
                if finalAcknowledgement(member, at: now, into: &out) { return true }
                if member.health == .lost { continue }
            }
            switch member.tcp.nextAction(at: now, awaiting: awaitedOffset) {
            case .open(let room):
                open(member, room: room, at: now, into: &out)
            case .retransmit(let span):
                guard retransmit(span, member, at: now, into: &out) else { continue }
            case .reset:
                begin(&out, member)
                member.tcp.fillReset(&out.segment)
                attachReset(&out.segment, member)
            case .nothing, .data, .finish, .acknowledge, .probe: continue
            }
            return true
        }
        return false
    }

    /// What goes first of a subflow's losses, where that has a say.
    var awaitedOffset: UInt64? { framing.repairsInDataOrder ? sender.acknowledged : nil }

    /// What the subflow has received, said over another path: data waits for holes of other
    /// subflows, so that the data acknowledgement alone does not tell, and the peer would send what
    /// is here once more.
    private func finalAcknowledgement(
        _ member: MemberSubflow, at now: Instant, into out: inout OutgoingSegment
    ) -> Bool {
        member.finalAcknowledgement.isDue = false
        defer { if member.health == .lost { retire(member, pathEnded: true, at: now) } }
        guard let path = anotherPath(than: member) else { return false }
        acknowledge(on: member, at: now, into: &out)
        out.path = path
        return true
    }

    /// A listener's join waits with its SYN/ACK for the third packet of the first subflow, which
    /// brings the key that its HMAC needs. One that ends meanwhile says so without it.
    func isHeld(_ member: MemberSubflow) -> Bool {
        member.kind == .join && !member.isOpener && remoteKey == nil && !hasFailed
    }

    /// A SYN can't be cut in two like other data, and its options take more bytes than a data
    /// segment's head (at most 40 and a general head of 17, less the 12 that a segment size leaves
    /// already).
    private static let openingHeadroom = 48

    private func open(
        _ member: MemberSubflow, room: Int, at now: Instant, into out: inout OutgoingSegment
    ) {
        begin(&out, member)
        var length = 0, offset = sender.next, isCopy = false
        let maximum =
            min(member.tcp.sendSegmentSize, configuration.subflow.openingLimit)
            - Self.openingHeadroom
        // A joining SYN carries data only where nothing else can: else the scheduler knows better
        // paths.
        if room > 0, member.isOpener, !hasFailed,
            member.kind == .initial || !hasCarrier(besides: member)
        {
            if sender.reinjections.isEmpty { sender.reinjectRest() }
            if sender.reinjections.count > 0 {
                offset = sender.reinjections[0].start
                length = min(room, maximum, sender.reinjections[0].count)
                isCopy = true
            } else {
                length = min(room, maximum, sender.sendable)
            }
        }
        member.tcp.fillOpen(
            &out.segment, dataLength: length, streamOffset: offset,
            receiveWindow: receiver.offered, at: now)
        if length > 0 {
            out.payload = sender.ring.pieces(from: offset, count: length)
            dataLeft(member, offset: offset, length: length, isCopy: isCopy)
            if isCopy { sender.reinjected(to: offset &+ UInt64(length)) }
        }
        attach(&out.segment, member, mapping: length > 0 ? (offset, length, 1) : nil, at: now)
    }

    // MARK: Data

    func newData(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        let available = sender.sendable
        if !costs.areEqual { noteBacklog(at: now) }
        guard available > 0 else { return false }
        if sender.backlog > Self.maximumThinBacklog { shadowing.isBusy(at: now) }
        if writer.isWaiting { writer.heldAt = now }
        guard let member = burstCarrier(available: available) ?? chooseBurst(available, at: now)
        else { turn.burst = nil; return false }
        turn.lastCarrier = member.index
        turn.burstRoom &-= emit(
            member, offset: sender.next,
            upTo: min(available, member.tcp.sendSegmentSize, turn.burstRoom), isCopy: false,
            at: now,
            into: &out)
        return true
    }

    /// The subflow of the burst that is going on, while that has room for a segment.
    @inline(__always) private func burstCarrier(available: Int) -> MemberSubflow? {
        guard let burst = turn.burst,
            turn.burstRoom >= min(available, burst.tcp.sendSegmentSize)
        else { return nil }
        return burst
    }

    /// The scheduler's choice for the next burst; nil where it would rather wait.
    private func chooseBurst(_ available: Int, at now: Instant) -> MemberSubflow? {
        collectCandidates(segment: available, at: now)
        guard
            let i = scheduler.choose(
                candidateScratch, backlog: expectedBacklog(at: now),
                segment: configuration.subflow.maximumSegmentSize)
        else { return nil }
        guard let member = member(candidateScratch[i].subflow) else { return nil }
        turn.burst = member
        turn.burstRoom = candidateScratch[i].room
        return member
    }

    /// A writer that was held back this recently will go on: its next bytes are a turn of the loop
    /// away.
    private static let writerMemory = Interval.milliseconds(10)
    /// What waits to be scheduled. Of an application that has more than the ring takes that tells
    /// little; then it is what may be out unacknowledged: what takes longer than that on a slower
    /// path stops the others.
    private func expectedBacklog(at now: Instant) -> Int {
        guard sender.finOffset == nil, now - writer.heldAt <= Self.writerMemory else {
            return sender.backlog
        }
        return max(sender.backlog, DataReceiver.initialWindow, 8 * allWindows)
    }

    /// A segment of data: as many of the `wanted` bytes as fit behind its head; how many these are.
    func emit(
        _ member: MemberSubflow, offset: UInt64, upTo wanted: Int, isCopy: Bool,
        at now: Instant, into out: inout OutgoingSegment
    ) -> Int {
        begin(&out, member)
        let position = member.relativeSend(member.tcp.sendNext)
        member.tcp.beginData(
            &out.segment, receiveWindow: receiver.offered,
            optionRoom: optionRoom(member, mapping: true), at: now)
        attach(&out.segment, member, mapping: (offset, wanted, position), at: now)
        let length = fit(wanted, behind: &out.segment, member)
        member.tcp.commitData(length: length, streamOffset: offset, at: now)
        out.payload = sender.ring.pieces(from: offset, count: length)
        dataLeft(member, offset: offset, length: length, isCopy: isCopy)
        return length
    }

    private func dataLeft(_ member: MemberSubflow, offset: UInt64, length: Int, isCopy: Bool) {
        countSent(length, path: member.path)
        traffic.counted.bytesSent += length
        if isCopy { member.carriesCopy(of: offset) } else { sender.scheduled(length) }
        if offset <= member.copies.redundantEnd {
            member.copies.redundantEnd = max(member.copies.redundantEnd, offset &+ UInt64(length))
        }
        raw.signalsFrom = .zero
    }

    /// Raw IP: the third packet of the handshake goes ahead of the first data. Both carry the keys:
    /// a listener that sees later data first, since the one segment with keys was lost, would take
    /// the connection for plain TCP.
    private func keysAhead(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard role == .initiator, remoteKey != nil else {
            return false
        }
        for case let member? in members
        where member.proof.sentAt == .distantFuture && member.tcp.state == .established
            && owesKeys(member)
        {
            acknowledge(on: member, at: now, into: &out)
            return true
        }
        return false
    }

    private func acknowledge(
        on member: MemberSubflow, at now: Instant, into out: inout OutgoingSegment
    ) {
        begin(&out, member)
        member.tcp.fillAcknowledgement(
            &out.segment, receiveWindow: receiver.offered,
            optionRoom: optionRoom(member, mapping: false), at: now)
        attach(&out.segment, member, mapping: nil, at: now)
    }

    /// DATA_FIN stands alone on an ACK, so that no mapping of data ever changes its length;
    /// repeated with growing intervals until acknowledged (RFC 8684 section 3.3.3).
    private func dataFin(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard sender.isFinDue, fin.dueAt <= now else { return false }
        if sendsPlain { finishPlain(); return false }
        guard let member = fin.repeats.count % 2 == 0 ? bestMember() : anotherMember() else {
            fin.dueAt = now + .milliseconds(100)  // no subflow may carry it yet
            return false
        }
        // the third packet of the handshake goes ahead, since a DATA_FIN has no room for keys
        if owesKeys(member) {
            fin.dueAt = now
            acknowledge(on: member, at: now, into: &out)
            return true
        }
        fin.dueAt =
            now
            + fin.repeats.wait(
                max(member.tcp.retransmissionTimeout, .milliseconds(100)),
                maximum: Self.maximumFinInterval)
        fin.repeats.failed()
        raw.finSentAt = now
        begin(&out, member)
        member.tcp.fillAcknowledgement(
            &out.segment, receiveWindow: receiver.offered,
            optionRoom: optionRoom(member, mapping: true), at: now)
        attach(&out.segment, member, mapping: nil, fin: true, at: now)
        return true
    }

    /// A DATA_FIN is repeated at least this often.
    private static let maximumFinInterval = Interval.seconds(10)

    // MARK: What remains

    private func tailSegment(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        for i in members.indices {
            guard let member = members[i], !isHeld(member) else { continue }
            member.tcp.declineData(at: now)
            begin(&out, member)
            switch member.tcp.nextAction(at: now, awaiting: awaitedOffset) {
            case .finish:
                member.tcp.fillFinish(
                    &out.segment, receiveWindow: receiver.offered,
                    optionRoom: optionRoom(member, mapping: false), at: now)
            case .acknowledge:
                member.tcp.fillAcknowledgement(
                    &out.segment, receiveWindow: receiver.offered,
                    optionRoom: optionRoom(member, mapping: false),
                    at: now)
            case .probe:
                member.tcp.fillProbe(
                    &out.segment, receiveWindow: receiver.offered,
                    optionRoom: optionRoom(member, mapping: false), at: now)
            case .reset:
                member.tcp.fillReset(&out.segment)
                attachReset(&out.segment, member)
                turn.phase = .control
                return true
            case .retransmit(let span):
                // A tail loss probe that found no new data to go instead (RFC 8985 section 7.3).
                guard retransmit(span, member, at: now, into: &out) else { continue }
                return true
            case .nothing, .data, .open: continue
            }
            attach(&out.segment, member, mapping: nil, at: now)
            return true
        }
        return false
    }

    /// An address signal on an ACK of its own (raw IP).
    private func signalSegment(at now: Instant, into out: inout OutgoingSegment) -> Bool {
        guard let member = signalMember(at: now) else { return false }
        signalLeft(at: now)
        begin(&out, member)
        member.tcp.fillAcknowledgement(
            &out.segment, receiveWindow: receiver.offered,
            optionRoom: SegmentOptions.room, at: now)
        attach(&out.segment, member, mapping: nil, at: now)
        attachSignal(&out.segment)
        return true
    }
}

import Buffers
import Measures
import Subflow
import Wire

/// What ends a subflow or the connection, and what becomes of the data that was under way.
extension Connection {
    /// MP_FASTCLOSE with our key ends the connection; with any other it is ignored (RFC 8684
    /// section 3.5).
    func fastClose(
        by segment: borrowing Segment, on closed: MemberSubflow, at now: Instant
    ) {
        guard segment.options.fastClose.receiverKey == localKey else {
            traffic.counted.dssErrors += 1
            return
        }
        if abortByPeer(key: localKey, at: now) { return }
        let events = lifecycle.abortedByPeer()
        let isReset = segment.flags.contains(.rst)
        for case let member? in members {
            // Others want every subflow reset.
            if isReset && member === closed {
                retire(member, at: now)
            } else {
                member.tcp.abort()
            }
        }
        report(events)
    }

    /// The peer aborted with this key, by whatever subflow: inside a session the frame alone ends
    /// all of them. False where it is not this connection's, and on raw IP.
    public func abortByPeer(key: UInt64, at now: Instant) -> Bool {
        guard framing.abortsAllAtOnce, key == localKey else { return false }
        let events = lifecycle.abortedByPeer()
        for case let member? in members { retire(member, at: now) }
        report(events)
        inputChanged(at: now)
        return true
    }

    func wasReset(_ member: MemberSubflow, _ segment: borrowing Segment, at now: Instant) {
        let neverOpened = !member.tcp.synAcknowledged
        var reason = ConnectionError.peerAborted
        if neverOpened, member.kind == .initial, segment.options.present.contains(.reset),
            segment.options.reset.reason == MPReset.lackOfResources
        {
            reason = .lackOfResources
        }
        retire(member, at: now)
        if neverOpened, member.isOpener { traffic.counted.joinsRefused += 1 }
        // the peer knows no such connection any more
        if neverOpened { lifecycle.endConfirmed() }
        // Everything was acknowledged but our DATA_FIN, and the peer no longer knows the
        // connection: it had that, too. Only a refused join says so; a subflow's reset may come of
        // a path that the peer lost.
        if livingSubflows == 0, receiver.isFinReached, sender.isOnlyFinUnacknowledged,
            neverOpened
        {
            sender.assumeFinAcknowledged()
            return closeIfFinished(at: now)
        }
        // A connection whose first subflow is refused, or whose joins are refused with none left,
        // is not known to the peer (any more).
        if livingSubflows == 0, framing.waitsWithoutSubflow, raw.plain == nil {
            armOrphanTimer(at: now)
        }
        if livingSubflows == 0, !isFinished,
            member.kind == .initial && neverOpened || traffic.counted.joinsRefused >= 3
                || raw.plain != nil
        {
            fail(reason, at: now)
        }
    }

    /// Both streams ended and both ends know it.
    var isFinished: Bool { sender.isFinAcknowledged && receiver.isFinReached }

    /// After any input: the end of both streams closes the subflows.
    func closeIfFinished(at now: Instant) {
        guard isFinished else { return }
        let events = lifecycle.streamsEnded()
        if events.isEmpty { return }
        report(events)
        timers[.endConfirmation] = now + Self.endConfirmationTimeout
        for case let member? in members { closeAfterEnd(on: member) }
        // it has no other subflow, and its FIN is the stream's
        if raw.plain != nil { confirmEnd(at: now) }
    }

    /// The peer is known to know that both streams ended.
    func confirmEnd(at now: Instant) {
        lifecycle.endConfirmed()
        if framing.lingers { beginLinger(at: now) }
    }

    /// The FIN, and every segment with it, says that everything was received.
    func closeAfterEnd(on member: MemberSubflow) {
        member.ending.confirmsStreams = !member.isEnding
        member.ending.hasBegun = true
        member.tcp.close()
    }

    /// Ends both streams at once, and every subflow with RST and MP_FASTCLOSE.
    func abort(_ error: ConnectionError) {
        let events = lifecycle.abort(error)
        if events.isEmpty { return }
        report(events)
        for case let member? in members { member.tcp.abort() }
    }

    /// Ends one subflow with RST and MP_TCPRST; the connection goes on.
    func reset(_ member: MemberSubflow, reason: UInt8) {
        guard member.ending.resetReason == nil else { return }
        member.ending.resetReason = reason
        member.ending.hasBegun = true
        reinjectOutstanding(of: member)
        member.tcp.abort()
    }

    /// Takes a subflow out: what it had not delivered goes again elsewhere.
    func retire(_ member: MemberSubflow, pathEnded: Bool = false, at now: Instant) {
        guard self.member(member.index) === member else { return }
        members[member.index.value] = nil
        if turn.burst === member { turn.burst = nil }
        // On raw IP a peer ends its last subflow in order only when it knows of both ends.
        if framing.confirmsByLastSubflow, member.tcp.failure == nil, !member.isAlive {
            lifecycle.endConfirmed()
        }
        let newest = pathEnded ? newestOutstanding(of: member, at: now) : .max
        reinjectOutstanding(of: member, upTo: newest, deferringAt: pathEnded ? now : nil)
        if pathEnded { sender.beginUncertainLoss(newestFrom: newest, at: now) }
        ended.append(member.index)
        report(.subflowEnded)
        discardAcknowledged()
    }

    /// Everything sent on the subflow and not known to be delivered goes again, on whichever
    /// subflow is best.
    ///
    /// `deferringAt`: its path has ended or fallen silent just now. Of what was sent up to a round
    /// trip before, the first has arrived, and its acknowledgements were on their way back: it goes
    /// last, or the receiver waits behind copies of what it has. For a third of the shortest round
    /// trip rather than half of it, since the way back may be the shorter one.
    /// A listener, which alone finds out by silence when the path ended, counts no later than half
    /// a round trip before the last segment came.
    /// `upTo`: what lies behind it is seen to elsewhere.
    func reinjectOutstanding(
        of member: MemberSubflow, upTo newest: UInt64 = .max, deferringAt now: Instant? = nil
    ) {
        guard !isFinished, member.tcp.outstandingCount > 0 else { return }
        var surelyFrom = Instant.zero
        if now != nil, member.tcp.hasRTTSample {
            surelyFrom = member.tcp.outstanding(0).sentAt + member.tcp.minimumRTT / 3
            if role == .listener {
                surelyFrom = min(surelyFrom, member.tcp.lastArrival - member.tcp.minimumRTT / 2)
            }
        }
        var surely = OffsetRanges(), perhaps = OffsetRanges()
        member.tcp.forEachOutstandingPiece(
            below: newest, after: sender.acknowledged, excluded: shadowing.copies(besides: member),
            takesDelivered: !framing.keepsSelectivelyAcknowledged,
            olderThan: now == nil ? Instant(nanoseconds: .min) : surelyFrom
        ) { start, end, isDeferred in
            if isDeferred { perhaps.insert(start, end) } else { surely.insert(start, end) }
        }
        sender.reinject(surely)
        if let now { sender.deferReinjection(perhaps, at: now) }
    }

    /// Where the last bytes sent begin that left just before the path of `member` ended, as many as
    /// are worth sending on the chance: an interface closes, and takes nothing more, a millisecond
    /// and more before anybody hears of it. `.max` where there are none.
    private func newestOutstanding(of member: MemberSubflow, at now: Instant) -> UInt64 {
        var start = sender.next
        for i in (0..<member.tcp.outstandingCount).reversed() {
            let span = member.tcp.outstanding(i)
            guard now - span.sentAt <= Self.closingTime, !span.isDelivered,
                span.streamOffset &+ UInt64(span.length) == start,
                sender.next &- span.streamOffset <= Self.maximumNewest
            else { break }
            start = span.streamOffset
        }
        guard start < sender.next,
            !shadowing.covers(start, sender.next, besides: member)
        else { return .max }
        return start
    }

    /// From when an interface takes nothing more until its user hears of it, on a busy machine.
    private static let closingTime = Interval.milliseconds(5)
    /// Bytes: four segments, a turn of the pacer or two.
    private static let maximumNewest: UInt64 = 6_000
}

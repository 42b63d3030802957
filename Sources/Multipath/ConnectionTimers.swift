import Measures
import Subflow
import Wire

/// Time and path health.
extension Connection {
    public var deadline: Instant {
        if phase != .done, hasWork { return phaseAt }
        var next = min(timers.next, addressSignalDeadline)
        if sender.isFinDue, livingSubflows > 0 { next = min(next, finDeadline) }
        for case let member? in members where !isHeld(member) {
            next = min(next, min(member.tcp.deadline, member.proofDeadline))
        }
        return next
    }

    /// Input changed since the last turn of `nextSegment` ended.
    private var hasWork: Bool { phase == .control }

    public func advance(to now: Instant) {
        for index in members.indices {
            guard let member = members[index] else { continue }
            if member.tcp.deadline <= now {
                member.tcp.advance(to: now)
                phase = .control
                if member.tcp.isUnanswered { unansweredPath = member.path }
            }
            if member.tcp.statistics.timeouts > member.timeoutsSeen {
                member.timeoutsSeen = member.tcp.statistics.timeouts
                // RFC 8684 section 3.3.6: after a timeout the data may go on another subflow. Once:
                // the copies are that one's care, and a path that fell silent gave its data away at
                // once.
                if livingSubflows > 1, member.health == .usable, member.tcp.backoffs <= 1 {
                    reinjectOutstanding(of: member)
                }
            }
            if member.proofDeadline <= now {
                member.proofDeadline =
                    now + max(member.tcp.retransmissionTimeout, .milliseconds(200))
                member.tcp.requestAcknowledgement()
                phase = .control
            }
            if !member.isAlive { retire(index, at: now) }
        }
        if timers.takeIfDue(.endConfirmation, at: now) {
            endIsConfirmed = true
            // A subflow whose peer gave it up, and whose reset was lost, would wait for a FIN for
            // ever.
            for index in members.indices where members[index] != nil { retire(index, at: now) }
        }
        if timers.takeIfDue(.persist, at: now) { probeWindow() }
        if framing.isExposed { advanceRawIP(to: now) }
        if timers.takeIfDue(.pacing, at: now) { phase = .control }
        if sender.isFinDue, finDeadline <= now { phase = .control }
        if timers.takeIfDue(.idle, at: now) { releaseIdle() }
    }

    /// The peer's window is shut and nothing is under way that would bring news: ask (RFC 9293
    /// section 3.8.6.1).
    private func probeWindow() {
        guard sender.isWindowBlocked, let member = bestMember() else { return }
        persistBackoff = min(persistBackoff + 1, 6)
        member.tcp.requestProbe()
        phase = .control
    }

    func armPersist(at now: Instant) {
        guard sender.isWindowBlocked,
            !sender.hasUnacknowledged
        else { timers.clear(.persist); return }
        guard !timers.isSet(.persist), let member = bestMember() else { return }
        timers[.persist] =
            now
            + max(member.tcp.retransmissionTimeout, .milliseconds(200)) * Int64(1 << persistBackoff)
    }

    /// Idle rings give back the memory that they don't need: ten thousand idle connections must be
    /// cheap, and so must a thousand that stand still with a few bytes left.
    private func releaseIdle() {
        sender.ring.shrink()
        if !receiver.hasHoles { receiver.ring.shrink() }
    }

    /// A path on which a subflow timed out or was about to, since last asked.
    public func takeUnansweredPath() -> Int? {
        defer { unansweredPath = nil }
        return unansweredPath
    }

    /// The path takes segments of at most `size` payload bytes from now on
    /// (`Subflow.limitSegments`).
    public func limitSegments(to size: Int, path: Int, repeatsAll: Bool, at now: Instant) {
        for case let member? in members where member.path == path && member.isAlive {
            member.tcp.limitSegments(to: size, repeatsAll: repeatsAll, at: now)
            member.headExcess = 0
            if repeatsAll { inputChanged(at: now) }
        }
        burstMember = -1
    }

    // MARK: Path health

    /// What arrived on a path so shortly before its end may not be known to the peer to have
    /// arrived.
    private static let unconfirmedAcknowledgements = Interval.seconds(1)

    public func setHealth(_ health: PathHealth, path: Int, at now: Instant) {
        for index in members.indices {
            guard let member = members[index], member.path == path, member.health != health else {
                continue
            }
            // back before it could be said
            if member.owesFinalAcknowledgement, member.health == .lost {
                retire(index, at: now)
                continue
            }
            if health == .usable, member.health == .lost { repeatProof(member, at: now) }
            let wasUsable = member.health == .usable
            member.health = health
            inputChanged(at: now)
            if health != .usable, member.lastText > now - Self.unconfirmedAcknowledgements {
                // Acknowledgements may have died with the path: the peer would send again what is
                // here.
                requestAcknowledgement(besides: member)
                // A listener hears of a loss by the initiator, whose subflow has ended already.
                member.owesFinalAcknowledgement =
                    framing.saysFinalAcknowledgement && !mayMove(member)
                    && (health == .suspect || role == .initiator)
                    && anotherPath(than: member) != nil
            }
            switch health {
            case .usable:
                member.tcp.pathReturned(at: now)
                // A peer that gave the subflow up meanwhile answers with a reset, and a new one is
                // joined.
                member.tcp.requestAcknowledgement()
            case .suspect:
                // A listener hears of it with the subflow's final ACK, and defers nothing.
                reinjectOutstanding(
                    of: member, deferringAt: role == .initiator && wasUsable ? now : nil)
                member.tcp.pathFellSilent()
            case .lost:
                if mayMove(member) {
                    member.proofDeadline = .distantFuture
                } else if !member.owesFinalAcknowledgement {
                    retire(index, pathEnded: role == .initiator && wasUsable, at: now)
                }
            }
        }
    }

    /// The peer's end of `path` has another address, which has shown that it receives.
    /// `isElsewhere`: not only its port is another.
    public func addressMoved(path: Int, isElsewhere: Bool, at now: Instant) {
        for case let member? in members where member.path == path && member.isAlive {
            member.tcp.addressMoved(isElsewhere: isElsewhere, at: now)
            inputChanged(at: now)
        }
    }

    /// Every living subflow says something, which a peer that knows none of it answers with a
    /// reset.
    public func askSubflows(at now: Instant) {
        for case let member? in members where member.isAlive {
            member.tcp.requestAcknowledgement()
            inputChanged(at: now)
        }
    }

    /// A segment of the subflow came over another path than its own: what it acknowledges tells
    /// nothing of a round trip.
    public func heardElsewhere(subflow index: Int, at now: Instant) {
        guard index < members.count, let member = members[index] else { return }
        member.tcp.heardElsewhere(at: now)
    }

    /// The first subflow of a session's connection outlives its path until the keys have arrived,
    /// since no other can be joined without them: it goes on over another path with the same
    /// numbers.
    func mayMove(_ member: MemberSubflow) -> Bool {
        guard framing.movesFirstSubflow, member.kind == .initial else { return false }
        return member.isOpener ? !member.peerHasProof : remoteKey == nil
    }

    /// The first subflow, where it may still have to change its path (initiator).
    public var movableSubflow: Int? {
        guard role == .initiator, framing.movesFirstSubflow, error == nil else { return nil }
        return members.firstIndex { $0.map { $0.isAlive && !$0.isEnding && mayMove($0) } ?? false }
    }

    /// The first subflow goes on over `path`: its owner chose so, or the peer's segments come from
    /// there now.
    public func move(subflow index: Int, to path: Int, at now: Instant) {
        guard index < members.count,
            let member = members[index],
            member.path != path,
            mayMove(member)
        else { return }
        member.path = path
        member.health = .usable
        member.tcp.pathChanged(at: now)
        repeatProof(member, at: now)
        inputChanged(at: now)
    }

    /// The first subflow is heard of until the keys are known to have arrived: the peer may have
    /// given it up meanwhile, and a side with nothing to send would never learn that.
    private func repeatProof(_ member: MemberSubflow, at now: Instant) {
        guard mayMove(member), member.isOpener, remoteKey != nil else { return }
        member.proofDeadline = now + max(member.tcp.retransmissionTimeout, .milliseconds(200))
    }

    /// Makes the subflows on `path` backup or regular, telling the peer (MP_PRIO).
    public func setBackup(_ backup: Bool, path: Int, at now: Instant) {
        for case let member? in members where member.path == path && member.backupByUs != backup {
            member.backupByUs = backup
            member.owesPriority = true
            member.tcp.requestAcknowledgement()
            inputChanged(at: now)
        }
    }

    /// Ends the subflow on `path` in an orderly way (a mode that no longer wants it), once others
    /// carry its data.
    public func leave(path: Int, at now: Instant) {
        for case let member? in members where member.path == path && !member.isEnding {
            member.isEnding = true
            member.tcp.close()
            inputChanged(at: now)
        }
    }
}

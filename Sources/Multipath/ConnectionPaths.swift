import Measures
import Subflow
import Wire

/// What the owner says of the paths below the subflows: their health, their address, the segments
/// they take.
extension Connection {
    /// A path on which a subflow timed out or was about to, since last asked.
    public func takeUnansweredPath() -> PathID? {
        defer { turn.unansweredPath = nil }
        return turn.unansweredPath
    }

    /// Whether a segment of `size` payload bytes or more that left on the path at `since` or later
    /// is known to have arrived.
    public func hasDelivered(_ size: Int, since: Instant, path: PathID) -> Bool {
        for case let member? in members
        where member.path == path && member.tcp.hasDelivered(size, since: since) {
            return true
        }
        return false
    }

    /// The path takes segments of at most `size` payload bytes from now on
    /// (`Subflow.limitSegments`).
    public func limitSegments(to size: Int, path: PathID, repeatsAll: Bool, at now: Instant) {
        for case let member? in members where member.path == path && member.isAlive {
            member.tcp.limitSegments(to: size, repeatsAll: repeatsAll, at: now)
            if repeatsAll { inputChanged(at: now) }
        }
        turn.burst = nil
    }

    /// What arrived on a path so shortly before its end may not be known to the peer to have
    /// arrived.
    private static let unconfirmedAcknowledgements = Interval.seconds(1)

    /// The path works, is silent, or is gone: its subflows carry on, give their data to others, or
    /// end.
    public func setHealth(_ health: PathHealth, path: PathID, at now: Instant) {
        for case let member? in members where member.path == path && member.health != health {
            // back before it could be said
            if member.finalAcknowledgement.isDue, member.health == .lost {
                retire(member, at: now)
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
                member.finalAcknowledgement.isDue =
                    framing.saysFinalAcknowledgement && !mayMove(member)
                    && (health == .suspect || role == .initiator)
                    && anotherPath(than: member) != nil
            }
            switch health {
            case .usable:
                member.tcp.pathReturned(at: now)
                member.finalAcknowledgement.hasCome = false
                // A peer that gave the subflow up meanwhile answers with a reset, and a new one is
                // joined.
                member.tcp.requestAcknowledgement()
            case .suspect:
                // Who hears of it with the subflow's final ACK defers nothing.
                reinjectOutstanding(
                    of: member,
                    deferringAt: wasUsable && !member.finalAcknowledgement.hasCome ? now : nil)
                member.tcp.pathFellSilent()
            case .lost:
                if mayMove(member) {
                    member.timers.clear(.keyProof)
                } else if !member.finalAcknowledgement.isDue {
                    retire(member, pathEnded: role == .initiator && wasUsable, at: now)
                }
            }
        }
    }

    /// The peer's end of `path` has another address, which has shown that it receives.
    /// `isElsewhere`: not only its port is another.
    public func addressMoved(path: PathID, isElsewhere: Bool, at now: Instant) {
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
    public func heardElsewhere(subflow index: SubflowIndex, at now: Instant) {
        guard let member = member(index) else { return }
        member.tcp.heardElsewhere(at: now)
        member.finalAcknowledgement.hasCome = true
    }

    /// The first subflow of a session's connection outlives its path until the keys have arrived,
    /// since no other can be joined without them: it goes on over another path with the same
    /// numbers.
    func mayMove(_ member: MemberSubflow) -> Bool {
        guard framing.movesFirstSubflow, member.kind == .initial else { return false }
        return member.isOpener ? !member.proof.isKnownToPeer : remoteKey == nil
    }

    /// The first subflow, where it may still have to change its path (initiator).
    public var movableSubflow: SubflowIndex? {
        guard role == .initiator, framing.movesFirstSubflow, !hasFailed else { return nil }
        for case let member? in members
        where member.isAlive && !member.isEnding && mayMove(member) {
            return member.index
        }
        return nil
    }

    /// The first subflow goes on over `path`: its owner chose so, or the peer's segments come from
    /// there now.
    public func move(subflow index: SubflowIndex, to path: PathID, at now: Instant) {
        guard let member = member(index),
            member.path != path,
            mayMove(member)
        else { return }
        member.path = path
        sealing[index.value].forgetRecords()
        member.health = .usable
        member.tcp.pathChanged(at: now)
        repeatProof(member, at: now)
        inputChanged(at: now)
    }

    /// The first subflow is heard of until the keys are known to have arrived: the peer may have
    /// given it up meanwhile, and a side with nothing to send would never learn that.
    private func repeatProof(_ member: MemberSubflow, at now: Instant) {
        guard mayMove(member), member.isOpener, remoteKey != nil else { return }
        member.timers[.keyProof] = now + max(member.tcp.retransmissionTimeout, .milliseconds(200))
    }

    /// Makes the subflows on `path` backup or regular, telling the peer (MP_PRIO).
    public func setBackup(_ backup: Bool, path: PathID, at now: Instant) {
        for case let member? in members where member.path == path && member.priority.byUs != backup
        {
            member.priority.byUs = backup
            member.priority.left = framing.priorityRepetitions
            member.tcp.requestAcknowledgement()
            inputChanged(at: now)
        }
    }

    /// Ends the subflow on `path` in an orderly way (a mode that no longer wants it), once others
    /// carry its data.
    public func leave(path: PathID, at now: Instant) {
        for case let member? in members where member.path == path && !member.isEnding {
            member.ending.hasBegun = true
            member.tcp.close()
            inputChanged(at: now)
        }
    }
}

import Measures
import Subflow

/// Which subflow may carry what: candidates for the scheduler, and the choice where none is asked.
extension Connection {
    /// Fills `candidateScratch` with the subflows of the best standing that may carry data. A
    /// suspect one never does. Lower standing have those that a time-out made stale (2), backup
    /// ones (4, beside a handover that they aid 1; RFC 8684 section 3.3.8) and dear ones, added up.
    func collectCandidates(segment: Int, at now: Instant) {
        var best = 8
        candidateScratch.removeAll()
        let sparesDear = sparesDear(at: now)
        for i in members.indices {
            guard let member = members[i], member.health == .usable, mayCarryData(member)
            else { continue }
            let standing =
                (member.isStale ? 2 : 0)
                + (member.isBackup ? configuration.aidsHandover ? 1 : 4 : 0)
                + costStanding(member, sparesDear: sparesDear)
            if standing > best { continue }
            if standing < best { best = standing; candidateScratch.removeAll() }
            var c = SchedulingCandidate()
            c.subflow = member.index
            let size = min(segment, member.tcp.sendSegmentSize)
            c.room = member.tcp.dataRoom(at: now)
            // no small segments while an ACK is due
            if c.room < size, member.tcp.bytesInFlight > 0 || c.room == 0 {
                if member.tcp.windowRoom >= size {
                    wakeForPacing(of: member, at: now)
                }
                c.room = 0
            }
            if framing.limitsSubflowsByWindow { keepToSubflowWindow(&c, size: size, member) }
            // What stood in its queue is gone by now, where nothing is in flight.
            c.smoothedRTT =
                member.tcp.bytesInFlight > 0
                ? member.tcp.smoothedRTT
                : min(member.tcp.smoothedRTT, member.tcp.minimumRTT * 5 / 4)
            c.rttVariation = member.tcp.rttVariation
            c.congestionWindow = member.tcp.congestionWindow
            c.bytesInFlight = member.tcp.bytesInFlight
            c.measuredRate = member.tcp.expectedRate
            candidateScratch.append(c)
        }
    }

    /// The pacer alone holds the member's data back.
    func wakeForPacing(of member: MemberSubflow, at now: Instant) {
        timers.bringForward(
            .pacing, to: max(member.tcp.pacingRelease, now + Self.minimumPacingWait))
    }
    /// A timer fires no more exactly.
    private static let minimumPacingWait = Interval.microseconds(20)

    func fastestWithRoom() -> MemberSubflow? {
        var best: SubflowIndex?, bestRTT = Interval.max
        for i in 0..<candidateScratch.count
        where candidateScratch[i].room > 0
            && (best == nil || candidateScratch[i].smoothedRTT < bestRTT)
        {
            best = candidateScratch[i].subflow
            bestRTT = candidateScratch[i].smoothedRTT
        }
        return best.flatMap { member($0) }
    }

    /// The subflow for what takes no room: a DATA_FIN, a probe.
    func bestMember() -> MemberSubflow? {
        var best: MemberSubflow?, bestStanding = 8
        for case let member? in members where member.health != .lost && mayCarryData(member) {
            let standing =
                (member.health == .suspect ? 4 : 0) + (member.isStale ? 2 : 0)
                + (member.isBackup ? 1 : 0) + costStanding(member, sparesDear: true)
            if standing < bestStanding
                || (standing == bestStanding && member.tcp.smoothedRTT < best!.tcp.smoothedRTT)
            {
                best = member
                bestStanding = standing
            }
        }
        return best
    }

    func hasCarrier(besides member: MemberSubflow) -> Bool {
        for case let other? in members
        where other !== member && other.health == .usable && !other.isStale
            && mayCarryData(other)
        {
            return true
        }
        return false
    }

    /// A path that works, of another subflow.
    func anotherPath(than member: MemberSubflow) -> PathID? {
        for case let other? in members
        where other !== member && other.isAlive && other.health == .usable {
            return other.path
        }
        return nil
    }

    /// For every second repetition: each subflow in turn, since the best one may be deaf without
    /// knowing.
    func anotherMember() -> MemberSubflow? {
        for i in 0..<members.count {
            if let member = members[(fin.repeats.count / 2 + i) % members.count],
                member.health != .lost,
                mayCarryData(member)
            {
                return member
            }
        }
        return nil
    }
}

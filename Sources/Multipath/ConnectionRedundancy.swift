import Measures
import Subflow

/// The redundant scheduler: every byte goes on two paths, so that the loss of either, a silent one
/// too, is not noticed.
///
/// Each of the two subflows goes through the data by itself. Whoever is first at the end takes new
/// bytes; the other follows with copies, and leaves out what has a DATA_ACK meanwhile: a copy of
/// that helps nobody. Where only one path may carry data it is the usual scheduler.
extension Connection {
    /// Sends every byte on two paths from now on.
    public func sendRedundantly() { isRedundant = true }

    /// What redundant data came to.
    enum Redundancy {
        /// There are not two paths.
        case none
        /// Nothing to be sent now.
        case idle
        case sent
    }

    /// The next segment of either subflow.
    func redundantData(at now: Instant, into out: inout OutgoingSegment) -> Redundancy {
        guard isRedundant, members.count > 1 else { return .none }
        let waiting = max(sender.sendable, Int(sender.next &- sender.acknowledged))
        guard waiting > 0 else { return .none }
        collectCandidates(segment: waiting, at: now)
        guard let (first, second) = quickestPair() else { return .none }
        for place in 0..<2 {
            let i = place == 0 ? first : second
            guard candidateScratch[i].room > 0 else { continue }
            guard let member = member(candidateScratch[i].subflow) else { continue }
            let start = max(member.copies.redundantEnd, sender.acknowledged)
            if start < sender.next {
                let waiting = Int(sender.next &- start)
                let n = emit(
                    member, offset: start,
                    upTo: min(waiting, member.tcp.sendSegmentSize, candidateScratch[i].room),
                    isCopy: true, at: now, into: &out)
                traffic.counted.bytesReinjected += n
                member.copies.redundantEnd = start &+ UInt64(n)
                return .sent
            }
            guard sender.sendable > 0 else { continue }
            let offset = sender.next
            turn.lastCarrier = member.index
            let n = emit(
                member, offset: offset,
                upTo: min(sender.sendable, member.tcp.sendSegmentSize, candidateScratch[i].room),
                isCopy: false, at: now, into: &out)
            member.copies.redundantEnd = offset &+ UInt64(n)
            return .sent
        }
        return .idle
    }

    /// The candidates with the shortest round trips, on two paths; nil where there is one path.
    private func quickestPair() -> (Int, Int)? {
        var first: Int?, second: Int?
        for i in 0..<candidateScratch.count {
            if first == nil
                || candidateScratch[i].smoothedRTT < candidateScratch[first!].smoothedRTT
            {
                first = i
            }
        }
        guard let first, let path = member(candidateScratch[first].subflow)?.path else {
            return nil
        }
        for i in 0..<candidateScratch.count where member(candidateScratch[i].subflow)?.path != path
        {
            if second == nil
                || candidateScratch[i].smoothedRTT < candidateScratch[second!].smoothedRTT
            {
                second = i
            }
        }
        return second.map { (first, $0) }
    }
}

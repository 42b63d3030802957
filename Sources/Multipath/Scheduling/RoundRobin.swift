/// Takes the subflows with room in turn: for comparison, and where all paths are alike.
public struct RoundRobinScheduler: SegmentScheduler {
    private var last = -1
    /// Begins with the first subflow.
    public init() {}

    /// See `SegmentScheduler`.
    public mutating func choose(
        _ candidates: borrowing SchedulingCandidates, backlog: Int,
        segment: Int
    ) -> Int? {
        var best = -1
        for i in 0..<candidates.count where candidates[i].room > 0 {
            let id = candidates[i].subflow
            if best < 0 { best = i; continue }
            // The next one after the last used, wrapping.
            let after = id > last, bestAfter = candidates[best].subflow > last
            if after != bestAfter ? after : id < candidates[best].subflow { best = i }
        }
        if best >= 0 { last = candidates[best].subflow }
        return best >= 0 ? best : nil
    }
}

/// Takes the subflows with room in turn: for comparison, and where all paths are alike.
public struct RoundRobinScheduler: SegmentScheduler {
    private var last: SubflowIndex?
    /// Begins with the first subflow.
    public init() {}

    private func isAfterLast(_ index: SubflowIndex) -> Bool { last.map { index > $0 } ?? true }

    /// See `SegmentScheduler`.
    public mutating func choose(
        _ candidates: borrowing SchedulingCandidates, backlog: Int,
        segment: Int
    ) -> Int? {
        var best: Int?
        for i in 0..<candidates.count where candidates[i].room > 0 {
            guard let other = best else { best = i; continue }
            // The next one after the last used, wrapping.
            let index = candidates[i].subflow, otherIndex = candidates[other].subflow
            let after = isAfterLast(index), otherAfter = isAfterLast(otherIndex)
            if after != otherAfter ? after : index < otherIndex { best = i }
        }
        if let best { last = candidates[best].subflow }
        return best
    }
}

import Measures

/// Sends on the path that delivers soonest, and on a slower one only what the faster could not
/// deliver earlier (after Lim et al., *ECF*, CoNEXT'17; and BLEST's view of what blocks the
/// receiver).
///
/// The faster path with room always goes first. Where it has none, a slower one with room gets the
/// segment only if the whole backlog, sent on the faster one alone, would end later than one
/// segment takes on the slower: otherwise its bytes would arrive behind those that waited.
public struct PredictedArrivalScheduler: SegmentScheduler {
    /// Keeps nothing between two segments.
    public init() {}

    /// See `SegmentScheduler`.
    public mutating func choose(
        _ candidates: borrowing SchedulingCandidates, backlog: Int,
        segment: Int
    ) -> Int? {
        var fastest: Int?, ready: Int?
        var fastestRTT = Interval.max, readyRTT = Interval.max
        for i in 0..<candidates.count {
            let rtt = candidates[i].smoothedRTT
            if rtt < fastestRTT { fastest = i; fastestRTT = rtt }
            if candidates[i].room > 0, rtt < readyRTT { ready = i; readyRTT = rtt }
        }
        guard let ready, let fastest else { return nil }
        guard ready != fastest else { return ready }
        let fast = candidates[fastest], slow = candidates[ready]
        let margin = max(fast.rttVariation.seconds, slow.rttVariation.seconds)
        let wholeBacklogOnFast = Double(backlog) / fast.rate + fast.smoothedRTT.seconds
        let segmentOnSlow = Double(segment) / slow.rate + slow.smoothedRTT.seconds
        return wholeBacklogOnFast < segmentOnSlow + margin ? nil : ready
    }
}

/// The clock by which the past grows old: the wall clock, but for one that is ahead all of a
/// sudden. What is ahead makes nothing old before it has been so for a day: a clock that is wrong
/// for a while (a flat battery, a person's hand) takes nobody's history away.
struct AgeClock {
    /// Milliseconds.
    private static let leap: Int64 = 2 * 86_400_000, belief: Int64 = 86_400_000
    /// Wall clock less monotonic clock, as believed.
    private var offset: Int64?
    /// What it is ahead by, and since when by the monotonic clock.
    private var ahead: (offset: Int64, since: Int64)?

    /// Now, ms since 1970 UTC. `latest`: of what is known at the beginning, when the last thing
    /// happened; asked once.
    mutating func now(
        wall: Int64, monotonic: Int64, latest: () -> Int64?
    ) -> Int64 {
        let present = wall &- monotonic
        let believed = offset ?? latest().map { min($0 &- monotonic, present) } ?? present
        if present &- believed <= Self.leap {
            offset = present
            ahead = nil
            return wall
        }
        offset = believed
        if ahead.map({ abs($0.offset &- present) > Self.leap }) ?? true {
            ahead = (present, monotonic)
        }
        guard let since = ahead?.since, monotonic &- since >= Self.belief else {
            return monotonic &+ believed
        }
        offset = present
        ahead = nil
        return wall
    }
}

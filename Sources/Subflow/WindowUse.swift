import Measures

/// Whether the congestion window held data back in the present window of data or the last: only
/// then may it grow (RFC 7661's question, answered as Linux does).
struct WindowUse {
    private(set) var isLimited = false
    /// The most that was in flight, bytes.
    private(set) var largest = 0
    /// The window of data ends here.
    private var end: SubflowSequence

    init(from sequence: SubflowSequence) { end = sequence }

    /// It stands in the way of data.
    @inline(__always) mutating func limits() { isLimited = true }

    /// New data left; what is in flight with it, bytes.
    @inline(__always) mutating func sent(
        inFlight: Int, isLimited: Bool, unacknowledged: SubflowSequence, next: SubflowSequence
    ) {
        if end.isAtOrBefore(unacknowledged) || isLimited
            || (!self.isLimited && inFlight > largest)
        {
            self.isLimited = isLimited
            largest = inFlight
            end = next
        }
    }

    /// In slow start also while at least half of it was used.
    func mayGrow(window: Int, inSlowStart: Bool) -> Bool {
        isLimited || (inSlowStart && window < 2 &* largest)
    }
}

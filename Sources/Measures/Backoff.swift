/// How often in a row something was tried in vain, and so how long the next try waits: twice as
/// long for each of them.
///
/// The wait that is doubled is an argument, since where it follows from a round trip it is another
/// one each time. `Repeater` is for what keeps to the first one it had.
public struct Backoff: Hashable, Sendable {
    /// Tries without success, since the last one that had some.
    public private(set) var count = 0
    private let maximumDoublings: Int

    /// `maximumDoublings`: tries beyond so many make the wait no longer.
    public init(maximumDoublings: Int = .max) { self.maximumDoublings = maximumDoublings }

    /// One more was in vain.
    public mutating func failed() { count &+= 1 }

    /// One succeeded, or there is something else to try.
    public mutating func reset() { count = 0 }

    /// How long the next try waits, where the first would wait for `first`; `maximum` at most.
    public func wait(_ first: Interval, maximum: Interval = .max) -> Interval {
        first.doubled(min(count, maximumDoublings), maximum: maximum)
    }
}

extension Interval {
    /// Twice as long, so many times over; `maximum` at most. As it is where `times` is not
    /// above zero.
    @inlinable public func doubled(_ times: Int, maximum: Interval = .max) -> Interval {
        guard times > 0 else { return Swift.min(self, maximum) }
        guard times < 63, nanoseconds <= maximum.nanoseconds >> Int64(times) else { return maximum }
        return Interval(nanoseconds: nanoseconds << Int64(times))
    }
}

/// A point in time on the engine's clock, in nanoseconds since an origin that the caller chose.
///
/// The engine never reads a clock: every input carries its `Instant`.
public struct Instant: Hashable, Comparable, Sendable {
    /// Nanoseconds; any value is right.
    public var nanoseconds: Int64

    /// A number of nanoseconds since the clock's beginning.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// Where the clock begins; before it nothing has happened.
    public static let zero = Instant(nanoseconds: 0)
    /// Later than anything that happens: the deadline of a timer that is not armed.
    public static let distantFuture = Instant(nanoseconds: .max)

    /// Earlier.
    @inlinable public static func < (a: Instant, b: Instant) -> Bool {
        a.nanoseconds < b.nanoseconds
    }
    /// The instant `b` later, saturating.
    @inlinable public static func + (a: Instant, b: Interval) -> Instant {
        // An armed timer plus "for ever" stays "for ever" instead of wrapping into the past.
        Instant(nanoseconds: saturatingSum(a.nanoseconds, b.nanoseconds))
    }
    /// The instant `b` earlier, saturating.
    @inlinable public static func - (a: Instant, b: Interval) -> Instant {
        Instant(nanoseconds: a.nanoseconds &- b.nanoseconds)
    }
    /// The time from `b` to `a`, below zero where `a` is earlier; saturating.
    @inlinable public static func - (a: Instant, b: Instant) -> Interval {
        Interval(nanoseconds: a.nanoseconds &- b.nanoseconds)
    }
    /// Moves on by `b`, saturating.
    @inlinable public static func += (a: inout Instant, b: Interval) { a = a + b }
}

/// The sum, or the nearest representable number.
@inlinable func saturatingSum(_ a: Int64, _ b: Int64) -> Int64 {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? (a < 0 ? .min : .max) : sum
}

/// The whole number nearest to zero from `value`, or the nearest representable one; zero for "not a
/// number".
@inlinable func saturatingInt64(_ value: Double) -> Int64 {
    if value >= 0x1p63 { return .max }
    if value <= -0x1p63 { return .min }
    return value.isNaN ? 0 : Int64(value)
}

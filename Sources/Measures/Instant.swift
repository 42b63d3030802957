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

/// A length of time in nanoseconds; may be negative. Sums and products saturate: "for ever" and a
/// millisecond is still "for ever".
public struct Interval: Hashable, Comparable, Sendable {
    /// Nanoseconds; any value is right.
    public var nanoseconds: Int64

    /// A number of nanoseconds, which may be negative.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    /// `n` ns.
    @inlinable public static func nanoseconds(_ n: Int64) -> Interval { Interval(nanoseconds: n) }
    /// `n` µs; `n` within ±9.2e15.
    @inlinable public static func microseconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: n &* 1_000)
    }
    /// `n` ms; `n` within ±9.2e12.
    @inlinable public static func milliseconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: n &* 1_000_000)
    }
    /// `n` s; `n` within ±9.2e9.
    @inlinable public static func seconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: n &* 1_000_000_000)
    }
    /// The nearest nanosecond towards zero, saturating; zero for "not a number".
    @inlinable public init(seconds: Double) { nanoseconds = saturatingInt64(seconds * 1e9) }

    /// No time at all.
    public static let zero = Interval(nanoseconds: 0)
    /// For ever: 292 years, and what sums saturate at.
    public static let max = Interval(nanoseconds: .max)

    /// The same in seconds.
    @inlinable public var seconds: Double { Double(nanoseconds) / 1e9 }
    /// The same in milliseconds.
    @inlinable public var milliseconds: Double { Double(nanoseconds) / 1e6 }

    /// Shorter; a negative one is shorter than none.
    @inlinable public static func < (a: Interval, b: Interval) -> Bool {
        a.nanoseconds < b.nanoseconds
    }
    /// Saturating.
    @inlinable public static func + (a: Interval, b: Interval) -> Interval {
        Interval(nanoseconds: saturatingSum(a.nanoseconds, b.nanoseconds))
    }
    /// Saturating.
    @inlinable public static func - (a: Interval, b: Interval) -> Interval {
        let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
        return Interval(nanoseconds: overflow ? (a.nanoseconds < 0 ? .min : .max) : difference)
    }
    /// `b` times as long, saturating.
    @inlinable public static func * (a: Interval, b: Int64) -> Interval {
        let (product, overflow) = a.nanoseconds.multipliedReportingOverflow(by: b)
        return Interval(
            nanoseconds: overflow ? ((a.nanoseconds < 0) == (b < 0) ? .max : .min) : product)
    }
    /// The `b`th part, towards zero; `b` is not zero.
    @inlinable public static func / (a: Interval, b: Int64) -> Interval {
        Interval(nanoseconds: a.nanoseconds / b)
    }
    /// Longer by `b`, saturating.
    @inlinable public static func += (a: inout Interval, b: Interval) { a = a + b }
    /// The same length the other way.
    @inlinable public static prefix func - (a: Interval) -> Interval {
        Interval(nanoseconds: 0 &- a.nanoseconds)
    }
}

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

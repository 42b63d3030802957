/// A number of bytes; what limits and totals are counted in.
public struct ByteCount: Hashable, Comparable, Sendable {
    /// Bytes, never negative.
    public var bytes: Int
    /// So many bytes.
    @inlinable public init(_ bytes: Int) { self.bytes = bytes }
    /// `n` times 1,024 bytes.
    @inlinable public static func kibibytes(_ n: Int) -> ByteCount { ByteCount(n << 10) }
    /// `n` times 1,048,576 bytes.
    @inlinable public static func mebibytes(_ n: Int) -> ByteCount { ByteCount(n << 20) }
    /// Fewer bytes.
    @inlinable public static func < (a: ByteCount, b: ByteCount) -> Bool { a.bytes < b.bytes }
    /// The sum, which the caller knows to fit 63 bits.
    @inlinable public static func + (a: ByteCount, b: ByteCount) -> ByteCount {
        ByteCount(a.bytes &+ b.bytes)
    }
    /// Adds, as `+` does.
    @inlinable public static func += (a: inout ByteCount, b: ByteCount) { a = a + b }
}

/// A data rate in bytes per second, never negative. Zero means "not known" or "nothing moves".
public struct Rate: Hashable, Comparable, Sendable {
    /// Bytes per second, 0 or more.
    public var bytesPerSecond: Int64

    /// From bytes per second, 0 or more.
    @inlinable public init(bytesPerSecond: Int64) { self.bytesPerSecond = bytesPerSecond }
    /// From millions of bits per second, saturating.
    @inlinable public static func megabitsPerSecond(_ n: Double) -> Rate {
        Rate(bytesPerSecond: saturatingInt64(n * 125_000))
    }
    /// The rate that moves `bytes` in `interval`; zero for an empty interval.
    @inlinable public init(bytes: Int, in interval: Interval) {
        bytesPerSecond =
            interval.nanoseconds <= 0
            ? 0 : saturatingInt64(Double(bytes) * 1e9 / Double(interval.nanoseconds))
    }

    /// Not known, or nothing moves.
    public static let zero = Rate(bytesPerSecond: 0)
    /// In millions of bits per second.
    @inlinable public var megabitsPerSecond: Double { Double(bytesPerSecond) / 125_000 }

    /// How many bytes are under way at `gain` times this rate in a round trip, rounded down.
    @inlinable public func product(_ gain: Double, _ roundTrip: Interval) -> Int {
        Int(saturatingInt64(gain * Double(bytesPerSecond) * roundTrip.seconds))
    }

    /// How long `bytes` take at this rate; for ever at rate zero.
    @inlinable public func time(for bytes: Int) -> Interval {
        bytesPerSecond <= 0
            ? .max
            : Interval(nanoseconds: saturatingInt64(Double(bytes) * 1e9 / Double(bytesPerSecond)))
    }
    /// How many bytes fit into `interval` at this rate, rounded down.
    @inlinable public func bytes(in interval: Interval) -> Int {
        interval.nanoseconds <= 0
            ? 0 : Int(saturatingInt64(Double(bytesPerSecond) * Double(interval.nanoseconds) / 1e9))
    }
    /// Slower.
    @inlinable public static func < (a: Rate, b: Rate) -> Bool {
        a.bytesPerSecond < b.bytesPerSecond
    }
    /// The sum of two rates, which the caller knows to fit 63 bits.
    @inlinable public static func + (a: Rate, b: Rate) -> Rate {
        Rate(bytesPerSecond: a.bytesPerSecond &+ b.bytesPerSecond)
    }
    /// This rate times a gain, such as BBR's pacing gain.
    @inlinable public func scaled(by gain: Double) -> Rate {
        Rate(bytesPerSecond: saturatingInt64(Double(bytesPerSecond) * gain))
    }
}

/// A number of bytes; what limits and totals are counted in.
public struct ByteCount: Hashable, Comparable, Sendable {
    public var bytes: Int
    @inlinable public init(_ bytes: Int) { self.bytes = bytes }
    @inlinable public static func kibibytes(_ n: Int) -> ByteCount { ByteCount(n << 10) }
    @inlinable public static func mebibytes(_ n: Int) -> ByteCount { ByteCount(n << 20) }
    @inlinable public static func < (a: ByteCount, b: ByteCount) -> Bool { a.bytes < b.bytes }
    @inlinable public static func + (a: ByteCount, b: ByteCount) -> ByteCount {
        ByteCount(a.bytes &+ b.bytes)
    }
    @inlinable public static func += (a: inout ByteCount, b: ByteCount) { a = a + b }
}

/// A data rate in bytes per second, never negative. Zero means "not known" or "nothing moves".
public struct Rate: Hashable, Comparable, Sendable {
    public var bytesPerSecond: Int64

    @inlinable public init(bytesPerSecond: Int64) { self.bytesPerSecond = bytesPerSecond }
    @inlinable public static func megabitsPerSecond(_ n: Double) -> Rate {
        Rate(bytesPerSecond: saturatingInt64(n * 125_000))
    }
    /// The rate that moves `bytes` in `interval`; zero for an empty interval.
    @inlinable public init(bytes: Int, in interval: Interval) {
        bytesPerSecond =
            interval.nanoseconds <= 0
            ? 0 : saturatingInt64(Double(bytes) * 1e9 / Double(interval.nanoseconds))
    }

    public static let zero = Rate(bytesPerSecond: 0)
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
    @inlinable public static func < (a: Rate, b: Rate) -> Bool {
        a.bytesPerSecond < b.bytesPerSecond
    }
    @inlinable public static func + (a: Rate, b: Rate) -> Rate {
        Rate(bytesPerSecond: a.bytesPerSecond &+ b.bytesPerSecond)
    }
    /// This rate times a gain, such as BBR's pacing gain.
    @inlinable public func scaled(by gain: Double) -> Rate {
        Rate(bytesPerSecond: saturatingInt64(Double(bytesPerSecond) * gain))
    }
}

import Glibc

/// An hour of the wall clock, with the local calendar's day in which it (or this part of it) lies.
public struct UsageHour: Hashable, Comparable, Sendable {
    /// Hours since 1970 UTC.
    public let hour: Int
    /// The local day: 20260131.
    public let day: Int
    /// The local month: 202601.
    public var month: Int { day / 100 }

    /// Of an hour and a day as the store has them.
    public init(hour: Int, day: Int) {
        self.hour = hour
        self.day = day
    }

    /// In which `milliseconds` since 1970 UTC lie, by the time zone of this process.
    public init(milliseconds: Int64) {
        var seconds = time_t(max(0, milliseconds) / 1_000), local = tm()
        hour = Int(seconds) / 3_600
        localtime_r(&seconds, &local)
        day =
            (Int(local.tm_year) + 1_900) * 10_000 + (Int(local.tm_mon) + 1) * 100
            + Int(local.tm_mday)
    }

    public static func < (a: UsageHour, b: UsageHour) -> Bool { (a.hour, a.day) < (b.hour, b.day) }
}

/// A clock that nobody sets, for how long things took.
public enum SteadyClock {
    /// Milliseconds since the machine began, its sleep included.
    public static func milliseconds() -> Int64 {
        var t = timespec()
        clock_gettime(CLOCK_BOOTTIME, &t)
        return Int64(t.tv_sec) &* 1_000 &+ Int64(t.tv_nsec) / 1_000_000
    }
}

/// The wall clock.
public enum WallClock {
    /// Milliseconds since 1970 UTC, as the system believes.
    public static func milliseconds() -> Int64 {
        var t = timespec()
        clock_gettime(CLOCK_REALTIME, &t)
        return Int64(t.tv_sec) &* 1_000 &+ Int64(t.tv_nsec) / 1_000_000
    }
}

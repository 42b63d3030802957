import CDatagram

/// How the process shares processors with others.
public enum ProcessorShare {
    /// Processor time it asks for at once, nanoseconds: less than any turn of its loop takes.
    static let timeSlice: UInt64 = 100_000

    /// Asks for short turns, so that what arrives is looked at soon though others compute: Linux's
    /// scheduler lets who wants less at a time go ahead of who runs, and its share stays the same.
    /// Kernels before 6.12 know nothing of it and go on as ever.
    public static func preferShortTurns() { _ = braid_set_time_slice(timeSlice) }
}

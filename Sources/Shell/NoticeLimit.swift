import Measures

/// Lets through so many records in a span of time, and counts the rest: what a stranger or a
/// careless application can cause as often as it likes must not fill the log.
public struct NoticeLimit: Sendable {
    private let maximum: Int
    private let span: Interval
    private var began = Instant.zero
    private var said = 0
    private var suppressed = 0

    /// Lets `maximum` records through in each `span`, which begins with its first record.
    public init(_ maximum: Int = 20, in span: Interval = .seconds(10)) {
        self.maximum = maximum; self.span = span
    }

    /// Nil: keep quiet. Otherwise speak, and mention this many that were not spoken of.
    public mutating func pass(at now: Instant) -> Int? {
        if now - began >= span { began = now; said = 0 }
        guard said < maximum else { suppressed += 1; return nil }
        said += 1
        defer { suppressed = 0 }
        return suppressed
    }
}

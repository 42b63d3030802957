/// How often a duration fell into which range, for Prometheus and for the page.
public struct Histogram: Equatable, Sendable {
    /// Upper bounds of the ranges, seconds, ascending; what is beyond the last one has a range of
    /// its own.
    public let bounds: [Double]
    /// One for each bound, and one for what is beyond; not cumulative.
    public private(set) var counts: [Int]
    /// Of everything that was added, seconds.
    public private(set) var sum = 0.0
    /// How many were added.
    public var count: Int { counts.reduce(0, &+) }

    /// For pauses and round trips: from a LAN to a handover that took too long.
    public static let durations = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10
    ]

    /// Of nothing yet.
    public init(bounds: [Double] = Histogram.durations) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    /// One duration more, in seconds; what is no number or less than nothing is left out.
    public mutating func add(_ seconds: Double) {
        guard seconds >= 0, seconds.isFinite else { return }
        counts[bounds.firstIndex { seconds <= $0 } ?? bounds.count] &+= 1
        sum += seconds
    }

    /// What another one of the same bounds counted meanwhile.
    public mutating func add(counts more: [Int], sum moreSum: Double) {
        for (place, count) in zip(counts.indices, more) { counts[place] &+= count }
        sum += moreSum
    }
}

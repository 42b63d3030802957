/// Smoothed round-trip time and its variation (RFC 6298 section 2), and the shortest of the last
/// while. For whatever is answered: a subflow's segments, a path's probes.
public struct RTTEstimator: Sendable {
    /// Below this the event loop is measured, not the path; also keeps divisions by the RTT sane.
    public static let granularity = Interval.microseconds(1)

    /// SRTT; zero while nothing is known.
    public private(set) var smoothed = Interval.zero
    /// RTTVAR; zero while nothing is known.
    public private(set) var variation = Interval.zero
    /// Whether anything was measured here; an expectation from elsewhere does not count.
    public private(set) var hasSample = false
    /// How long a minimum is believed, since a route may have become longer.
    private let minimumLifetime: Interval
    // The minimum over the present and the previous lifetime.
    private var presentMinimum = Interval.max
    private var previousMinimum = Interval.max
    private var minimumSince: Instant

    /// `minimumLifetime`: the minimum is that of the last one to two times so long.
    public init(minimumLifetime: Interval, at now: Instant) {
        self.minimumLifetime = minimumLifetime
        minimumSince = now
    }

    /// Whether `smoothed` and `variation` mean anything.
    public var isKnown: Bool { smoothed > .zero }
    /// The shortest round trip of the last one to two lifetimes; `.max` while unknown.
    public var minimum: Interval { min(presentMinimum, previousMinimum) }

    /// Takes what was measured elsewhere on the same way; the first sample is averaged with it.
    public mutating func expect(smoothed: Interval, variation: Interval, minimum: Interval) {
        self.smoothed = smoothed
        self.variation = variation
        presentMinimum = minimum
    }

    /// Takes a round trip that was measured, at least `granularity`.
    public mutating func add(_ measured: Interval, at now: Instant) {
        let sample = max(measured, Self.granularity)
        if now - minimumSince > minimumLifetime {
            previousMinimum = presentMinimum
            presentMinimum = sample
            minimumSince = now
        } else if sample < presentMinimum {
            presentMinimum = sample
        }
        if smoothed == .zero {
            smoothed = sample
            variation = sample / 2
        } else {
            let difference = abs(smoothed.nanoseconds &- sample.nanoseconds)
            variation.nanoseconds &+= (difference &- variation.nanoseconds) >> 2
            smoothed.nanoseconds &+= (sample.nanoseconds &- smoothed.nanoseconds) >> 3
        }
        hasSample = true
    }

    /// The way leads somewhere else now: the next sample is the first.
    public mutating func forget(at now: Instant) {
        self = RTTEstimator(minimumLifetime: minimumLifetime, at: now)
    }

    /// Within this time an answer should be here (RFC 6298 section 2.3): the smoothed round trip
    /// and `multiple` times its variation, which counts as `minimumVariation` at the least.
    public func bound(multiple: Int64, minimumVariation: Interval) -> Interval {
        smoothed + max(variation * multiple, minimumVariation)
    }
}

import Measures
import Multipath
import Subflow

/// Round trips on a path, by its probes (RFC 6298 section 2), and what a subflow that begins there
/// should expect.
struct PathRoundTrip {
    private var estimator = RTTEstimator(minimumLifetime: .seconds(60), at: .zero)
    private var firstFlights = FirstFlights()
    /// The latest of them, by turns; `.max` where there were fewer.
    private var latest = InlineArray<4, Interval>(repeating: .max)
    private var place = 0

    var smoothed: Interval { estimator.smoothed }
    var variation: Interval { estimator.variation }
    var isKnown: Bool { estimator.isKnown }
    /// The shortest of the last one to two minutes; zero while nothing was measured.
    var minimum: Interval { estimator.isKnown ? estimator.minimum : .zero }

    /// The shortest of the latest four, a second apart while something is being transferred:
    /// without the queue that our own traffic fills by turns, and with one that others keep full.
    /// Nil while there are fewer.
    var recentMinimum: Interval? {
        var shortest = Interval.max
        for i in latest.indices {
            if latest[i] == .max { return nil }
            shortest = min(shortest, latest[i])
        }
        return shortest
    }

    mutating func add(_ sample: Interval, at now: Instant) {
        if !estimator.isKnown { estimator.forget(at: now) }
        estimator.add(sample, at: now)
        latest[place] = sample
        place = (place + 1) % latest.count
    }

    /// The path leads somewhere else: what was measured means nothing there.
    mutating func forget(at now: Instant) {
        estimator.forget(at: now)
        latest = .init(repeating: .max)
    }

    /// Within this time a probe should be answered.
    var probeTimeout: Interval {
        guard isKnown else { return Limits.initialTimeout }
        return min(bound(multiple: 4), Limits.maximumTimeout)
    }

    /// The smoothed round trip and `multiple` times its variation.
    func bound(multiple: Int64, minimumVariation: Interval = Limits.minimumVariation) -> Interval {
        estimator.bound(multiple: multiple, minimumVariation: minimumVariation)
    }

    /// What a subflow that begins now should expect; nil while nothing was measured.
    mutating func estimate(at now: Instant) -> PathEstimate? {
        let begun = firstFlights.begin(at: now)
        guard estimator.isKnown else { return nil }
        return PathEstimate(
            smoothedRTT: smoothed, rttVariation: variation, minimumRTT: minimum,
            maximumInitialSegments: max(Limits.minimumFirstFlight, Limits.firstFlights / begun))
    }
}

/// Subflows that began on a path within a second of the first of them: their first flights meet in
/// its queue.
struct FirstFlights {
    private var begun = 0
    private var since = Instant.zero

    /// Another one begins; how many there are with it.
    mutating func begin(at now: Instant) -> Int {
        if now - since > .seconds(1) { begun = 0; since = now }
        begun += 1
        return begun
    }
}

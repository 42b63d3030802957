import Measures
import Multipath
import Subflow

/// Round trips on a path, by its probes (RFC 6298 section 2), and what a subflow that begins there
/// should expect.
struct PathRoundTrip {
    private(set) var smoothed = Interval.zero
    private(set) var variation = Interval.zero
    private var presentMinimum = Interval.zero
    private var previousMinimum = Interval.max
    private var minimumSince = Instant.zero

    // Subflows that began on the path within a second of the first of them: their first flights
    // meet in its queue.
    private var begun = 0
    private var begunSince = Instant.zero

    var isKnown: Bool { smoothed > .zero }
    /// The shortest of the last one to two minutes; zero while nothing was measured.
    var minimum: Interval { min(presentMinimum, previousMinimum) }

    mutating func add(_ sample: Interval, at now: Instant) {
        if !isKnown {
            smoothed = max(sample, .nanoseconds(1))
            variation = sample / 2
            presentMinimum = sample
            minimumSince = now
            return
        }
        let off = smoothed > sample ? smoothed - sample : sample - smoothed
        variation = (variation * 3 + off) / 4
        smoothed = max((smoothed * 7 + sample) / 8, .nanoseconds(1))
        // The least of the last one to two minutes: a route may have become longer.
        if now - minimumSince > .seconds(60) {
            previousMinimum = presentMinimum
            presentMinimum = sample
            minimumSince = now
        }
        presentMinimum = min(presentMinimum, sample)
    }

    /// The path leads somewhere else: what was measured means nothing there.
    mutating func forget() {
        smoothed = .zero
        variation = .zero
        previousMinimum = .max
    }

    /// Within this time a probe should be answered.
    var probeTimeout: Interval {
        guard isKnown else { return Limits.initialTimeout }
        return min(bound(multiple: 4), Limits.maximumTimeout)
    }

    /// The smoothed round trip and `multiple` times its variation.
    func bound(multiple: Int64) -> Interval {
        smoothed + max(variation * multiple, Limits.minimumVariation)
    }

    /// What a subflow that begins now should expect; nil while nothing was measured.
    mutating func estimate(at now: Instant) -> PathEstimate? {
        if now - begunSince > .seconds(1) { begun = 0; begunSince = now }
        begun += 1
        guard isKnown else { return nil }
        return PathEstimate(
            smoothedRTT: smoothed, rttVariation: variation, minimumRTT: minimum,
            maximumInitialSegments: max(Limits.minimumFirstFlight, Limits.firstFlights / begun))
    }
}

import Measures

/// Round-trip time and retransmission time-out (RFC 6298), in nanoseconds.
struct RTTEstimator {
    /// How long a minimum is believed: a route may have become longer.
    static let minimumLifetime = Interval.seconds(30)
    /// Below this the event loop is measured, not the path; also keeps divisions by the RTT sane.
    static let granularity = Interval.microseconds(1)

    private(set) var smoothed = Interval.zero
    private(set) var variation = Interval.zero
    private(set) var latest = Interval.zero
    private(set) var hasSample = false
    /// RTOs in a row (RFC 6298 section 5.5); each doubles the time-out.
    private(set) var backoffs = 0
    // The minimum over the present and the previous lifetime.
    private var presentMinimum = Interval.max
    private var previousMinimum = Interval.max
    private var minimumSince = Instant.zero
    private var base: Interval
    private let floor: Interval
    private let ceiling: Interval

    init(_ configuration: borrowing SubflowConfiguration, estimate: PathEstimate?, at now: Instant)
    {
        floor = configuration.minimumRTO
        ceiling = configuration.maximumRTO
        base = configuration.initialRTO
        minimumSince = now
        if let estimate, estimate.smoothedRTT > .zero {
            smoothed = estimate.smoothedRTT
            variation = estimate.rttVariation
            presentMinimum =
                estimate.minimumRTT > .zero ? estimate.minimumRTT : estimate.smoothedRTT
            latest = smoothed
            computeTimeout()
        }
    }

    var isKnown: Bool { smoothed > .zero }
    /// `.max` while unknown.
    var minimum: Interval { min(presentMinimum, previousMinimum) }
    /// RFC 6298 sections 2 and 5.5.
    var timeout: Interval {
        let doubled =
            backoffs > 20 ? ceiling : Interval(nanoseconds: base.nanoseconds << Int64(backoffs))
        return min(doubled, ceiling)
    }

    mutating func add(_ measured: Interval, at now: Instant) {
        let sample = max(measured, RTTEstimator.granularity)
        latest = sample
        if now - minimumSince > RTTEstimator.minimumLifetime {
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
        computeTimeout()
    }

    /// The path leads somewhere else: the next sample is the first.
    mutating func forget(_ configuration: borrowing SubflowConfiguration, at now: Instant) {
        self = RTTEstimator(configuration, estimate: nil, at: now)
    }
    mutating func backOff() { backoffs += 1 }
    /// The path is known to carry again; what its silence taught about time-outs is void.
    mutating func forgetBackoffs() { backoffs = 0 }
    /// New data was acknowledged: the path carries again.
    mutating func endBackoff() {
        // RFC 6298 section 5.7: the SYN timed out and nothing was measured.
        if backoffs > 0, !isKnown { base = max(base, min(.seconds(3), ceiling)) }
        backoffs = 0
    }

    private mutating func computeTimeout() {
        let raw = smoothed + max(RTTEstimator.granularity, variation * 4)
        base = min(max(raw, floor), ceiling)
    }
}

import Measures

/// The retransmission time-out of one subflow (RFC 6298): from its round trip, doubled with each
/// time-out in a row.
struct RetransmissionTimeout {
    /// RTOs since new data was last acknowledged.
    private(set) var backoffs = 0
    /// RTOs since the round trip was last measured (RFC 6298 section 5.5); each doubles the
    /// time-out. An acknowledgement of what was sent twice does not end them (Karn's algorithm,
    /// sections 3 and 5.7): it may be the original's, and a time-out that has become too short for
    /// the queue it waits behind would go on resending what arrives all the same.
    private var doublings = 0
    /// As many stay until then; more would make the next loss wait for as long as an outage lasted.
    private static let maximumKept = 3
    /// Without back-off, between `minimum` and `maximum`.
    private var base: Interval
    private let initial: Interval
    private let minimum: Interval
    private let maximum: Interval

    init(_ configuration: borrowing SubflowConfiguration) {
        minimum = configuration.minimumRTO
        maximum = configuration.maximumRTO
        initial = configuration.initialRTO
        base = initial
    }

    /// RFC 6298 sections 2 and 5.5.
    var value: Interval {
        base.doubled(doublings, maximum: maximum)
    }

    /// The round trip was measured (section 2.3).
    mutating func follow(_ rtt: borrowing RTTEstimator) {
        let raw = rtt.bound(multiple: 4, minimumVariation: RTTEstimator.granularity)
        base = min(max(raw, minimum), maximum)
        doublings = 0
    }

    mutating func backOff() {
        backoffs += 1
        doublings += 1
    }

    /// The path is known to carry again; what its silence taught about time-outs is void.
    mutating func forgetBackoffs() {
        backoffs = 0
        doublings = 0
    }

    /// New data was acknowledged: the path carries again.
    mutating func endBackoff(isMeasured: Bool) {
        // RFC 6298 section 5.7: the SYN timed out and nothing was measured.
        if backoffs > 0, !isMeasured {
            base = max(base, min(.seconds(3), maximum))
            doublings = 0
        }
        doublings = min(doublings, Self.maximumKept)
        backoffs = 0
    }

    /// Nothing is known of the path any more.
    mutating func forget() {
        base = initial
        forgetBackoffs()
    }
}

import Measures

/// A time in which no more is in flight than fills the path but no queue, so that the path's own
/// round trip shows (ProbeRTT).
struct RTTProbe {
    /// Bytes that may be in flight meanwhile.
    private(set) var window = 0
    /// What held when it began: the congestion window, the rate at which data arrived, the round
    /// trip.
    private(set) var before = (window: 0, rate: Rate.zero, rtt: Interval.zero)
    /// The least round trip of what was sent with an empty queue; `.max` until there is one.
    private(set) var rtt = Interval.max
    private(set) var began = Instant.zero
    /// The last time when more was in flight, of which a queue may have been left.
    private var fullAt = Instant.zero

    init() {}
    init(window: Int, before: (window: Int, rate: Rate, rtt: Interval), at now: Instant) {
        self.window = window
        self.before = before
        began = now
        fullAt = now
    }

    /// Whether it is over with this acknowledgement: not before something that was sent after the
    /// queue was empty has arrived, however long that takes.
    mutating func ends(with sample: borrowing AcknowledgementSample) -> Bool {
        let now = sample.now, roundTrip = sample.rtt
        if sample.inFlight > window {
            fullAt = now
        } else if roundTrip > .zero, now - roundTrip >= fullAt {
            rtt = min(rtt, roundTrip)
        }
        return rtt != .max && now >= began + BBR.probeRTTLength
    }
}

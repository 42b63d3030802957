import Measures

/// A time in which no more is in flight than fills the path but no queue, so that the path's own
/// round trip shows (ProbeRTT).
struct RTTProbe {
    /// Bytes that may be in flight meanwhile.
    private(set) var window = 0
    /// It began since the round trip was long, so that a queue may stand; and while the application
    /// sent less than it might have.
    private(set) var wasLong = false, isHeldBack = false
    /// What held when it began: the congestion window, the rate at which data arrived, the round
    /// trip.
    private(set) var before = (window: 0, rate: Rate.zero, rtt: Interval.zero)
    /// The least round trip of what was sent with an empty queue; `.max` until there is one.
    private(set) var rtt = Interval.max
    private(set) var began = Instant.zero
    /// The last time when more was in flight, of which a queue may have been left.
    private var fullAt = Instant.zero
    /// What arrived until then, and the rate of the acknowledgement that came then.
    private var drained = 0
    private var latest = Rate.zero

    init() {}
    init(
        window: Int, wasLong: Bool, isHeldBack: Bool,
        before: (window: Int, rate: Rate, rtt: Interval), at now: Instant
    ) {
        self.window = window
        self.wasLong = wasLong
        self.isHeldBack = isHeldBack
        self.before = before
        latest = before.rate
        began = now
        fullAt = now
    }

    /// The rate at which the queue drained; that before where it took no time.
    var drainRate: Rate {
        fullAt - began < BBR.probeRTTLength
            ? before.rate : max(Rate(bytes: drained, in: fullAt - began), latest)
    }

    /// While the queue drains, what arrives shows ever more surely what the line carries.
    mutating func lower(to bytes: Int, _ sample: borrowing AcknowledgementSample) {
        guard sample.inFlight > window, sample.deliveryRate > .zero else { return }
        window = min(window, bytes)
    }

    /// Whether it is over with this acknowledgement: not before something that was sent after the
    /// queue was empty has arrived, however long that takes.
    mutating func ends(with sample: borrowing AcknowledgementSample) -> Bool {
        let now = sample.now, roundTrip = sample.rtt
        if sample.inFlight > window {
            if now > began { drained &+= sample.bytes }
            if sample.deliveryRate > .zero { latest = sample.deliveryRate }
            fullAt = now
        } else if roundTrip > .zero, now - roundTrip >= fullAt {
            rtt = min(rtt, roundTrip)
        }
        return rtt != .max && now >= began + BBR.probeRTTLength
    }
}

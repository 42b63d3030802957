import Measures

/// What a virtual link does to packets; may be changed while it runs.
public struct LinkConditions: Hashable, Sendable {
    /// How packets are lost, decided when their transmission ends: a lost packet took its share of
    /// the line.
    public enum Loss: Hashable, Sendable {
        case none
        /// Each packet by itself with this probability (Bernoulli).
        case random(Double)
        /// Bursts (Gilbert-Elliott): before each packet the link turns bad with probability `enter`
        /// and good again with `leave`; in the bad state packets are lost with probability
        /// `inside`, else none. A burst is over after half a second without a packet: fading takes
        /// time, not traffic, to end.
        case bursts(enter: Double, leave: Double, inside: Double)
    }
    /// What happens while the link is out, without anybody being told.
    public enum Outage: Hashable, Sendable {
        case none
        /// Packets offered, and those whose transmission ends meanwhile, vanish.
        case blackHole
        /// Nothing is transmitted; the queue keeps what fits and sends it afterwards.
        case stall
    }

    /// Line rate; nil for a line that takes no time, zero for one that moves nothing.
    public var rate: Rate?
    /// One-way propagation delay.
    public var delay: Interval
    /// Bytes that may wait behind the packet in transmission; what doesn't fit is dropped (drop
    /// tail).
    public var queueLimit: Int
    /// Of packets that had a place in the queue.
    public var loss = Loss.none
    /// Probability that a packet is late by up to `reorderDelay`, so that others overtake it.
    public var reordering = 0.0
    /// The most by which a datagram is late.
    public var reorderDelay = Interval.milliseconds(5)
    /// Probability that a packet arrives twice, the copy up to `reorderDelay` later.
    public var duplication = 0.0
    /// Probability that one to three bits of a packet are flipped.
    public var corruption = 0.0
    /// Whether it carries anything at all.
    public var outage = Outage.none
    /// The longest packet it takes, with all its headers; longer ones vanish and nobody is told.
    /// Nil: any.
    public var mtu: Int?

    /// A `rate` of nil takes no time to transmit.
    public init(rate: Rate?, delay: Interval, queueLimit: Int) {
        self.rate = rate
        self.delay = delay
        self.queueLimit = queueLimit
    }

    /// A drop-tail queue that takes `queue` to drain at `rate`.
    public init(rate: Rate, delay: Interval, queue: Interval) {
        self.init(rate: rate, delay: delay, queueLimit: max(rate.bytes(in: queue), 4 * 1500))
    }

    /// A copy with `change` applied.
    public func with(_ change: (inout LinkConditions) -> Void) -> LinkConditions {
        var copy = self
        change(&copy)
        return copy
    }
}

extension LinkConditions {
    /// The paper's WiFi, one way: 8 Mbit/s, a round trip of 30 ms.
    public static let wifi = LinkConditions(
        rate: .megabitsPerSecond(8), delay: .milliseconds(15),
        queue: .milliseconds(200))
    /// The paper's cellular link, one way: 2 Mbit/s, a round trip of 100 ms, a drop-tail queue of 2
    /// s.
    public static let cellular = LinkConditions(
        rate: .megabitsPerSecond(2),
        delay: .milliseconds(50), queue: .seconds(2))
}

/// A radio that falls asleep when idle and takes time to wake (the cellular idle-to-active
/// promotion).
///
/// Both directions of an uplink share one: either wakes it for both.
public final class Radio {
    /// How long after the last transmission it sleeps.
    public var sleepsAfter: Interval
    /// How long it takes to wake.
    public var wakeTime: Interval
    private var lastActivity: Instant?
    private var awakeFrom = Instant.zero
    /// How often it was woken.
    public private(set) var wakeUps = 0

    /// Asleep until the first packet unless `isAwake`.
    public init(sleepsAfter: Interval, wakeTime: Interval, isAwake: Bool = false) {
        self.sleepsAfter = sleepsAfter
        self.wakeTime = wakeTime
        if isAwake { lastActivity = .zero }
    }

    /// When a transmission wanted at `start` can begin.
    func begin(at start: Instant) -> Instant {
        if start < awakeFrom { return awakeFrom }  // waking already
        if let last = lastActivity, start - last <= sleepsAfter { return start }
        wakeUps += 1
        awakeFrom = start + wakeTime
        lastActivity = awakeFrom
        return awakeFrom
    }

    func active(until end: Instant) { lastActivity = max(lastActivity ?? .zero, end) }
}

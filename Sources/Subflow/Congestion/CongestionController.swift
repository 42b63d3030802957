import Measures

/// What one acknowledgement tells the congestion controller.
public struct AcknowledgementSample: Sendable {
    /// When it came.
    public var now = Instant.zero
    /// Payload bytes newly delivered.
    public var bytes = 0
    /// In flight before and after.
    public var priorInFlight = 0
    /// Bytes in flight after it.
    public var inFlight = 0
    /// The round trip of the newest span delivered by it; zero where it gave none.
    public var rtt = Interval.zero
    /// Zero while unknown.
    public var smoothedRTT = Interval.zero
    /// `.max` while unknown.
    public var minimumRTT = Interval.max
    /// Zero where it gave none.
    public var deliveryRate = Rate.zero
    /// The rate is that of the application, not of the path (RFC 7661).
    public var isApplicationLimited = false
    /// A round trip began with it.
    public var startsRound = false
    /// The window held back what the owner had (RFC 7661): only then may it grow.
    public var isWindowLimited = false
    /// Payload bytes found lost with it.
    public var lost = 0
    /// To be filled in.
    public init() {}
}

/// Decides how much may be in flight and how fast it leaves. One per subflow.
///
/// A class hierarchy rather than an existential: one allocation per subflow, a table call per
/// event, and `window` is read without a call.
public class CongestionController {
    /// Bytes in a full segment.
    public internal(set) var segmentSize: Int
    /// Bytes that may be in flight.
    public internal(set) var window: Int
    /// Slow start ends here; `.max` while nothing was lost yet.
    public internal(set) var threshold = Int.max
    /// The rate to pace at; zero: the subflow derives it from window and RTT.
    public internal(set) var pacingRate = Rate.zero
    let initialWindow: Int
    private var priorWindow = 0
    private var priorThreshold = 0

    init(segmentSize: Int, initialWindow: Int) {
        self.segmentSize = segmentSize
        self.initialWindow = initialWindow
        window = initialWindow
    }

    var minimumWindow: Int { 2 &* segmentSize }
    var isInSlowStart: Bool { window < threshold }
    /// The path's rate where it is known; zero where the window alone tells, or while that still
    /// grows fast.
    var expectedRate: Rate { .zero }
    /// Whether it governs its own window during fast recovery instead of PRR (BBR does).
    var governsRecovery: Bool { false }

    func sent(_ bytes: Int, inFlight: Int, at now: Instant) {}
    /// New data was delivered outside fast recovery.
    func acknowledged(_ sample: borrowing AcknowledgementSample) {}
    /// The first loss of a window of data.
    func congestionEvent(inFlight: Int, at now: Instant) {}
    func timedOut(inFlight: Int, at now: Instant) {}
    /// A further time-out before the first was repaired (RFC 5681 section 3.1: the threshold
    /// stays).
    func timedOutAgain(at now: Instant) { window = segmentSize }
    /// Data was sent after nothing was in flight for `pause`, longer than the time-out.
    func resumed(after pause: Interval, timeout: Interval, at now: Instant) {
        // RFC 2861: what the path offered is known the less the longer it wasn't used.
        guard threshold != .max || window > initialWindow else { return }
        if threshold != .max { threshold = max(threshold, window / 4 &* 3) }
        var left = pause.nanoseconds
        while left > timeout.nanoseconds, window > initialWindow {
            window = max(window / 2, initialWindow)
            left -= max(1, timeout.nanoseconds)
        }
    }

    /// In slow start, for algorithms that begin as RFC 5681 section 3.1 has it: by HyStart++ in the
    /// first one, in later ones up to the threshold. True where HyStart++ has ended it.
    @discardableResult
    final func slowStart(
        _ hyStart: inout HyStart, _ sample: borrowing AcknowledgementSample
    ) -> Bool {
        guard threshold == .max else {
            window = min(window &+ sample.bytes, max(threshold, window))
            return false
        }
        let (bytes, ends) = hyStart.growth(for: sample)
        window &+= bytes
        if ends { threshold = window }
        return ends
    }

    /// From now on it looks at the other subflows of a connection, where it does at all.
    func couple(with others: CongestionCoupling) {}

    /// What was learnt of the path is void: it leads somewhere else now.
    func restart() {
        window = initialWindow
        threshold = .max
        pacingRate = .zero
    }

    /// Remembers what a spurious recovery has to give back.
    func remember() { priorWindow = window; priorThreshold = threshold }
    func undo() {
        window = max(window, priorWindow)
        threshold = max(threshold, priorThreshold)
    }

    static func make(
        _ algorithm: CongestionAlgorithm, segmentSize: Int,
        initialWindow: Int
    ) -> CongestionController {
        switch algorithm {
        case .cubic: Cubic(segmentSize: segmentSize, initialWindow: initialWindow)
        case .newReno: NewReno(segmentSize: segmentSize, initialWindow: initialWindow)
        case .bbr: BBR(segmentSize: segmentSize, initialWindow: initialWindow)
        case .lia: Coupled(.lia, segmentSize: segmentSize, initialWindow: initialWindow)
        case .olia: Coupled(.olia, segmentSize: segmentSize, initialWindow: initialWindow)
        case .balia: Coupled(.balia, segmentSize: segmentSize, initialWindow: initialWindow)
        }
    }
}

import Measures

/// LIA, OLIA and BALIA: NewReno (RFC 5681 with HyStart++ in the first slow start) whose growth in
/// congestion avoidance, and with BALIA whose decrease, looks at the connection's other subflows.
/// With one subflow all three are NewReno.
final class Coupled: CongestionController {
    private let rule: CoupledRule
    private var hyStart = HyStart()
    /// Of its own until the connection's is given.
    private var coupling = CongestionCoupling()
    private var place: Int
    /// What the window should be beyond what it is. It is whole segments, those that it has earned:
    /// a sender fills up the last one, and half a segment more on each of several subflows is more
    /// than a TCP's share of a thin line, whose window grows when a whole segment is earned, too.
    private var fraction = 0.0
    /// Bytes acknowledged before and since the last loss.
    private var distanceBefore = 0.0
    private var distanceSince = 0.0
    private var rtt = 0.0
    private var usedAt = Instant.zero

    init(_ rule: CoupledRule, segmentSize: Int, initialWindow: Int) {
        self.rule = rule
        place = coupling.join()
        super.init(segmentSize: segmentSize, initialWindow: initialWindow)
    }

    deinit { coupling.leave(place) }

    override func couple(with others: CongestionCoupling) {
        coupling.leave(place)
        coupling = others
        place = others.join()
        tellOthers()
    }

    private func tellOthers() {
        coupling.update(
            place,
            .init(
                window: Double(window) + fraction, rtt: rtt,
                lossDistance: max(distanceBefore, distanceSince), usedAt: usedAt))
    }

    override func sent(_ bytes: Int, inFlight: Int, at now: Instant) {
        usedAt = now
        tellOthers()
    }

    override func acknowledged(_ sample: borrowing AcknowledgementSample) {
        usedAt = sample.now
        rtt = sample.smoothedRTT.seconds
        distanceSince += Double(sample.bytes)
        defer { tellOthers() }
        guard sample.isWindowLimited else { return }
        if isInSlowStart {
            slowStart(&hyStart, sample)
            return
        }
        tellOthers()
        let acknowledged = Double(sample.bytes), segment = Double(segmentSize), rule = rule
        let growth = coupling.withCounted(from: place, at: sample.now) {
            rule.increase($0, acknowledged: acknowledged, segment: segment)
        }
        set(max(Double(window) + fraction + growth, segment))
    }

    private func set(_ exact: Double) {
        window = max(Int((exact / Double(segmentSize)).rounded(.down)), 1) &* segmentSize
        fraction = exact - Double(window)
    }

    /// RFC 5681 section 3.1, or BALIA's share.
    private func reduce(at now: Instant) {
        tellOthers()
        let rule = rule
        let kept = coupling.withCounted(from: place, at: now) { rule.kept($0) }
        // RFC 6356 section 3: one segment, not two, where other paths carry data: the windows of
        // several subflows through a thin line would be more than a TCP's by that alone.
        let minimum = coupling.hasOthers(than: place, at: now) ? segmentSize : minimumWindow
        set(max((Double(window) + fraction) * kept, Double(minimum)))
        threshold = window
        if distanceSince > 0 {
            distanceBefore = distanceSince
            distanceSince = 0
        }
    }

    override func congestionEvent(inFlight: Int, at now: Instant) {
        reduce(at: now)
        tellOthers()
    }

    override func timedOut(inFlight: Int, at now: Instant) {
        reduce(at: now)
        window = segmentSize
        fraction = 0
        tellOthers()
    }

    override func timedOutAgain(at now: Instant) {
        super.timedOutAgain(at: now)
        fraction = 0
        tellOthers()
    }

    override func restart() {
        super.restart()
        hyStart.restart()
        fraction = 0
        distanceBefore = 0
        distanceSince = 0
        rtt = 0
        tellOthers()
    }

    override func undo() {
        super.undo()
        fraction = 0
        tellOthers()
    }
}

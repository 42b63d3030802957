import Measures

/// CUBIC (RFC 9438) with HyStart++ (RFC 9406). Windows in segments inside, in bytes outside.
final class Cubic: CongestionController {
    static let scale = 0.4  // C
    static let decrease = 0.7  // beta
    static let renoIncrease = 3 * (1 - decrease) / (1 + decrease)

    private var hyStart = HyStart()
    /// W_max: the window before the last reduction.
    private var plateau = 0.0
    private var priorPlateau = 0.0
    /// When the present congestion avoidance began; nil before its first acknowledgement.
    private var epoch: Instant?
    /// K: seconds from the epoch to the plateau.
    private var timeToPlateau = 0.0
    /// W_est, what Reno would have.
    private var renoWindow = 0.0
    private var windowAtEpoch = 0.0
    private var priorWindowInSegments = 0.0
    /// The part of a byte that `window` can't hold.
    private var fraction = 0.0

    private var segments: Double { Double(window) / Double(segmentSize) }

    override func acknowledged(_ sample: borrowing AcknowledgementSample) {
        guard sample.isWindowLimited else { return }
        if isInSlowStart {
            if slowStart(&hyStart, sample) { plateau = segments }
            return
        }
        avoidCongestion(sample)
    }

    private func avoidCongestion(_ sample: borrowing AcknowledgementSample) {
        let present = segments, acknowledged = Double(sample.bytes) / Double(segmentSize)
        if epoch == nil { beginEpoch(present, at: sample.now) }
        let rtt = sample.smoothedRTT.seconds
        let t = (sample.now - epoch.unsafelyUnwrapped).seconds
        let ahead = t + rtt - timeToPlateau
        let target = min(max(Cubic.scale * ahead * ahead * ahead + plateau, present), 1.5 * present)
        // RFC 9438 section 4.3: once past the earlier window Reno grows by a whole segment a round
        // trip.
        let alpha = renoWindow >= priorWindowInSegments ? 1 : Cubic.renoIncrease
        renoWindow += alpha * acknowledged / present
        let here = t - timeToPlateau
        var grown = present + (target - present) / present * acknowledged
        if Cubic.scale * here * here * here + plateau < renoWindow {
            grown = max(grown, renoWindow)
        }
        let bytes = grown * Double(segmentSize) + fraction
        let whole = bytes.rounded(.down)
        fraction = bytes - whole
        window = max(window, Int(whole))
    }

    private func beginEpoch(_ present: Double, at now: Instant) {
        epoch = now
        windowAtEpoch = present
        renoWindow = present
        fraction = 0
        if plateau <= present {
            plateau = present; timeToPlateau = 0
        } else {
            timeToPlateau = cubeRoot((plateau - present) / Cubic.scale)
        }
    }

    private func reduce() {
        let present = segments
        priorWindowInSegments = present
        // Fast convergence (section 4.7): leave room to a flow that has just begun.
        plateau = present < plateau ? present * (1 + Cubic.decrease) / 2 : present
        threshold = max(Int(Double(window) * Cubic.decrease), minimumWindow)
        epoch = nil
    }

    override func congestionEvent(inFlight: Int, at now: Instant) {
        reduce()
        window = threshold
    }

    override func timedOut(inFlight: Int, at now: Instant) {
        reduce()
        window = segmentSize
    }

    override func resumed(after pause: Interval, timeout: Interval, at now: Instant) {
        super.resumed(after: pause, timeout: timeout, at: now)
        // Section 5.8: the curve does not go on while nothing was sent.
        if let start = epoch { epoch = min(now, start + pause) }
    }

    override func remember() {
        super.remember()
        priorPlateau = plateau
    }

    override func undo() {
        super.undo()
        plateau = max(plateau, priorPlateau)
        epoch = nil
    }
}

/// The cube root of a number of at least zero, by Newton's method from a power of two nearby.
func cubeRoot(_ x: Double) -> Double {
    guard x > 0 else { return 0 }
    var y = Double(
        sign: .plus, exponent: (x.exponent + (x.exponent < 0 ? -2 : 0)) / 3, significand: 1)
    for _ in 0..<7 { y = (2 * y + x / (y * y)) / 3 }
    return y
}

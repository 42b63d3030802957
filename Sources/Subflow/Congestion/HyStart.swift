import Measures

/// HyStart++ (RFC 9406): leaves slow start when the round trip grows, before the queue overflows.
struct HyStart {
    static let minimumThreshold = Interval.milliseconds(4)
    static let maximumThreshold = Interval.milliseconds(16)
    static let thresholdDivisor: Int64 = 8
    static let samplesPerRound = 8
    static let conservativeDivisor = 4
    static let conservativeRounds = 5

    private var lastRound = Interval.max
    private var thisRound = Interval.max
    private var samples = 0
    /// The round trip at which conservative slow start began; nil before.
    private var baseline: Interval?
    private var rounds = 0

    /// By how much the window grows for `bytes` acknowledged; `ends`: slow start is over.
    mutating func growth(for sample: borrowing AcknowledgementSample) -> (bytes: Int, ends: Bool) {
        if sample.startsRound {
            lastRound = thisRound
            thisRound = .max
            samples = 0
            if baseline != nil {
                rounds += 1
                if rounds >= HyStart.conservativeRounds { return (0, true) }
            }
        }
        if sample.rtt > .zero {
            thisRound = min(thisRound, sample.rtt)
            samples += 1
        }
        if let base = baseline {
            // The growth was jitter: go on as before.
            if samples >= HyStart.samplesPerRound, thisRound < base { baseline = nil; rounds = 0 }
        } else if samples >= HyStart.samplesPerRound, thisRound != .max, lastRound != .max {
            let threshold = max(
                HyStart.minimumThreshold,
                min(lastRound / HyStart.thresholdDivisor, HyStart.maximumThreshold))
            if thisRound >= lastRound + threshold { baseline = thisRound; rounds = 0 }
        }
        return (baseline == nil ? sample.bytes : sample.bytes / HyStart.conservativeDivisor, false)
    }

    mutating func restart() { self = HyStart() }
}

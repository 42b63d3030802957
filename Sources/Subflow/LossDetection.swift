import Measures

/// RACK (RFC 8985 section 6): a span is lost when one sent later has arrived and a reordering
/// window has passed. The walk over the spans is in `Subflow+Acknowledgement.swift`.
struct LossDetection {
    /// RFC 5681's duplicate threshold; with that many delivered out of order nothing is waited for.
    static let duplicateThreshold = 3
    /// Recoveries a widened window lasts (RFC 8985 section 6.2, step 4).
    static let persistence = 16

    /// The latest transmission known to have arrived, its end and its round trip.
    private(set) var latestSent = Instant(nanoseconds: .min)
    private(set) var latestEnd = SubflowSequence(0)
    private(set) var roundTrip = Interval.zero
    /// Its bytes; zero where it was sent again, and an earlier one may be what arrived.
    private(set) var latestLength = 0
    /// The highest sequence number acknowledged in any way.
    private(set) var forward: SubflowSequence
    private(set) var sawReordering = false
    private var multiplier: Int64 = 1
    private var persist = LossDetection.persistence
    private var duplicateRound: SubflowSequence?

    init(initialSequence: SubflowSequence) { forward = initialSequence }

    /// Steps 1 to 3, for each span newly delivered.
    @inline(__always)
    mutating func delivered(
        _ span: UnsafeMutablePointer<SpanRecord>, minimumRTT: Interval, at now: Instant
    ) {
        let end = span.pointee.end, elapsed = now - span.pointee.sentAt
        if forward.distance(to: end) >= 0 {
            forward = end
        } else if !span.pointee.flags.contains(.retransmitted) {
            sawReordering = true
        }
        // An ACK sooner than any round trip is the original's, not the retransmission's. While none
        // is known nobody can tell: a SYN/ACK that was repeated for a repeated SYN made a whole
        // first flight count as lost, whose repetitions did the same again and again.
        if span.pointee.flags.contains(.retransmitted),
            minimumRTT == .max || elapsed < minimumRTT
        {
            return
        }
        if span.pointee.sentAt > latestSent
            || (span.pointee.sentAt == latestSent && latestEnd.isBefore(end))
        {
            latestSent = span.pointee.sentAt
            latestEnd = end
            latestLength =
                span.pointee.flags.contains(.retransmitted) ? 0 : Int(span.pointee.length)
            roundTrip = elapsed
        }
    }

    /// Whether the latest delivered transmission went out after this one.
    @inline(__always) func wasSentBefore(_ span: UnsafeMutablePointer<SpanRecord>) -> Bool {
        span.pointee.sentAt < latestSent
            || (span.pointee.sentAt == latestSent && span.pointee.end.isBefore(latestEnd))
    }

    /// Step 4, at a D-SACK: reordering exceeds the window.
    mutating func sawDuplicate(unacknowledged: SubflowSequence, next: SubflowSequence) {
        if let round = duplicateRound, unacknowledged.isBefore(round) { return }
        duplicateRound = next
        multiplier = min(multiplier + 1, 255)
        persist = LossDetection.persistence
    }

    mutating func recoveryEnded() {
        persist -= 1
        if persist <= 0 { multiplier = 1; persist = LossDetection.persistence }
    }

    func reorderingWindow(
        deliveredCount: Int, inRecovery: Bool, rtt: borrowing RTTEstimator
    ) -> Interval {
        if !sawReordering, inRecovery || deliveredCount >= LossDetection.duplicateThreshold {
            return .zero
        }
        let minimum = rtt.minimum == .max ? rtt.smoothed : rtt.minimum
        return min(minimum * multiplier / 4, rtt.smoothed)
    }
}

/// One tail loss probe and what came of it (RFC 8985 section 7).
struct TailLossProbe {
    /// A probe is to be sent: new data where the owner has some, the last span again otherwise.
    var isDue = false
    /// `sendNext` when the probe went; nil while nothing is to be judged.
    private(set) var end: SubflowSequence?
    private var repeatsOld = false
    private var flightIsOver = false

    /// Whether a probe is out: a second one would say nothing.
    var isOut: Bool { end != nil && !flightIsOver }

    mutating func sent(end: SubflowSequence, repeatsOld: Bool) {
        self.end = end
        self.repeatsOld = repeatsOld
        flightIsOver = false
        isDue = false
    }

    mutating func cancel() { isDue = false; end = nil }

    /// Everything was acknowledged. What the probe was good for may show only with the next flight,
    /// which may be probed again (RFC 8985 would wait for the verdict first, a quiet connection's
    /// whole next request).
    mutating func endFlight() { isDue = false; flightIsOver = true }

    /// Section 7.4.2: whether the acknowledgement shows that the probe repaired a loss unseen
    /// otherwise.
    /// `isRepeat`: it says only what the one before said.
    mutating func acknowledged(
        _ acknowledgement: SubflowSequence, sawDuplicate: Bool,
        isRepeat: Bool
    ) -> Bool {
        guard let end, end.isAtOrBefore(acknowledgement) else { return false }
        let repaired = end.isBefore(acknowledgement)
        // The ACK that reaches the end may be the original's; a second one is the probe's.
        if !repeatsOld || sawDuplicate || repaired || isRepeat { self.end = nil }
        return repeatsOld && !sawDuplicate && repaired
    }
}

import Measures

/// What the newest of the spans delivered by one acknowledgement tells about the delivery rate.
struct RateSample {
    /// The connection's `delivered` when that span was sent; `isValid` false where nothing was
    /// delivered.
    var priorDelivered: UInt64 = 0
    var priorDeliveredAt = Instant.zero
    var sendElapsed = Interval.zero
    var isApplicationLimited = false
    var isValid = false
}

/// Delivery-rate estimation (BBR draft section 4.1.1.2): bytes delivered over the longer of the
/// time it took to send them and the time it took to acknowledge them.
struct RateSampler {
    private(set) var delivered: UInt64 = 0
    private var deliveredAt = Instant.zero
    private var firstSentAt = Instant.zero
    /// Samples are application-limited until `delivered` passes this; zero where they are not.
    private var applicationLimitedUntil: UInt64 = 0
    private var nextRound: UInt64 = 0
    private(set) var rounds: UInt64 = 0
    /// Smoothed over about eight acknowledgements.
    private(set) var smoothed = Rate.zero

    var isApplicationLimited: Bool { applicationLimitedUntil != 0 }

    @inline(__always) mutating func stamp(_ span: inout SpanRecord, inFlight: Int, at now: Instant)
    {
        if inFlight == 0 { firstSentAt = now; deliveredAt = now }
        span.delivered = delivered
        span.deliveredAt = deliveredAt
        span.firstSentAt = firstSentAt
        span.inFlightWhenSent = UInt32(clamping: inFlight)
        if applicationLimitedUntil != 0 {
            span.flags.insert(.applicationLimited)
        } else {
            span.flags.remove(.applicationLimited)
        }
    }

    @inline(__always)
    mutating func deliver(
        _ span: UnsafeMutablePointer<SpanRecord>, at now: Instant,
        into sample: inout RateSample
    ) {
        delivered &+= UInt64(span.pointee.length)
        deliveredAt = now
        if !sample.isValid || span.pointee.delivered >= sample.priorDelivered {
            sample.isValid = true
            sample.priorDelivered = span.pointee.delivered
            sample.priorDeliveredAt = span.pointee.deliveredAt
            sample.sendElapsed = span.pointee.sentAt - span.pointee.firstSentAt
            sample.isApplicationLimited = span.pointee.flags.contains(.applicationLimited)
            firstSentAt = span.pointee.sentAt
        }
    }

    /// The front of a span was delivered: counted now, sampled when the rest is. Left out, the
    /// sample of the rest would divide a few bytes by a round trip.
    mutating func deliverPart(_ bytes: Int) { delivered &+= UInt64(bytes) }

    /// The rate of one acknowledgement, zero where it says nothing, and whether a round trip began.
    mutating func finish(
        _ sample: RateSample, minimumRTT: Interval, at now: Instant
    ) -> (Rate, Bool) {
        if applicationLimitedUntil != 0, delivered > applicationLimitedUntil {
            applicationLimitedUntil = 0
        }
        guard sample.isValid else { return (.zero, false) }
        let startsRound = sample.priorDelivered >= nextRound
        if startsRound { nextRound = delivered; rounds &+= 1 }
        let elapsed = max(sample.sendElapsed, now - sample.priorDeliveredAt)
        // A shorter time than the path's is compression of acknowledgements.
        guard elapsed > .zero,
            minimumRTT == .max || elapsed >= minimumRTT
        else { return (.zero, startsRound) }
        let rate = Rate(bytes: Int(delivered &- sample.priorDelivered), in: elapsed)
        if smoothed == .zero || (sample.isApplicationLimited && rate > smoothed) {
            smoothed = rate
        } else if !sample.isApplicationLimited {
            smoothed.bytesPerSecond &+= (rate.bytesPerSecond &- smoothed.bytesPerSecond) >> 3
        }
        return (rate, startsRound)
    }

    /// The owner had nothing to send although the window was open.
    mutating func limitByApplication(inFlight: Int) {
        applicationLimitedUntil = max(1, delivered &+ UInt64(inFlight))
    }
}

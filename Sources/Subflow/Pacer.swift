import Measures

/// Spreads what the window allows over the round trip, in bursts of about a millisecond's worth.
struct Pacer {
    static let burst = Interval.milliseconds(1)
    /// A burst is never smaller, so that it fills a GSO batch of two and draws an ACK; on links so
    /// slow that each segment draws one (`AcknowledgementPolicy.sparse`), one segment.
    static let smallestBurst = 2

    /// When everything sent so far would have left at the pacing rate.
    private(set) var release = Instant.zero
    private var nanosecondsPerByte = 0.0
    private var quantum = Int.max
    private var quantumTime = Interval.zero
    /// A burst went out; the next begins at `release`.
    private var isHeld = false
    private var lastSent = Instant.zero

    var rate: Rate {
        nanosecondsPerByte == 0 ? .zero : Rate(bytesPerSecond: Int64(1e9 / nanosecondsPerByte))
    }

    /// A byte a second to a terabyte: within them no conversion below can leave its type, whatever
    /// the measurements are made of.
    private static let slowest = 1e-9, fastest = 1e3

    /// `rate` zero: unpaced.
    mutating func setRate(_ rate: Double, segmentSize: Int) {
        guard rate > 0 else { nanosecondsPerByte = 0; isHeld = false; return }
        let bytesPerNanosecond = min(max(rate, Self.slowest), Self.fastest)
        let old = nanosecondsPerByte
        nanosecondsPerByte = 1 / bytesPerNanosecond
        if old > nanosecondsPerByte, release > lastSent {
            // What was sent at a pace now known to be too slow is not waited for at that pace.
            let ahead = Double((release - lastSent).nanoseconds) * (nanosecondsPerByte / old)
            release = lastSent + Interval(nanoseconds: Int64(ahead))
        }
        let isSlow =
            Double(segmentSize) * nanosecondsPerByte
            >= Double(AcknowledgementPolicy.sparse.nanoseconds)
        quantum = max(
            (isSlow ? 1 : Pacer.smallestBurst) &* segmentSize,
            Int(bytesPerNanosecond * Double(Pacer.burst.nanoseconds)))
        quantumTime = Interval(nanoseconds: Int64(Double(quantum) * nanosecondsPerByte))
    }

    /// Bytes that may leave now: zero between bursts.
    @inline(__always) func room(at now: Instant) -> Int {
        if nanosecondsPerByte == 0 { return .max }
        if isHeld && now < release { return 0 }
        // A late event loop may catch up by one burst, not more.
        let start = max(release, now - quantumTime)
        let ahead = (now + quantumTime) - start
        return max(0, Int(Double(ahead.nanoseconds) / nanosecondsPerByte))
    }

    @inline(__always) mutating func sent(_ bytes: Int, at now: Instant) {
        guard nanosecondsPerByte != 0 else { return }
        lastSent = now
        release =
            max(release, now - quantumTime)
            + Interval(nanoseconds: Int64(Double(bytes) * nanosecondsPerByte))
        isHeld = release >= now + quantumTime
    }

    /// After a time-out nothing of the past is worth waiting for.
    mutating func restart(at now: Instant) { release = min(release, now); isHeld = false }
}

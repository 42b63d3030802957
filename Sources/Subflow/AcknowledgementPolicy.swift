import Measures

/// When an ACK is due (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2).
struct AcknowledgementPolicy {
    /// Segments acknowledged at once at the start and after a pause, while the peer's window is
    /// small.
    static let quickSegments = 16
    /// Segments this far apart are acknowledged each: on a slow link an ACK of two comes late, and
    /// the window it opens leaves as a clump that stands in the queue.
    static let sparse = Interval.milliseconds(3)
    /// Shorter ones are questions and answers; an ACK rides on what follows.
    static let minimumBulk = 536

    private(set) var isDue = false
    private(set) var deadline = Instant.distantFuture
    private var quick = AcknowledgementPolicy.quickSegments
    private var pendingBytes = 0
    private var largest = 536
    private var lastArrival = Instant.zero
    private let delay: Interval

    init(delay: Interval) { self.delay = delay }

    mutating func request() { isDue = true }

    /// Payload arrived in order.
    @inline(__always) mutating func arrived(_ bytes: Int, at now: Instant) {
        if bytes > largest { largest = bytes }
        pendingBytes &+= bytes
        let gap = now - lastArrival
        lastArrival = now
        if quick > 0 { quick &-= 1; isDue = true; return }
        if gap >= Self.sparse, bytes >= Self.minimumBulk { isDue = true; return }
        // Every second full segment.
        if pendingBytes > largest { isDue = true; return }
        if deadline == .distantFuture { deadline = now + delay }
    }

    mutating func resumeAfterPause() { quick = AcknowledgementPolicy.quickSegments }

    /// A segment with the ACK bit left.
    @inline(__always) mutating func sent() {
        isDue = false
        deadline = .distantFuture
        pendingBytes = 0
    }

    mutating func advance(to now: Instant) {
        if now >= deadline { deadline = .distantFuture; isDue = true }
    }
}

/// RFC 5961 section 7: answers to forged segments must not become a flood.
struct ChallengeLimit {
    static let perSecond = 10
    private var windowStart = Instant(nanoseconds: .min / 2)
    private var count = 0

    mutating func allow(at now: Instant) -> Bool {
        if now - windowStart >= .seconds(1) { windowStart = now; count = 0 }
        count += 1
        return count <= ChallengeLimit.perSecond
    }
}

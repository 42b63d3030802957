import Measures
import Multipath

/// Where a stream stands in its session.
struct StreamPlace {
    /// In `Session.streams`; nil while in none.
    var position: Int?
    /// The last change of its session's paths that it heard of (`PathChanges.latest`).
    var seenChange: UInt64 = 0
    /// When it could first send in its session.
    var attachedAt = Instant.zero
}

/// How far a stream has come beside its connection.
struct StreamProgress {
    /// Initiator: the first subflow was opened. Listener: the target was read and said.
    var isStarted = false
    /// Initiator: the dial status was read. Listener: it was written.
    var isAnswered = false
    /// Listener: the dial failed; what still comes is dropped.
    var isRefused = false
    /// The owner has let go.
    var isReleased = false
    /// A reset left that told the peer of an abort, or should have.
    var saidReset = false
}

/// When a stream looks for further subflows, and how long it waits for one.
struct StreamJoining {
    /// `PathChanges.forJoins` when joins were last looked for.
    var seenForJoins: UInt32 = 0
    /// Its timer was due, or the peer asked: joins are looked for when it is next its turn, however
    /// long that takes. A timer that stayed due until then would be looked at all the time.
    var isDue = false
    private(set) var retries = 0
    /// Listener: when the proxy is asked again for a subflow, and how often it was.
    var request = Repeater()

    /// A subflow ended that the paths give no reason for: how long to wait before another try,
    /// twice as long each time.
    mutating func nextTimeout() -> Interval {
        var timeout = Limits.firstJoinRetry
        for _ in 0..<min(retries, 10) { timeout = min(timeout * 2, Limits.maximumJoinRetry) }
        retries += 1
        return timeout
    }
}

/// A stream's links in `ReadyQueue` and in `ActivityQueue`, which allocate nothing.
struct QueueLinks {
    var nextReady: StreamHandle?
    var isReady = false
    /// Where in `ReadyQueue` it is or last was, and whether it filled its last visit.
    var readyIn = 0
    var isBulk = false
    var nextInActivity: StreamHandle?
    var isInActivity = false
}

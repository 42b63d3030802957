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

/// How far the dialogue ahead of a stream's bytes has come: preface, then dial status.
enum StreamStage {
    /// Initiator: no subflow was opened yet. Listener: the preface was not read to its end.
    case waiting
    /// Initiator: the first subflow was opened, with the preface. Listener: the owner was told
    /// where to dial.
    case started
    /// Initiator: the dial status was read, or the owner was told that none will come. Listener:
    /// it was written.
    case answered
    /// Listener: a failure was written; what still comes is dropped.
    case refused
}

/// How far a stream has come beside its connection. What its owner and what the peer know of its
/// end has nothing to do with the stage: a stream may be released and reset in each.
struct StreamProgress {
    var stage = StreamStage.waiting
    /// The owner has let go.
    var isReleased = false
    /// A reset left that told the peer of an abort, or should have.
    var saidReset = false

    @inline(__always) var isStarted: Bool { stage != .waiting }
    @inline(__always) var isAnswered: Bool {
        switch stage {
        case .waiting, .started: false
        case .answered, .refused: true
        }
    }
}

/// When a stream looks for further subflows, and how long it waits for one.
struct StreamJoining {
    /// `PathChanges.forJoins` when joins were last looked for.
    var seenForJoins: UInt32 = 0
    /// Its timer was due, or the peer asked: joins are looked for when it is next its turn, however
    /// long that takes. A timer that stayed due until then would be looked at all the time.
    var isDue = false
    private var retries = Backoff()
    /// Listener: when the proxy is asked again for a subflow, and how often it was.
    var request = Repeater()

    /// A subflow ended that the paths give no reason for: how long to wait before another try,
    /// twice as long each time.
    mutating func nextTimeout() -> Interval {
        defer { retries.failed() }
        return retries.wait(Limits.firstJoinRetry, maximum: Limits.maximumJoinRetry)
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

import Measures
import Subflow

/// Where in a turn of `Connection.nextSegment` we are, and on which subflows.
struct ConnectionTurn {
    /// Any input goes back to the start.
    enum Phase { case control, data, tail, done }

    var phase = Phase.control
    /// When something is next to be done in it.
    var at = Instant.zero
    /// The subflow that the scheduler chose for the next bytes, and how many more it takes.
    var burst: MemberSubflow?
    var burstRoom = 0
    /// The subflow that new data last went on, and that on which some last came.
    var lastCarrier: SubflowIndex = 0
    var lastDataMember: SubflowIndex = 0
    /// Where a subflow's data went unanswered.
    var unansweredPath: PathID?
}

/// What is known of the other end.
struct ConnectionPeer {
    /// Nil until the handshake has brought it.
    var key: UInt64?
    var token: UInt32 = 0
    /// Its first data sequence number, IDSN + 1. A listener knows only the low 32 bits until the
    /// keys arrive, where data rode on the SYN.
    var firstSequence: DataSequence?
}

/// The application's writing, and what holds it back.
struct ConnectionWriter {
    /// It had more to write than there was space for.
    var isWaiting = false
    /// When that was last so.
    var heldAt = Instant(nanoseconds: .min / 2)
    /// Probes of the peer's closed window without an answer.
    var persist = Backoff(maximumDoublings: 6)
}

/// Our DATA_FIN.
struct DataFin {
    /// Not sent before; counts only while it may be (`DataSender.isFinDue`).
    var dueAt = Instant.zero
    /// Sent so often, and not acknowledged.
    var repeats = Backoff()
}

/// What went over the connection.
struct ConnectionTraffic {
    var counted = Connection.Statistics()
    /// Payload bytes on each path, by its number.
    var byPath: [(sent: Int, received: Int)] = []
    /// When payload last came or went.
    var lastPayload: Instant
}

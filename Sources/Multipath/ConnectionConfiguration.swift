import Buffers
import Measures
import Subflow
import Wire

/// The three handover modes of the paper's section 3.
public enum HandoverMode: String, CaseIterable, Sendable { case full, backup, single }

/// How well a path is known to work.
public enum PathHealth: Sendable {
    case usable
    /// Silent past a probe time-out: carries nothing new, its unacknowledged data is reinjected
    /// elsewhere.
    case suspect
    /// Gone (interface event or long silence): its subflows are ended.
    case lost
}

/// What a connection is made with.
public struct ConnectionConfiguration: Equatable, Sendable {
    /// For each of its subflows.
    public var subflow = SubflowConfiguration()
    /// Which subflow new data goes on.
    public var scheduler = SchedulerKind.predictedArrival
    /// The most bytes that are written and have no DATA_ACK; the working limit follows the
    /// congestion windows. As many again are kept for subflows that may have to repeat them.
    public var sendLimit = 16 << 20
    /// The most bytes offered as receive window; the working one follows the application, and the
    /// memory there is.
    public var receiveLimit = 8 << 20
    /// Send space there always is, bytes: what the scheduler sees of the backlog before the windows
    /// have grown.
    public var minimumSendSpace = 256 << 10
    /// What carries its segments.
    public var framing = Multipath.Framing.sealed
    /// Raw IP: a SYN is repeated with MP_CAPABLE this often before it goes without (RFC 8684
    /// section 3.1: a middlebox may drop what it does not know).
    public var timeoutsBeforePlainSYN = 2
    /// Raw IP: asks for DSS checksums (MP_CAPABLE, flag A).
    public var requiresChecksum = false
    /// Raw IP: asks the peer not to join to the address of the first subflow (MP_CAPABLE, flag C).
    public var deniesInitialJoins = false
    /// False for experiments only: a backup subflow carries nothing while a regular one lives,
    /// though that one times out (RFC 8684 leaves it open), and thin streams go once.
    public var aidsHandover = true
    /// The defaults, or nothing yet.
    public init() {}
}

/// One segment the connection wants sent, and where.
public struct OutgoingSegment: ~Copyable {
    /// Head and options.
    public var segment = Segment()
    /// Lies in the send ring: valid until the connection changes.
    public var payload = Pieces.empty
    /// Index of the subflow, and the path it was opened on.
    public var subflow: SubflowIndex = 0
    /// The path it goes by.
    public var path: PathID = 0
    /// The defaults, or nothing yet.
    public init() {}
}

/// Payload bytes of segments on a path.
public struct SegmentSizes: Equatable, Sendable {
    /// Announced: what the path may take one day.
    public var maximum: Int
    /// Sent at present.
    public var limit: Int
    /// `limit` is at most `maximum`.
    public init(maximum: Int, limit: Int) { self.maximum = maximum; self.limit = limit }
}

/// Why a connection ended before its streams did.
public enum ConnectionError: Error, Equatable, Sendable {
    /// The peer reset it, or knows it no more.
    case peerAborted
    /// Initiator: the listener refused it for want of resources (MP_TCPRST, reason 2).
    case lackOfResources
    /// This end's application ended it.
    case localAbort
    /// No path carried anything for too long.
    case timedOut
    /// Its session is gone.
    case sessionLost
    /// What the peer said can't be; the text says what, for a log.
    case protocolViolation(String)

    /// The peer has ended it, and needs not be told.
    public var isByPeer: Bool { self == .peerAborted || self == .lackOfResources }
}

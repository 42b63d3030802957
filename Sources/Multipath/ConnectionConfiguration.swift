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

public struct ConnectionConfiguration: Sendable {
    public var subflow = SubflowConfiguration()
    public var scheduler = SchedulerKind.predictedArrival
    /// Bytes of unacknowledged and unsent data kept for sending at most; the working limit follows
    /// the congestion windows.
    public var sendLimit = 16 << 20
    /// Bytes offered as receive window at most; the working window follows the application.
    public var receiveLimit = 8 << 20
    /// Send space there always is, bytes: what the scheduler sees of the backlog before the windows
    /// have grown.
    public var minimumSendSpace = 256 << 10
    public typealias Framing = Multipath.Framing
    public var framing = Framing.sealed
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
    public init() {}
}

/// One segment the connection wants sent, and where.
public struct OutgoingSegment {
    public var segment = Segment()
    public var payload = Pieces.empty
    /// Index of the subflow, and the path it was opened on.
    public var subflow = 0
    public var path = 0
    public init() {}
}

/// Payload bytes of segments on a path.
public struct SegmentSizes: Equatable, Sendable {
    /// Announced: what the path may take one day.
    public var most: Int
    /// Sent at present.
    public var limit: Int
    public init(most: Int, limit: Int) { self.most = most; self.limit = limit }
}

/// Why a connection ended before its streams did.
public enum ConnectionError: Error, Equatable, Sendable {
    case peerAborted, localAbort, timedOut, sessionLost, protocolViolation(String)
}

import Measures
import Multipath

/// What `braid status` shows.
public struct EndpointReport: Sendable {
    public struct Path: Sendable {
        public var number: Int
        public var uplink: String
        public var local: String
        public var remote: String
        public var health: PathHealth
        /// Never answered, though another path of its uplink works: the two don't reach each other.
        public var isFutile: Bool
        public var isBackup: Bool
        public var smoothedRTT: Interval
        public var minimumRTT: Interval
        /// Share of datagrams lost recently, 0 to 1.
        public var loss: Double
        /// Bytes of the longest IP packet that is sent, as found by probes; 0 while even the base
        /// size of 1,280 has yet to show that it passes.
        public var packetSize: Int
        public var sendRate: Rate
        public var receiveRate: Rate
        public var bytesSent: Int
        public var bytesReceived: Int
    }
    public struct Session: Sendable {
        public var number: Int
        public var user: String
        public var age: Interval
        public var mode: HandoverMode
        public var paths: [Path]
        public var connections: Int
        public var datagrams: Datagrams
    }
    /// What a session has of associations.
    public struct Datagrams: Sendable {
        public var associations = 0
        public var flows = 0
        /// Flows that ended here and may live at the other side.
        public var closing = 0
        /// Bytes of datagrams that wait.
        public var held = 0
        /// Flows by what they do at present: redundant, spread, all others on one path.
        public var redundant = 0, spread = 0
        public var counters = DatagramCounters()
        /// Nothing.
        public init() {}
    }
    public var sessions: [Session] = []
    public var connections = 0
    public var datagramsDropped = 0
    /// What the limits of users turned away, by `UserLimit.rawValue`.
    public var turnedAway: [Int] = []
    /// Bytes that connections hold, and may hold.
    public var memory = 0
    public var memoryLimit = 0
    public init() {}
}

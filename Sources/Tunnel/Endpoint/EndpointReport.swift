import Measures
import Multipath

/// What `braid status` shows.
public struct EndpointReport: Sendable {
    /// A path that is open, or was.
    public struct Path: Sendable {
        /// Its number on the wire, the same at both ends.
        public var number: PathID
        /// The uplink's name at a proxy; empty at a concentrator.
        public var uplink: String
        /// The address its datagrams leave from.
        public var local: String
        /// The peer's address and port.
        public var remote: String
        /// As this end judges it.
        public var health: PathHealth
        /// Never answered, though another path of its uplink works: the two don't reach each other.
        public var isFutile: Bool
        /// Carries data only while no regular path works.
        public var isBackup: Bool
        /// RFC 6298's; zero before the first answer.
        public var smoothedRTT: Interval
        /// The shortest of late; zero before the first answer.
        public var minimumRTT: Interval
        /// Share of datagrams lost recently, 0 to 1.
        public var loss: Double
        /// Bytes of the longest IP packet that is sent, as found by probes; 0 while even the base
        /// size of 1,280 has yet to show that it passes.
        public var packetSize: Int
        /// UDP payloads of late.
        public var sendRate: Rate
        /// The same for what comes in.
        public var receiveRate: Rate
        /// UDP payloads since the path is known.
        public var bytesSent: Int
        /// The same for what came in.
        public var bytesReceived: Int
    }
    /// A session that is confirmed.
    public struct Session: Sendable {
        /// Its slot, given again after it is closed.
        public var number: SessionSlot
        /// Empty at a proxy.
        public var user: String
        /// The version of the other end's program; empty where it is not known.
        public var peerProgram: String
        /// Since its handshake.
        public var age: Interval
        /// Proxy: it goes on to the end of its connections, and another one has replaced it.
        public var isReplaced: Bool
        /// Of its connections without a mode of their own.
        public var mode: HandoverMode
        /// Proxy: what the mode follows from; nil where it is fixed.
        public var demand: ModeByUse.Demand?
        /// In the order of their numbers.
        public var paths: [Path]
        /// Open in it.
        public var connections: Int
        /// Of applications that speak UDP.
        public var datagrams: Datagrams
    }
    /// What a session has of associations.
    public struct Datagrams: Sendable {
        /// Associations that are open now.
        public var associations = 0
        /// Open now, of all associations.
        public var flows = 0
        /// Flows that ended here and may live at the other side.
        public var closing = 0
        /// Bytes of datagrams that wait.
        public var held = 0
        /// Flows by what they do at present: redundant, spread, all others on one path.
        public var redundant = 0, spread = 0
        /// Since the session began.
        public var counters = DatagramCounters()
        /// Nothing.
        public init() {}
    }
    /// In the order of their slots, at a proxy with those that were replaced behind the others.
    public var sessions: [Session] = []
    /// Of all sessions, and those that wait for one.
    public var connections = 0
    /// Datagrams and frames that were not authentic, or not understood, or came twice.
    public var datagramsDropped = 0
    /// What the limits of users turned away, by `UserLimit.rawValue`.
    public var turnedAway: [Int] = []
    /// Bytes that connections hold, and may hold.
    public var memory = 0
    /// `Int.max`: no limit.
    public var memoryLimit = 0
    /// Round trips by uplink, since the endpoint began.
    public var roundTrips: [RoundTripCounts] = []
    public init() {}
}

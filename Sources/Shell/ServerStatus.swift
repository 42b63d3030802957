import Measures
import Multipath
import Tunnel

/// What a running proxy or concentrator says of itself, for `braid status` and the status page.
public struct ServerStatus: Codable, Sendable {
    public struct Path: Codable, Sendable {
        public var number: Int
        public var uplink: String
        public var local: String
        public var remote: String
        /// `usable`, `suspect`, `lost`, or `unreached`: its uplink works, but never reached this
        /// address.
        public var health: String
        public var isBackup: Bool
        public var rttMilliseconds: Double
        public var minimumRTTMilliseconds: Double
        /// Share of datagrams lost recently, 0 to 1.
        public var loss: Double
        /// Bytes of the longest IP packet that is sent, as found by probes; 0 while not even 1,280
        /// are known to pass.
        public var packetSize: Int
        public var sendBitsPerSecond: Int64
        public var receiveBitsPerSecond: Int64
        public var bytesSent: Int
        public var bytesReceived: Int
    }
    public struct Session: Codable, Sendable {
        public var number: Int
        public var user: String
        public var ageSeconds: Double
        public var mode: String
        public var connections: Int
        public var paths: [Path]
    }
    /// An uplink of a proxy.
    public struct UplinkState: Codable, Sendable {
        public var name: String
        public var isBackup: Bool
        /// Not used, as somebody wished (`braid uplink NAME off`).
        public var isOff: Bool
        /// Whether the system shows it at present.
        public var isPresent: Bool
        /// Why it is probably of no use: it sends, and nothing was ever heard on it.
        public var problem: String?
        public init(
            name: String, isBackup: Bool, isOff: Bool = false, isPresent: Bool,
            problem: String? = nil
        ) {
            self.name = name; self.isBackup = isBackup; self.isOff = isOff;
            self.isPresent = isPresent
            self.problem = problem
        }
    }
    /// One number that only grows or one level, by its name in the metrics (`braid_` is put in
    /// front).
    public struct Counter: Codable, Sendable {
        public var name: String
        public var value: Int
        public init(_ name: String, _ value: Int) { self.name = name; self.value = value }
    }

    /// `proxy` or `concentrator`.
    public var role: String
    public var uptimeSeconds: Double
    public var listen: [String]
    public var connections: Int
    public var datagramsDropped: Int
    public var uplinks: [UplinkState] = []
    public var sessions: [Session]
    public var counters: [Counter] = []

    public init(role: String, uptime: Interval, listen: [String], report: EndpointReport) {
        self.role = role
        uptimeSeconds = uptime.seconds
        self.listen = listen
        connections = report.connections
        datagramsDropped = report.datagramsDropped
        sessions = report.sessions.map { s in
            Session(
                number: s.number, user: s.user, ageSeconds: s.age.seconds, mode: s.mode.rawValue,
                connections: s.connections, paths: s.paths.map(Path.init))
        }
    }
}

extension ServerStatus.Path {
    init(_ p: EndpointReport.Path) {
        self.init(
            number: p.number, uplink: p.uplink, local: p.local, remote: p.remote,
            health: p.isFutile ? "unreached" : "\(p.health)",
            isBackup: p.isBackup, rttMilliseconds: p.smoothedRTT.milliseconds,
            minimumRTTMilliseconds: p.minimumRTT.milliseconds, loss: p.loss,
            packetSize: p.packetSize,
            sendBitsPerSecond: p.sendRate.bytesPerSecond &* 8,
            receiveBitsPerSecond: p.receiveRate.bytesPerSecond &* 8,
            bytesSent: p.bytesSent, bytesReceived: p.bytesReceived)
    }
}

import Measures
import Multipath
import Tunnel

/// What a running proxy or concentrator says of itself, for `braid status` and the status page.
public struct ServerStatus: Codable, Sendable {
    /// A path of a session, as this side sees it.
    public struct Path: Codable, Sendable {
        /// Its number on the wire, the same at both ends.
        public var number: Int
        /// The uplink's name; at a concentrator its number or nothing.
        public var uplink: String
        /// Our address, without a port where the kernel chooses it.
        public var local: String
        /// The peer's address and port.
        public var remote: String
        /// `usable`, `suspect`, `lost`, or `unreached`: its uplink works, but never reached this
        /// address.
        public var health: String
        /// Carries data only while no regular path works.
        public var isBackup: Bool
        /// Smoothed round trip (RFC 6298); 0 before the first answer.
        public var rttMilliseconds: Double
        /// The shortest round trip seen of late; 0 before the first answer.
        public var minimumRTTMilliseconds: Double
        /// Share of datagrams lost recently, 0 to 1.
        public var loss: Double
        /// Bytes of the longest IP packet that is sent, as found by probes; 0 while not even 1,280
        /// are known to pass.
        public var packetSize: Int
        /// UDP payloads in the last seconds, in the direction of the name.
        public var sendBitsPerSecond: Int64
        /// The same for what comes in.
        public var receiveBitsPerSecond: Int64
        /// UDP payloads since the path was opened.
        public var bytesSent: Int
        /// The same for what came in.
        public var bytesReceived: Int
    }
    /// One session; a proxy has one at a time, or none.
    public struct Session: Codable, Sendable {
        /// Its number at this end, given again after it is closed.
        public var number: Int
        /// The user's name at a concentrator; empty at a proxy.
        public var user: String
        /// The version of the other end's program; empty where it does not say.
        public var peerVersion: String
        /// Seconds since its handshake.
        public var ageSeconds: Double
        /// `full`, `backup` or `single`.
        public var mode: String
        /// Mode `auto`: what somebody waits for, from which `mode` follows; nil where it is fixed.
        public var modeReason: String?
        /// Connections that are open in it.
        public var connections: Int
        /// UDP associations, and their flows: all, those that go over two paths at once, those
        /// that are spread.
        public var associations: Int
        /// See `associations`.
        public var flows: Int
        /// See `associations`.
        public var redundantFlows: Int
        /// See `associations`.
        public var spreadFlows: Int
        /// In the order of their numbers.
        public var paths: [Path]
    }
    /// An uplink of a proxy.
    public struct UplinkState: Codable, Sendable {
        /// The interface's name, or the address or range it was chosen by.
        public var name: String
        /// Its role: regular or backup.
        public var isBackup: Bool
        /// Not used, as somebody wished (`braid uplink NAME off`).
        public var isOff: Bool
        /// Whether the system shows it at present.
        public var isPresent: Bool
        /// Bytes of IP packets in the present period of its allowance (of the month, where it has a
        /// price alone); nil where nobody counts.
        public var usedBytes: Int?
        /// What it may carry in a period.
        public var allowanceBytes: Int?
        /// What that came to, in `currency`.
        public var spent: Double?
        /// The currency of the price; nil where there is none.
        public var currency: String?
        /// Why it is probably of no use: it sends, and nothing was ever heard on it.
        public var problem: String?
        /// What the proxy knows of an uplink.
        public init(
            name: String, isBackup: Bool, isOff: Bool = false, isPresent: Bool,
            problem: String? = nil
        ) {
            self.name = name; self.isBackup = isBackup; self.isOff = isOff;
            self.isPresent = isPresent
            self.problem = problem
        }
    }
    /// A key that is no user's, which asked for a session and was refused.
    public struct UnknownKey: Codable, Sendable {
        /// In base64, as the configuration has it.
        public var publicKey: String
        /// Where the hello came from.
        public var remote: String
        /// Since the latest one.
        public var secondsAgo: Double
        /// One of a concentrator's list.
        public init(publicKey: String, remote: String, secondsAgo: Double) {
            self.publicKey = publicKey; self.remote = remote; self.secondsAgo = secondsAgo
        }
    }
    /// One number that only grows or one level, by its name in the metrics (`braid_` is put in
    /// front).
    public struct Counter: Codable, Sendable {
        /// In Prometheus's form, with labels where it has some.
        public var name: String
        /// Now; a unit is in the name where there is one.
        public var value: Int
        /// A counter of this name.
        public init(_ name: String, _ value: Int) { self.name = name; self.value = value }
    }

    /// Round trips of probes by length, since the server began.
    public struct RoundTrips: Codable, Sendable {
        /// The uplink's name; empty at a concentrator.
        public var uplink: String
        /// By `RoundTripCounts.bounds`, not cumulative.
        public var counts: [Int]
        /// Of all of them.
        public var sumSeconds: Double
    }

    /// `proxy` or `concentrator`.
    public var role: String
    /// Since the server began.
    public var uptimeSeconds: Double
    /// The longest turn of the loop in the last one to two minutes, seconds: what everybody waited
    /// for at most; nil: of a version that does not say.
    public var longestTurnSeconds: Double?
    /// As URLs: `mixed://127.0.0.1:1080`, `udp://0.0.0.0:443`.
    public var listen: [String]
    /// Connections served now.
    public var connections: Int
    /// Datagrams that came in and were not authentic, or not understood.
    public var datagramsDropped: Int
    /// A proxy's; empty at a concentrator.
    public var uplinks: [UplinkState] = []
    /// In the order of their numbers.
    public var sessions: [Session]
    /// A concentrator's: the last of the unknown keys that were refused, the latest first.
    public var strangers: [UnknownKey] = []
    /// What only the metrics show.
    public var counters: [Counter] = []
    /// Of the paths, by uplink; for the metrics alone.
    public var roundTrips: [RoundTrips] = []

    /// From the engine's own report; the server fills in what the engine doesn't know.
    public init(role: String, uptime: Interval, listen: [String], report: EndpointReport) {
        self.role = role
        uptimeSeconds = uptime.seconds
        self.listen = listen
        connections = report.connections
        datagramsDropped = report.datagramsDropped
        roundTrips = report.roundTrips.map {
            RoundTrips(uplink: $0.uplink, counts: $0.counts, sumSeconds: $0.sum.seconds)
        }
        sessions = report.sessions.map { s in
            Session(
                number: s.number.index, user: s.user, peerVersion: s.peerProgram,
                ageSeconds: s.age.seconds, mode: s.mode.rawValue,
                modeReason: s.demand?.label,
                connections: s.connections, associations: s.datagrams.associations,
                flows: s.datagrams.flows, redundantFlows: s.datagrams.redundant,
                spreadFlows: s.datagrams.spread, paths: s.paths.map(Path.init))
        }
    }
}

extension ServerStatus.Path {
    init(_ p: EndpointReport.Path) {
        self.init(
            number: p.number.number, uplink: p.uplink, local: p.local, remote: p.remote,
            health: p.isFutile ? "unreached" : "\(p.health)",
            isBackup: p.isBackup, rttMilliseconds: p.smoothedRTT.milliseconds,
            minimumRTTMilliseconds: p.minimumRTT.milliseconds, loss: p.loss,
            packetSize: p.packetSize,
            sendBitsPerSecond: p.sendRate.bytesPerSecond &* 8,
            receiveBitsPerSecond: p.receiveRate.bytesPerSecond &* 8,
            bytesSent: p.bytesSent, bytesReceived: p.bytesReceived)
    }
}

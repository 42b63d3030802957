import Crypto
import Measures
import Multipath

/// One uplink of the proxy as the engine sees it: a number by which datagrams go out and come in.
public struct Uplink: Sendable {
    /// 0 to 255, by which datagrams go out and come in; its name on the wire is the path's number.
    public var number: UplinkNumber
    /// For status and logs.
    public var name: String
    /// Carries data only while no regular uplink works.
    public var isBackup: Bool
    /// A backup uplink's radio is kept awake by probes while something is being transferred.
    public var isWarm: Bool
    /// What it costs beside the others.
    public var cost = PathCosts.Cost.usual
    /// The largest datagram payload (UDP) this uplink takes, 1472 for an MTU of 1500 over IPv4.
    public var datagramLimit: Int
    /// The family its socket speaks: only the concentrator's addresses of that family are tried
    /// through it.
    public var isIPv4: Bool
    /// The address its datagrams leave from, for status and packet traces; unspecified where it is
    /// not known.
    public var address: IPAddress
    /// A regular uplink of Ethernet's size unless said otherwise.
    public init(
        number: UplinkNumber, name: String, isBackup: Bool = false, isWarm: Bool = false,
        datagramLimit: Int = 1472,
        isIPv4: Bool = true,
        address: IPAddress = .unspecifiedV4
    ) {
        self.address = address
        self.isWarm = isWarm
        self.number = number; self.name = name; self.isBackup = isBackup;
        self.datagramLimit = datagramLimit
        self.isIPv4 = isIPv4
    }
}

/// What carries the news of a lost uplink. Everything but `.reliable` is there to be measured
/// beside it (section 5 of the paper, `braid figures`): nobody who runs Braid wants it.
public enum Signaling: String, CaseIterable, Sendable {
    /// Signals are repeated until echoed, and silence on a path is noticed without any.
    case reliable
    /// Signals are repeated until echoed, but nothing else helps: silence makes no path suspect,
    /// backup subflows carry data only once every regular one is gone, nothing is copied ahead of
    /// need. What the paper proposes.
    case echoed
    /// The same, and a signal goes once, without an echo, as REMOVE_ADDR does in RFC 6824.
    case once
}

/// What an endpoint is, and what its sessions and connections may have.
public struct EndpointConfiguration: Sendable {
    /// Somebody who may open sessions at a concentrator.
    public struct User: Equatable, Sendable {
        /// Unique; by it limits are counted.
        public var name: String
        /// Who has the private key to it is this user.
        public var publicKey: Key32
        /// Nil: 32 zero bytes, as at a proxy that has none (Noise's psk2).
        public var preSharedKey: Key32?
        /// A user with the limits of all users.
        public init(name: String, publicKey: Key32, preSharedKey: Key32? = nil) {
            self.name = name; self.publicKey = publicKey; self.preSharedKey = preSharedKey
        }
    }
    /// Which of the two ends it is. A proxy begins sessions and connections, a concentrator takes
    /// them.
    public enum Role: Sendable {
        case proxy(concentrator: [SocketAddress], publicKey: Key32, preSharedKey: Key32?)
        case concentrator(users: [User])
    }
    /// Does not change.
    public var role: Role
    /// The end's static keys.
    public var identity: StaticKeyPair
    /// Of every connection; its framing is always sealed.
    public var connection = ConnectionConfiguration()
    /// Of a proxy's connections that have none of their own; changed by `Endpoint.setMode`.
    public var mode = HandoverMode.full
    /// Proxy: `mode` follows from use from the beginning (`Endpoint.followUse`).
    public var followsUse = false
    /// Proxy: how long data waits for cheap uplinks before a dear one carries it; said to the
    /// concentrator in steps (`PathCost`).
    public var backlogTime = Interval.seconds(4)
    /// For experiments only; the same at both ends.
    public var signaling = Signaling.reliable
    /// Unix time at `Instant.zero` in nanoseconds, for the handshake's replay guard, until
    /// `Endpoint.setWallClock` says otherwise.
    public var epoch: UInt64 = 0
    /// Open at once, of all users; 0 to 2^24 - 2.
    public var maximumConnections = 100_000
    /// Concentrator, of one user: connections; those of them whose target has not arrived, which a
    /// proxy's have with their first datagram; and sessions, of which each proxy process has one.
    public var maximumConnectionsPerUser = 50_000
    /// Of more, the oldest is replaced.
    public var maximumHalfOpenPerUser = 256
    /// Bytes that connections may hold in all, and those of one user.
    public var memory = Int.max
    /// Never more than is free besides.
    public var memoryPerUser = Int.max
    /// Of more, the one that was silent for longest is closed.
    public var maximumSessionsPerUser = 16
    /// Flows of datagrams of one user, over all sessions.
    public var maximumFlowsPerUser = 8_192
    /// Addresses that `Endpoint.setAnnounced` takes.
    public static let maximumAnnounced = Limits.announcedAddresses
    /// How long a proxy is silent at most on a path that does not rest.
    public static let keepalive = Limits.keepalive
    /// Concentrator: whether a session may have more than one path to the address it began on. Not
    /// where that leads to one of several servers.
    public var joinsFirstAddress = true
    /// How long a record key is used (the design says 120 s; tests shorten it). A concentrator
    /// makes new ones no oftener than four times in that.
    public var keyLifetime = Interval.seconds(120)
    /// A key that could not be renewed until it is so old sends nothing any more.
    public var keyDeath = Interval.seconds(180)
    /// Concentrator: a session that hears nothing for so long ends, with its connections. A laptop
    /// asleep comes back after a night.
    public var sessionSilence = Interval.seconds(86_400)
    /// Proxy: of the machine and the key, the same for each of its processes; a concentrator lets
    /// go of the session of a process that another one of the same machine has followed. Nil where
    /// there is nothing to make it from.
    public var machine: UInt32?
    /// Concentrator: what tells the sessions of this process from those of others at the same port,
    /// 0 to 3: the upper two bits of every index. Nil: they are by chance, too.
    public var generation: UInt8?
    /// The version of this program, which the other end is told; empty: it is not.
    public var program = ""
    /// What has no default.
    public init(role: Role, identity: StaticKeyPair) { self.role = role; self.identity = identity }
}

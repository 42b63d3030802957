import Crypto
import Measures
import Multipath
import Shell
import Tunnel

/// What a concentrator does for datagrams, and how much of it for one user.
public struct DatagramLimits: Equatable, Sendable {
    /// From whom a mapped port takes datagrams.
    public var filtering = DatagramFiltering.address
    /// Associations of one user at once: each has a descriptor, or two.
    public var associationsPerUser = 1_024
    /// Datagrams a second that one user may send to the world.
    public var perUser = 50_000
    /// Other ends that one user's associations exchange datagrams with at once.
    public var flowsPerUser = 8_192
    public init() {}
}

/// What a concentrator's resolver does for questions of the proxies' DNS listeners.
public struct NameLimits: Equatable, Sendable {
    /// Questions under way at once of all users; each has a descriptor, or up to three.
    static let underWay = 2_048
    /// Of one user; never more than are free besides.
    static let underWayPerUser = 512
    /// Both of them.
    public var questions = Turns.Limits(inAll: underWay, perUser: underWayPerUser)
    /// Questions a second of one user; more are dropped.
    public var perUser = 1_000
    public init() {}
}

extension ConcentratorSettings {
    /// An invitation that somebody may come in by.
    public struct Invitation: Equatable, Sendable {
        /// The first letters of such users' names, which no others' have.
        public static let prefix = "invitation:"
        /// Its file in the users' directory.
        public var file: String
        /// Seconds since 1970; nil: it lasts.
        public var expires: Int64?
        /// Machines that may still come in by it.
        public var uses: Int
        /// What its file says.
        public init(file: String, expires: Int64?, uses: Int) {
            self.file = file; self.expires = expires; self.uses = uses
        }
    }
}

/// What `ConcentratorServer` needs to know.
public struct ConcentratorSettings: Equatable, Sendable {
    /// Its public key is what proxies are configured with.
    public var identity: StaticKeyPair
    /// UDP addresses; at least one.
    public var listen: [SocketAddress]
    /// Further UDP addresses by which proxies reach it, told to them.
    public var announce: [SocketAddress] = []
    /// Whether a session may have further paths to the address it began on.
    public var joinsFirstAddress = true
    /// Public keys that may open sessions; names are unique.
    public var users: [EndpointConfiguration.User]
    /// What the users by these names may do is to become users; by user name.
    public var invitations: [String: Invitation] = [:]
    /// Keys of invitations that were used up, taken back, or whose time is over: who comes by one
    /// is no machine to let in. The last `maximumFormerInvitations` are kept.
    public var formerInvitations: [Key32] = []
    /// How many former invitations are remembered.
    public static let maximumFormerInvitations = 256
    /// For all users; by default the public Internet without port 25.
    public var egress = EgressPolicy()
    /// By user name; whoever has none keeps to `egress` alone.
    public var userEgress: [String: EgressRules] = [:]
    /// Of every connection at this end: buffers, congestion control, time-outs.
    public var connection = ConnectionConfiguration()
    /// How long one dial may take, its name's resolution included.
    public var dialTimeout = Interval.seconds(10)
    /// Connections of all users at once, dials included.
    public var maximumConnections = 100_000
    /// Connections of one user at once, dials included.
    public var maximumConnectionsPerUser = 50_000
    /// Connections of one user whose target has not arrived, and its sessions; the oldest is
    /// replaced.
    public var maximumHalfOpenPerUser = 256
    /// Of more, the one that was silent for longest is closed.
    public var maximumSessionsPerUser = 16
    /// Bytes that connections may hold in all, and those of one user.
    public var memory = SystemMemory.limit() / 2
    /// `Int.max`: half of `memory`, and never more than is free besides.
    public var memoryPerUser = Int.max
    /// Dials and look-ups of names under way at once.
    public var dials = Turns.Limits(inAll: 4_096, perUser: 512)
    /// The resolver holds 1,024 questions, of which a name makes two.
    public var lookUps = Turns.Limits(inAll: 480, perUser: 64)
    /// What users' associations may do.
    public var datagrams = DatagramLimits()
    /// How many questions users may have under way.
    public var names = NameLimits()
    /// Where the name servers stand; for tests.
    public var resolverConfiguration = "/etc/resolv.conf"
    /// Users whose questions are refused.
    public var usersWithoutNames: Set<String> = []
    /// A pcap file of what travels inside the tunnel.
    public var pcap: String?
    /// How long living connections may go on after `stop()`.
    public var drain = Interval.seconds(30)

    /// How long a session is kept that nothing is heard of.
    public var sessionSilence = Interval.seconds(86_400)

    /// What the sessions' tables hold.
    public static let maximumAnnounced = EndpointConfiguration.maximumAnnounced

    /// What has no default.
    public init(
        identity: StaticKeyPair, listen: [SocketAddress], users: [EndpointConfiguration.User]
    ) {
        self.identity = identity
        self.listen = listen
        self.users = users
    }
}

extension ConcentratorSettings {
    /// What the engine is made with, but for the time.
    var endpoint: EndpointConfiguration {
        var configuration = EndpointConfiguration(
            role: .concentrator(users: users), identity: identity)
        configuration.connection = connection
        configuration.maximumConnections = maximumConnections
        configuration.maximumConnectionsPerUser = maximumConnectionsPerUser
        configuration.maximumHalfOpenPerUser = maximumHalfOpenPerUser
        configuration.memory = memory
        configuration.memoryPerUser = memoryPerUser
        configuration.maximumFlowsPerUser = datagrams.flowsPerUser
        configuration.maximumSessionsPerUser = maximumSessionsPerUser
        configuration.sessionSilence = sessionSilence
        configuration.joinsFirstAddress = joinsFirstAddress
        return configuration
    }

    /// `egress`, with the addresses that are this machine's own.
    var policy: EgressPolicy {
        var policy = egress
        // By these it is reached from elsewhere: behind a NAT they are no address of an interface.
        policy.own += (listen + announce).map(\.address).filter { $0.high != 0 || $0.low != 0 }
            .map { Subnet($0, prefix: 128) }
        return policy
    }
}

import Crypto
import Dialogue
import History
import Measures
import Multipath
import Rules
import Shell
import Tunnel
import Wire

/// A port applications connect to.
public struct ProxyListener: Equatable, Sendable {
    /// What is spoken on a port.
    public enum Scheme: String, CaseIterable, Sendable {
        /// SOCKS4, SOCKS4a, SOCKS5 and HTTP, told apart by their first bytes.
        case mixed
        case socks5
        case http
    }
    /// What else comes is closed without an answer.
    public let scheme: Scheme
    /// Where it listens; port 0 lets the kernel choose.
    public let address: SocketAddress
    /// Asked for on every connection; nil: nobody is asked.
    public let credentials: Credentials?
    /// Of the connections that come in here; nil: the proxy's, which `braid mode` changes.
    public let mode: HandoverMode?
    /// How datagrams of its associations use the paths; nil: it has none.
    public let datagrams: DatagramPolicy?
    /// Every byte of the connections that come in here goes on two uplinks.
    public let isRedundant: Bool

    /// Whether it stands for what is captured, and nobody connects to it.
    let isCapture: Bool

    /// What stands for a port where connections are captured on their way.
    static func captured(
        mode: HandoverMode? = nil, datagrams: DatagramPolicy? = .auto
    ) -> ProxyListener { ProxyListener(capturedIn: mode, datagrams) }

    private init(capturedIn mode: HandoverMode?, _ datagrams: DatagramPolicy?) {
        scheme = .mixed
        address = SocketAddress(.unspecifiedV6, port: 0)
        credentials = nil
        self.mode = mode
        self.datagrams = datagrams
        isRedundant = false
        isCapture = true
    }

    /// As rules name it.
    var entry: FlowFacts.Entry { isCapture ? .captured : .listener(address) }

    /// Whether others than this machine may use it without a password.
    public var isOpenToOthers: Bool { credentials == nil && !address.address.isLoopback }

    /// Why there can't be such a listener.
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case openToEverybody(SocketAddress)
        public var description: String {
            switch self {
            case .openToEverybody(let address):
                "\(address) would let everybody in: listen on 127.0.0.1,"
                    + " or ask for a user name and a password"
            }
        }
    }

    /// An address that others can reach by any interface needs `credentials`.
    public init(
        scheme: Scheme = .mixed, address: SocketAddress,
        credentials: Credentials? = nil, mode: HandoverMode? = nil,
        datagrams: DatagramPolicy? = .auto, isRedundant: Bool = false
    ) throws(Problem) {
        // A socket takes one family only, and what is IPv4 is judged as such.
        let address = SocketAddress(address.address.unmapped, port: address.port)
        let isWildcard = address.address.high == 0 && address.address.low == 0
        if isWildcard, credentials == nil { throw .openToEverybody(address) }
        self.scheme = scheme
        self.address = address
        self.credentials = credentials
        self.mode = mode
        self.datagrams = datagrams
        self.isRedundant = isRedundant
        isCapture = false
    }
}

/// What `ProxyServer` needs to know.
public struct ProxySettings: Equatable, Sendable {
    /// An uplink to use, and how.
    public struct UplinkChoice: Equatable, Sendable {
        /// May stand for several interfaces, or for none at present.
        public var selector: UplinkSelector
        /// Carries data only while no regular uplink works.
        public var isBackup: Bool
        /// A backup uplink's radio is kept awake while something is being transferred.
        public var isWarm: Bool
        /// What it costs; nil: nobody counts.
        public var tariff: Tariff?
        /// A regular uplink unless said otherwise.
        public init(_ selector: UplinkSelector, isBackup: Bool = false, isWarm: Bool = false) {
            self.selector = selector; self.isBackup = isBackup; self.isWarm = isWarm
        }
    }
    /// Its public key is what the concentrator knows the user by.
    public var identity: StaticKeyPair
    /// Addresses or names with UDP ports, in order of preference; at least one.
    public var concentrator: [Target]
    /// Whoever has the private key to it is the concentrator.
    public var concentratorKey: Key32
    /// In addition to the keys, as the concentrator has it for this user (Noise's psk2); nil: 32
    /// zeroes.
    public var preSharedKey: Key32?
    /// At least one.
    public var listeners: [ProxyListener]
    /// At the start; `braid mode` changes it.
    public var mode = ModeChoice.full
    /// Who tells `mode: auto` of the person in front of the machine; nil: logind, unless others
    /// than this machine's users are served.
    public var idleHint: IdleHintSource?
    /// When an application is answered.
    public var open = OpenPolicy.auto
    /// Empty: every interface with a default route.
    public var uplinks: [UplinkChoice] = []
    /// What part their prices play.
    public var cost = CostPolicy.ignore
    /// Under `cost: prefer-cheap`, how long data waits for cheap uplinks before a dear one carries
    /// it.
    public var backlogTime = Interval.seconds(4)
    /// Where what uplinks have used is kept.
    public var usageFile = StatePath.standard("proxy", extension: ".usage")
    /// Of every connection at this end: buffers, congestion control, time-outs.
    public var connection = ConnectionConfiguration()
    /// Applications served at once; those beyond are turned away.
    public var maximumClients = 20_000
    /// How long applications may take.
    public var clients = ClientLimits()
    /// What applications are told to send their datagrams to; nil: the address their TCP
    /// connection came in on.
    public var relayAddress: IPAddress?
    /// The DNS listener, and who is asked.
    public var names = NameSettings()
    /// Bytes that connections may hold in the tunnel.
    public var memory = SystemMemory.limit() / 4
    /// A pcap file of what travels inside the tunnel.
    public var pcap: String?
    /// What becomes of each connection and each flow of datagrams, the first that fits.
    public var rules = RuleSet()
    /// What becomes of a request while there is no session.
    public var withoutSession = WithoutSession.wait
    /// For what leaves from this machine.
    public var direct = DirectSettings()
    /// The traffic that comes without being asked to; nil: none.
    public var capture: CapturePlan?
    /// How long living connections may go on after `stop()`.
    public var drain = Interval.seconds(30)

    /// What has no default.
    public init(
        identity: StaticKeyPair, concentrator: [Target], concentratorKey: Key32,
        listeners: [ProxyListener]
    ) {
        self.identity = identity
        self.concentrator = concentrator
        self.concentratorKey = concentratorKey
        self.listeners = listeners
    }
}

extension ProxySettings {
    /// What the engine is made with, but for the time and the machine. `known`: the concentrator's
    /// addresses so far.
    func endpoint(_ known: [SocketAddress], maximumClients: Int) -> EndpointConfiguration {
        var configuration = EndpointConfiguration(
            role: .proxy(
                concentrator: known, publicKey: concentratorKey, preSharedKey: preSharedKey),
            identity: identity)
        configuration.connection = connection
        configuration.mode = mode.fixed ?? .single
        configuration.followsUse = mode == .auto
        configuration.backlogTime = backlogTime
        // Those that wind up after their end count, too: whoever made room is still among them.
        configuration.maximumConnections = 2 * maximumClients + 1_000
        configuration.memory = memory
        return configuration
    }
}

/// How long applications may take, and how many may be undecided.
public struct ClientLimits: Equatable, Sendable {
    /// From the connection to the end of the dialogue, whatever comes meanwhile; RFC 1928 leaves it
    /// open.
    public var dialogue = Interval.seconds(30)
    /// For the concentrator's answer about a dial: its own limit is 10 s, the rest is for finding
    /// it.
    public var answer = Interval.seconds(30)
    /// Between two requests of an HTTP application.
    public var idleHTTP = Interval.seconds(120)
    /// For an HTTP request and its response while not a byte of either moves; as long as Squid's
    /// read_timeout, since applications poll long and people pause films.
    public var idleBody = Interval.seconds(900)
    /// Connections that have not shown a password yet, on one listener that asks for one.
    public var unauthenticated = 256

    public init() {}
}

extension ProxySettings {
    /// How many connections may be in their dialogue at once on a listener, where `maximum`
    /// applications are served: never so many that they take those that other listeners need.
    func maximumPending(_ listener: ProxyListener, clients maximum: Int) -> Int {
        let share = max(1, maximum / (2 * max(1, listeners.count)))
        return listener.credentials == nil ? share : min(clients.unauthenticated, share)
    }
}

/// Time and size limits of dialogues that nobody needs to change.
enum ProxyLimit {
    /// For a refused application to read its answer and close.
    static let finalReply = Interval.seconds(2)
    /// Bytes kept of an application that sends ahead; more than one HTTP head, since it must fit.
    static let buffer = HTTPLimit.head + (4 << 10)
}

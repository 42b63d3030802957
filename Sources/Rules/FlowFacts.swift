import Measures
import Wire

/// What is known of a connection, or of a flow of datagrams, when it is decided what becomes of it.
public struct FlowFacts: Hashable, Sendable {
    /// What it consists of.
    public enum Transport: String, CaseIterable, Sendable { case tcp, udp }
    /// How it came into the proxy.
    public enum Entry: Hashable, Sendable {
        /// By a port that applications connect to: the address of the configuration.
        case listener(SocketAddress)
        /// Captured on its way.
        case captured
    }
    /// A connection, or datagrams.
    public var transport: Transport
    /// Where it came in.
    public var entry: Entry
    /// The application's address, an IPv4-mapped one as IPv4.
    public var source: IPAddress
    /// The local user whose program opened it; nil: not known, or not asked for
    /// (`RuleSet.asksForUser`).
    public var user: UInt32?
    /// Where it is to go.
    public var target: Target
    /// The name of a target that is an address, from whatever told it; nil: not known.
    public var knownName: String?

    /// What has no default.
    public init(
        _ transport: Transport, entry: Entry, source: IPAddress, target: Target,
        knownName: String? = nil, user: UInt32? = nil
    ) {
        self.transport = transport
        self.entry = entry
        self.source = source
        self.target = target
        self.knownName = knownName
        self.user = user
    }

    /// The name of its target; nil where it goes to an address whose name nobody knows.
    public var name: String? {
        if case .name(let name) = target.host { name } else { knownName }
    }

    /// The address of its target; nil where it is a name.
    public var address: IPAddress? {
        if case .address(let address) = target.host { address } else { nil }
    }
}

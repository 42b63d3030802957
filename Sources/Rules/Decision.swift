import Multipath
import Tunnel
import Wire

/// When an application that opens a connection is answered.
public enum OpenPolicy: String, CaseIterable, Sendable {
    /// At once, so that its first bytes travel with the request.
    case fast
    /// When the dial has ended, so that it learns the true error.
    case checked
    /// `fast` for host names, `checked` for addresses.
    case auto

    /// Whether an application that goes to `target` is answered before its dial has ended.
    public func answersAtOnce(_ target: Target) -> Bool {
        switch (self, target.host) {
        case (.fast, _), (.auto, .name): true
        case (.checked, _), (.auto, .address): false
        }
    }
}

/// How a rule has datagrams use the uplinks.
public enum DatagramChoice: Hashable, Sendable {
    /// As this says.
    case policy(DatagramPolicy)
    /// There are none: they are dropped.
    case off
}

/// How something goes through the tunnel; what is nil is left to the listener and the proxy.
public struct TunnelOptions: Hashable, Sendable {
    /// Its own mode, which `braid mode` does not change.
    public var mode: HandoverMode?
    /// How datagrams are carried; nil: as the listener says.
    public var datagrams: DatagramChoice?
    /// When an application is answered; nil: as the proxy says.
    public var open: OpenPolicy?
    /// The names of the only uplinks it may use, as `braid status` calls them; not empty.
    public var uplinks: [String]?

    /// Everything left to the listener and the proxy.
    public init() {}
}

/// What becomes of a connection or a flow of datagrams.
public enum Action: Hashable, Sendable {
    /// To the concentrator.
    case tunnel(TunnelOptions)
    /// From this machine, without the concentrator; by one uplink, or as its routes say.
    case direct(uplink: String?)
    /// Nowhere: refused at once, datagrams dropped.
    case block
}

/// An action, and the rule it is from.
public struct Decision: Hashable, Sendable {
    /// Counted from 1; nil: no rule fits.
    public var rule: Int?
    /// What is to be done.
    public var action: Action
    /// A decision by a rule, or by none.
    public init(rule: Int?, _ action: Action) { self.rule = rule; self.action = action }

    /// Where no rule fits.
    public static let standard = Decision(rule: nil, .tunnel(TunnelOptions()))
}

extension Action {
    /// As configuration and log name it.
    public var word: String {
        switch self {
        case .tunnel: "tunnel"
        case .direct: "direct"
        case .block: "block"
        }
    }
}

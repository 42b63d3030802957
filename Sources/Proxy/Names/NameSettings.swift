import Dialogue
import Measures
import Shell

/// What the proxy does about names.
public struct NameSettings: Equatable, Sendable {
    /// Where questions are taken, over UDP and TCP; empty: nowhere but from captured programs.
    public var listen: [SocketAddress] = []
    /// Names within these domains are asked of `servers`, outside of the tunnel.
    public var local: [DNSName] = []
    /// Name servers of the networks the machine is in.
    public var servers: [SocketAddress] = []
    /// Who may ask at `listen`.
    public var clients: [Subnet] = NameSettings.privateClients

    /// This machine, and addresses that are no one's in the world.
    public static let privateClients: [Subnet] = [
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "100.64.0.0/10", "::1", "fc00::/7", "fe80::/10"
    ].compactMap { Subnet($0) }

    /// Nowhere.
    public init() {}
}

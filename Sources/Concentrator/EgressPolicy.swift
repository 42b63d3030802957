import Measures
import Shell

/// Which addresses the concentrator dials, judged after a name was resolved, so that no name leads around it.
public struct EgressPolicy: Sendable {
    /// Everything that is not the public Internet, and the metadata services of clouds.
    public var deniesPrivate = true
    public var deny: [Subnet] = []
    /// Exceptions from both of the above.
    public var allow: [Subnet] = []
    /// The concentrator's own addresses: what listens there was not meant for users.
    public var own: [IPAddress] = []

    public init() {}

    /// Whether `address` may be dialled. An IPv6 address that carries an IPv4 one is judged by both:
    /// routers and translators may deliver to the inner one.
    public func allows(_ address: IPAddress) -> Bool {
        let candidates = [address] + Self.embedded(in: address)
        return candidates.allSatisfy(allowsAlone)
    }

    private func allowsAlone(_ address: IPAddress) -> Bool {
        if allow.contains(where: { $0.contains(address) }) { return true }
        if deny.contains(where: { $0.contains(address) }) || own.contains(address) { return false }
        return !(deniesPrivate && Self.notPublic.contains { $0.contains(address) })
    }

    /// The IPv4 addresses inside an IPv6 one: mapped and compatible (RFC 4291 section 2.5.5), NAT64
    /// (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo's server and client (RFC 4380).
    static func embedded(in a: IPAddress) -> [IPAddress] {
        guard !a.isIPv4 else { return [] }
        let low32 = UInt32(truncatingIfNeeded: a.low)
        if a.high == 0, a.low >> 32 == 0xffff { return [IPAddress(v4: low32)] }
        if a.high == 0, a.low >> 32 == 0, a.low > 1 { return [IPAddress(v4: low32)] }
        // ::ffff:0:a.b.c.d (RFC 2765)
        if a.high == 0, a.low >> 48 == 0xffff { return [IPAddress(v4: low32)] }
        if a.high == 0x0064_ff9b_0000_0000, a.low >> 32 == 0 { return [IPAddress(v4: low32)] }
        if a.high >> 16 == 0x0064_ff9b_0001 { return [IPAddress(v4: low32)] }
        if a.high >> 48 == 0x2002 { return [IPAddress(v4: UInt32(truncatingIfNeeded: a.high >> 16))] }
        if a.high >> 32 == 0x2001_0000 {
            return [IPAddress(v4: UInt32(truncatingIfNeeded: a.high)), IPAddress(v4: ~low32)]
        }
        return []
    }

    /// IANA's special-purpose registries (RFC 6890 and its updates) without what is reachable everywhere, and
    /// multicast.
    static let notPublic: [Subnet] = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        // Metadata of clouds outside of those ranges: Azure's wire server, Alibaba's.
        "168.63.129.16", "100.100.100.200",
        "::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:10::/28",
        "2001:20::/28", "2001:db8::/32",
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ].map { text in
        guard let subnet = Subnet(text) else { preconditionFailure("\(text) is not a range") }
        return subnet
    }
}

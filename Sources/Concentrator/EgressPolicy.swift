import Measures
import Shell

/// Which addresses and ports the concentrator dials for a user, judged after a name was resolved,
/// so that no name leads around it.
///
/// The user's own rules are asked first, then those for all; in each the exceptions (`allow`)
/// before the refusals (`deny`). Port 25 is open only where an exception names it.
public struct EgressPolicy: Equatable, Sendable {
    /// For all users.
    public var rules = EgressRules(deniesPrivate: true)
    /// For the user who asks.
    public var personal = EgressRules()
    /// Spam is what an open port 25 is known for: the address of the concentrator would soon be on
    /// every list.
    public var deniesMail = true
    /// This machine's addresses: what listens there was not meant for users.
    public var own: [Subnet] = []

    static let mailPort: UInt16 = 25

    /// The default: the public Internet without port 25.
    public init() {}

    /// Whether `port` of `address` may be dialled. An IPv6 address that carries an IPv4 one is
    /// judged by both, since routers and translators may deliver to the inner one; a mapped one is
    /// nothing but the inner one.
    public func allows(_ address: IPAddress, port: UInt16) -> Bool {
        let address = address.unmapped
        return allowsAlone(address, port)
            && Self.embedded(in: address).allSatisfy { allowsAlone($0, port) }
    }

    private func allowsAlone(_ address: IPAddress, _ port: UInt16) -> Bool {
        for rules in [personal, rules] {
            if rules.allow.contains(where: { covers($0, address, port) }) { return true }
            if rules.deny.contains(where: { $0.covers(address, port: port) }) { return false }
            if rules.deniesPrivate, isPrivate(address) { return false }
        }
        return !(deniesMail && port == Self.mailPort)
    }

    /// A range that was opened for something else does not open mail, nor a port that was opened
    /// everywhere what is private: who lets users send mail has not let them speak to this machine.
    private func covers(_ rule: EgressRule, _ address: IPAddress, _ port: UInt16) -> Bool {
        if deniesMail, port == Self.mailPort, rule.ports == nil { return false }
        if rule.range == nil, personal.deniesPrivate || rules.deniesPrivate, isPrivate(address) {
            return false
        }
        return rule.covers(address, port: port)
    }

    private func isPrivate(_ address: IPAddress) -> Bool {
        Self.notPublic.contains { $0.contains(address) } || own.contains { $0.contains(address) }
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
        if a.high >> 16 == 0x0064_ff9b_0001 { return [IPAddress(v4: low32), behind48(a)] }
        if a.high >> 48 == 0x2002 {
            return [IPAddress(v4: UInt32(truncatingIfNeeded: a.high >> 16))]
        }
        if a.high >> 32 == 0x2001_0000 {
            return [IPAddress(v4: UInt32(truncatingIfNeeded: a.high)), IPAddress(v4: ~low32)]
        }
        // ISATAP (RFC 5214 section 6.1), with the universal bit or without.
        if a.low >> 32 & 0xfdff_ffff == 0x0000_5efe { return [IPAddress(v4: low32)] }
        return []
    }

    /// RFC 6052 section 2.2: behind a prefix of 48 bits the IPv4 address lies on both sides of bits
    /// 64 to 71.
    private static func behind48(_ a: IPAddress) -> IPAddress {
        IPAddress(
            v4: UInt32(truncatingIfNeeded: a.high & 0xffff) << 16
                | UInt32(truncatingIfNeeded: a.low >> 40 & 0xffff))
    }

    /// IANA's special-purpose registries (RFC 6890 and its updates) without what is reachable
    /// everywhere, and multicast.
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
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"
    ].map { text in
        guard let subnet = Subnet(text) else { preconditionFailure("\(text) is not a range") }
        return subnet
    }
}

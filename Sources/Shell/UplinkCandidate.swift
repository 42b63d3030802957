import Measures

/// An uplink that can be used now, as the system shows it.
public struct UplinkCandidate: Hashable, Sendable {
    /// What it is known by: the interface's name, or the selector's address or range.
    public var name: String
    /// What it was chosen by.
    public var selector: UplinkSelector
    /// The device's name.
    public var interface: String
    /// The device's number, which changes when it is made anew.
    public var interfaceIndex: Int
    /// Usable source addresses of the families asked for, IPv4 first; one only for `.source`.
    public var addresses: [IPAddress]
    /// Of the link, in bytes.
    public var mtu: Int
    /// The subnets of its addresses.
    public var subnets: [Subnet] = []
    /// Whether a default route of the family leads through the interface.
    public var hasDefaultRouteV4 = false, hasDefaultRouteV6 = false

    /// Bytes of MTU below which a link is no uplink: a datagram must hold a handshake, and a
    /// segment behind its heads.
    static let minimumMTU = 640

    /// Bytes that every path must take (RFC 8200 section 5), and an uplink with it.
    public static let leastPacket = 1280
    /// Whether its own packets are shorter than that, so that nothing is sent on it.
    public var isTooNarrow: Bool { mtu < Self.leastPacket }

    /// The largest UDP payload without fragments; an Internet path is taken for no wider than
    /// Ethernet.
    public func datagramLimit(isIPv4: Bool) -> Int { min(mtu, 1500) - (isIPv4 ? 28 : 48) }
    /// Whether there is an address of the family to send from.
    public func has(isIPv4: Bool) -> Bool { addresses.contains { $0.isIPv4 == isIPv4 } }
    /// How a socket of the family is bound to this uplink; nil without an address of it.
    public func binding(isIPv4: Bool) -> DatagramSocket.Binding? {
        guard let address = addresses.first(where: { $0.isIPv4 == isIPv4 }) else { return nil }
        return .source(address, device: interface, index: interfaceIndex)
    }

    /// Whether sockets made for `old` may be wrong or could be better for `self`.
    func needsNewSockets(since old: UplinkCandidate) -> Bool {
        interfaceIndex != old.interfaceIndex || interface != old.interface || mtu != old.mtu
            || old.addresses.contains { !addresses.contains($0) }
            || (has(isIPv4: true) && !old.has(isIPv4: true))
            || (has(isIPv4: false) && !old.has(isIPv4: false))
            || (hasDefaultRouteV4 && !old.hasDefaultRouteV4)
            || (hasDefaultRouteV6 && !old.hasDefaultRouteV6)
    }
}

import Measures

/// Who connects to a listener, as far as limits are concerned: an IPv4 address, or the /64 of an
/// IPv6 one, all of which one host may use.
struct Source: Hashable, CustomStringConvertible {
    private let address: IPAddress
    init(_ address: IPAddress) {
        let address = address.unmapped
        self.address = address.isIPv4 ? address : IPAddress(v6High: address.high, low: 0)
    }
    var description: String { address.isIPv4 ? "\(address)" : "\(address)/64" }
}

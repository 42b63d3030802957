/// A range of addresses such as `192.168.1.0/24`.
public struct Subnet: Hashable, Sendable, CustomStringConvertible {
    /// As written: bits behind the prefix may be set, and count for nothing.
    public let address: IPAddress
    /// Bits that count: 0 to 32, or to 128.
    public let prefix: Int

    /// A `prefix` outside of the family's range becomes its nearest end.
    public init(_ address: IPAddress, prefix: Int) {
        self.address = address
        self.prefix = min(max(prefix, 0), address.isIPv4 ? 32 : 128)
    }

    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address. A range of IPv4-mapped addresses
    /// (`::ffff:10.0.0.0/104`) is one of IPv4, as those addresses are.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = IPAddress(parts[0]) else { return nil }
        let bits = address.isIPv4 ? 32 : 128
        guard parts.count == 2 else { self.init(address.unmapped, prefix: bits); return }
        guard let prefix = Int(parts[1]), (0...bits).contains(prefix), parts[1].first != "+"
        else {
            return nil
        }
        let isMapped = prefix >= 96 && address.unmapped != address
        self.init(
            isMapped ? address.unmapped : address, prefix: isMapped ? prefix - 96 : prefix)
    }

    /// False for an address of the other family, IPv4-mapped ones included.
    public func contains(_ other: IPAddress) -> Bool {
        guard other.isIPv4 == address.isIPv4 else { return false }
        if address.isIPv4 {
            return prefix == 0 || (other.v4 ^ address.v4) >> UInt32(32 - prefix) == 0
        }
        let high = Swift.min(prefix, 64), low = Swift.max(prefix - 64, 0)
        return (high == 0 || (other.high ^ address.high) >> UInt64(64 - high) == 0)
            && (low == 0 || (other.low ^ address.low) >> UInt64(64 - low) == 0)
    }

    public var description: String { "\(address)/\(prefix)" }
}

import CDatagram
import Measures

extension braid_address {
    init(_ a: SocketAddress) {
        self.init(
            high: a.address.high, low: a.address.low, port: a.port,
            is_ipv4: a.address.isIPv4 ? 1 : 0)
    }
    init(_ a: IPAddress) { self.init(high: a.high, low: a.low, port: 0, is_ipv4: a.isIPv4 ? 1 : 0) }
}

extension IPAddress {
    init(_ a: braid_address) {
        self =
            a.is_ipv4 != 0
            ? IPAddress(v4: UInt32(truncatingIfNeeded: a.low))
            : IPAddress(v6High: a.high, low: a.low)
    }
    /// Of 127.0.0.0/8, or ::1.
    public var isLoopback: Bool { isIPv4 ? v4 >> 24 == 127 : high == 0 && low == 1 }
    /// 0.0.0.0 or ::.
    public var isUnspecified: Bool { high == 0 && low == 0 }
}

extension SocketAddress {
    init(_ a: braid_address) { self.init(IPAddress(a), port: a.port) }
}

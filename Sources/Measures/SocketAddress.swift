/// An IP address with a UDP or TCP port, in host byte order.
public struct SocketAddress: Hashable, Sendable {
    /// Without the port.
    public var address: IPAddress
    /// In host byte order; 0 where there is none yet.
    public var port: UInt16
    /// An address with a port.
    @inlinable public init(_ address: IPAddress, port: UInt16) {
        self.address = address; self.port = port
    }
}

extension SocketAddress: CustomStringConvertible {
    /// `192.0.2.1:443`, or `[2001:db8::1]:443`.
    public var description: String {
        address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
    /// Reads `192.0.2.1:443` or `[2001:db8::1]:443`; nil for anything else.
    public init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        // `UInt16` alone would also take a sign.
        guard let port = UInt16(digits), digits.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard let a = IPAddress(host), !a.isIPv4 else { return nil }
            self.init(a, port: port)
        } else {
            guard let a = IPAddress(host), a.isIPv4 else { return nil }
            self.init(a, port: port)
        }
    }
}

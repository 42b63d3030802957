import Measures
import Shell

/// A range of addresses and of ports, as `egress` names them: `198.51.100.0/24`, `10.0.0.5:25`,
/// `[2001:db8::/32]:8000-8999`, `*:25`.
public struct EgressRule: Hashable, Sendable, CustomStringConvertible {
    /// Nil: every address.
    public var range: Subnet?
    /// Nil: every port.
    public var ports: ClosedRange<UInt16>?

    /// A `range` of nil is every address, `ports` of nil every port.
    public init(_ range: Subnet?, ports: ClosedRange<UInt16>? = nil) {
        self.range = range; self.ports = ports
    }

    /// Reads one of the forms above; nil for anything else.
    public init?(_ text: String) {
        if let range = Subnet(text) { self.init(range); return }
        guard let colon = text.lastIndex(of: ":"),
            let ports = Self.readPorts(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host == "*" { self.init(nil, ports: ports); return }
        // An IPv6 range with a port stands in brackets: without them its end could be a port or
        // not.
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if isBracketed { host = host.dropFirst().dropLast() }
        guard let range = Subnet(host), host.contains(":") == isBracketed else { return nil }
        self.init(range, ports: ports)
    }

    private static func readPorts(_ text: Substring) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        let numbers = ends.compactMap { end -> UInt16? in
            guard let number = UInt16(end), number > 0,
                end.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 })
            else { return nil }
            return number
        }
        guard numbers.count == ends.count, let first = numbers.first, let last = numbers.last,
            first <= last
        else { return nil }
        return first...last
    }

    /// Whether the rule speaks of this address and port.
    public func covers(_ address: IPAddress, port: UInt16) -> Bool {
        (ports?.contains(port) ?? true) && (range?.contains(address) ?? true)
    }

    public var description: String {
        let host = range.map { ports == nil || $0.address.isIPv4 ? "\($0)" : "[\($0)]" } ?? "*"
        guard let ports else { return host }
        return ports.count == 1
            ? "\(host):\(ports.lowerBound)" : "\(host):\(ports.lowerBound)-\(ports.upperBound)"
    }
}

/// What one table `egress` says: the concentrator's own, or one user's.
public struct EgressRules: Hashable, Sendable {
    /// Everything that is not the public Internet, the metadata services of clouds, and this
    /// machine.
    public var deniesPrivate: Bool
    /// Refused unless an exception covers it.
    public var deny: [EgressRule] = []
    /// Exceptions from both of the above; one that names no range, while what is private is denied,
    /// from `deny` alone.
    public var allow: [EgressRule] = []

    /// Rules that say nothing about an address and port leave it to whoever is asked next.
    public init(deniesPrivate: Bool = false, deny: [EgressRule] = [], allow: [EgressRule] = []) {
        self.deniesPrivate = deniesPrivate
        self.deny = deny
        self.allow = allow
    }
}

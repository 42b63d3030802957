import Logging
import Measures

/// Which interfaces or addresses are uplinks.
public enum UplinkSelector: Hashable, Sendable {
    /// Every interface with a default route but the loopback.
    case everyDefaultRoute
    case interface(String)
    /// The interface that has an address in this range, sending from that address.
    case source(Subnet)
}

/// An uplink that can be used now, as the system shows it.
public struct UplinkCandidate: Hashable, Sendable {
    /// What it is known by: the interface's name, or the selector's address or range as it was written.
    public var name: String
    public var selector: UplinkSelector
    public var interface: String
    public var interfaceIndex: Int
    /// Usable source addresses of the families asked for, IPv4 first; one only for `.source`.
    public var addresses: [IPAddress]
    public var mtu: Int
    /// Whether a default route of the family leads through the interface.
    public var hasDefaultRouteV4 = false, hasDefaultRouteV6 = false

    /// The largest UDP payload without fragments; an Internet path is taken for no wider than Ethernet.
    public func datagramLimit(isIPv4: Bool) -> Int { min(mtu, 1500) - (isIPv4 ? 28 : 48) }
    public func has(isIPv4: Bool) -> Bool { addresses.contains { $0.isIPv4 == isIPv4 } }
    /// How a socket of the family is bound to this uplink; nil without an address of it.
    public func binding(isIPv4: Bool) -> DatagramSocket.Binding? {
        guard let address = addresses.first(where: { $0.isIPv4 == isIPv4 }) else { return nil }
        if case .source = selector { return .source(address, device: interface) }
        return .device(interface, isIPv4: isIPv4)
    }
}

public enum UplinkEvent: Sendable {
    case appeared(UplinkCandidate)
    /// Same name, other addresses, index or routes: its sockets should be made again.
    case changed(UplinkCandidate)
    case vanished(name: String)
}

/// Watches links, addresses and default routes by rtnetlink and tells of uplinks coming and going, at once.
public final class UplinkMonitor {
    /// What can be used now, by name.
    public private(set) var current: [UplinkCandidate] = []

    /// Begins to watch; the uplinks found are reported from within `start()`.
    public init(selectors: [UplinkSelector], families: (v4: Bool, v6: Bool) = (true, true), loop: EventLoop,
                log: Logger = Logger(label: "uplinks"), handler: @escaping (UplinkEvent) -> Void) throws(SystemError) {
    }
    public func start() {}
    public func stop() {}
}

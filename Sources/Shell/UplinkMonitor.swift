import CMnl
import Logging
import Measures

/// Which interfaces or addresses are uplinks.
public enum UplinkSelector: Hashable, Sendable, CustomStringConvertible {
    /// Every interface with a default route but the loopback.
    case everyDefaultRoute
    case interface(String)
    /// The interface that has an address in this range, sending from that address.
    case source(Subnet)

    public var description: String {
        switch self {
        case .everyDefaultRoute: "every interface with a default route"
        case .interface(let name): name
        case .source(let range): "\(range)"
        }
    }
}

/// What has changed since the last look.
public enum UplinkEvent: Sendable {
    case appeared(UplinkCandidate)
    /// Same name, but an address went, or the index, size or routes are others: its sockets should
    /// be made again. Or it was chosen by another selector.
    case changed(UplinkCandidate)
    case vanished(name: String)
}

/// Watches links, addresses and default routes by rtnetlink and tells of uplinks coming and going,
/// at once.
///
/// A notification only says *that* something changed; the state is then listed afresh, so that a
/// lost or reordered notification can't leave a wrong picture. All notifications that wait are one
/// look.
public final class UplinkMonitor {
    /// What can be used now, in the order of the selectors, then of the interfaces.
    public private(set) var current: [UplinkCandidate] = []

    private var selectors: [UplinkSelector]
    private let families: (v4: Bool, v6: Bool)
    private let handler: (UplinkEvent) -> Void
    private let log: Logger
    private var events: OpaquePointer?
    private let watch: FileWatch
    private var retry: LoopTimer?

    /// Begins to watch; what is there is reported from within `start()`.
    /// - Parameter selectors: none means `.everyDefaultRoute`.
    /// - Parameter families: those that lead to the concentrator.
    public init(
        selectors: [UplinkSelector], families: (v4: Bool, v6: Bool) = (true, true), loop: EventLoop,
        log: Logger = Logger(label: "uplinks"), handler: @escaping (UplinkEvent) -> Void
    ) throws(SystemError) {
        self.selectors = selectors.isEmpty ? [.everyDefaultRoute] : selectors
        self.families = families
        self.handler = handler
        self.log = log
        let events = try Netlink.openEvents()
        self.events = events
        watch = loop.watch(mnl_socket_get_fd(events))
        retry = loop.timer(for: self) { $0.look() }
        watch.onReadable(for: self) {
            if let events = $0.events, Netlink.drainEvents(events) { $0.look() }
        }
    }

    deinit { stop() }

    /// Looks for the first time, and goes on hearing of changes.
    public func start() {
        guard events != nil else { return }
        watch.wantsRead = true
        look()
    }

    /// Chooses by others from now on; what that changes is reported from within. None means
    /// `.everyDefaultRoute`.
    public func select(_ selectors: [UplinkSelector]) {
        guard events != nil else { return }
        self.selectors = selectors.isEmpty ? [.everyDefaultRoute] : selectors
        look()
    }

    /// No event comes any more; harmless when repeated.
    public func stop() {
        retry?.cancel()
        watch.cancel()
        if let events { mnl_socket_close(events) }
        events = nil
    }

    private func look() {
        let snapshot: NetworkSnapshot
        do throws(SystemError) { snapshot = try Netlink.snapshot() } catch {
            log.warning("cannot list interfaces, trying again", metadata: ["error": "\(error)"])
            retry?.arm(after: .seconds(1))
            return
        }
        let found = Self.candidates(in: snapshot, selectors: selectors, families: families)
        let before = current
        current = found
        // Those that went first: what they carried must not wait for what comes.
        for old in before where !found.contains(where: { $0.name == old.name }) {
            handler(.vanished(name: old.name))
        }
        for new in found {
            guard let old = before.first(where: { $0.name == new.name }) else {
                handler(.appeared(new))
                continue
            }
            if new.needsNewSockets(since: old) || new.selector != old.selector {
                handler(.changed(new))
            }
        }
    }

    // MARK: Choosing

    static func candidates(
        in s: NetworkSnapshot, selectors: [UplinkSelector],
        families: (v4: Bool, v6: Bool)
    ) -> [UplinkCandidate] {
        var out: [UplinkCandidate] = []
        for selector in selectors {
            for link in s.links where link.isUp {
                guard let found = candidate(link, selector, s, families),
                    !out.contains(where: { $0.name == found.name })
                else { continue }
                out.append(found)
                // A range stands for one uplink, the first that matches.
                if case .source = selector { break }
            }
        }
        return out
    }

    private static func candidate(
        _ link: NetworkSnapshot.Link, _ selector: UplinkSelector,
        _ s: NetworkSnapshot,
        _ families: (v4: Bool, v6: Bool)
    ) -> UplinkCandidate? {
        let v4Route = s.defaultRoutes.contains(.init(interface: link.index, isIPv4: true))
        let v6Route = s.defaultRoutes.contains(.init(interface: link.index, isIPv4: false))
        let all = s.addresses.filter {
            $0.interface == link.index && ($0.address.isIPv4 ? families.v4 : families.v6)
        }
        let hasLastingV6 = all.contains { !$0.isTemporary && !$0.address.isIPv4 }
        let lasting = all.filter { !$0.isTemporary || !hasLastingV6 }
        var addresses =
            lasting.map(\.address).filter(\.isIPv4) + lasting.map(\.address).filter { !$0.isIPv4 }
        var name = link.name
        switch selector {
        case .everyDefaultRoute:
            guard !link.isLoopback else { return nil }
            addresses.removeAll { $0.isIPv4 ? !v4Route : !v6Route }
        case .interface(let wanted):
            guard wanted == link.name else { return nil }
        case .source(let range):
            // The loopback may hold addresses for others' sake.
            addresses = addresses.filter {
                range.contains($0) && (!link.isLoopback || $0.isLoopback)
            }.prefix(1).map { $0 }
            name =
                range.prefix == (range.address.isIPv4 ? 32 : 128) ? "\(range.address)" : "\(range)"
        }
        guard !addresses.isEmpty, link.mtu >= UplinkCandidate.minimumMTU else { return nil }
        return UplinkCandidate(
            name: name, selector: selector, interface: link.name,
            interfaceIndex: link.index, addresses: addresses, mtu: link.mtu,
            subnets: all.filter { addresses.contains($0.address) }
                .map { Subnet($0.address, prefix: $0.prefix) },
            hasDefaultRouteV4: v4Route, hasDefaultRouteV6: v6Route)
    }
}

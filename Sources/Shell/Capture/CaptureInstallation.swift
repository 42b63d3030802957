import Glibc
import Logging
import Measures

/// What the kernel is told so that traffic comes to the proxy: the table, the rules, the routes and
/// the queue, from `init` until `remove`.
///
/// The networks this machine stands in are kept up to date, and what somebody else took away or
/// changed, of the table, the rule and the routes, is set again.
public final class CaptureInstallation {
    /// SYNs that wait for a verdict come here; nil where none are held.
    public let queue: PacketQueue?
    /// What is captured, as configured.
    public let plan: CapturePlan
    let log: Logger
    let tables: NFTables
    private let loop: EventLoop
    var claim: CaptureClaim?
    var table: CaptureTable
    /// The table as the kernel shows it when nobody else has changed it.
    var shown = ""
    /// Nil without TPROXY.
    var routes: KeptRoutes?
    /// What stands in the kernel is this process's.
    public internal(set) var isInstalled = false
    /// Another process is about to take it.
    var isOffered = false
    private var watch: CaptureWatch?
    private var look: LoopTimer?
    /// Nil where no program of this machine is captured.
    var addresses: KeptAddresses?
    private var check: LoopTimer?
    private var interfaces: CapturedInterfaces
    /// Whether a captured connection of a program has this address.
    public var isUsed: (IPAddress) -> Bool = { _ in false }

    /// A burst of changes is one look.
    private static let rest = Interval.milliseconds(10)
    /// How often it is looked whether an address that is kept is in use still.
    private static let checkInterval = Interval.seconds(5)

    /// Needs CAP_NET_ADMIN; nothing is left behind where it fails.
    /// - Parameter ports: where the proxy listens already; its queue is chosen here.
    /// - Parameter isTransparent: whether they are such as TPROXY gives packets to, see
    ///   `hasTransparency`.
    /// - Parameter offer: what another process hands over: then nothing is set before `takeOver`.
    public init(
        _ plan: CapturePlan, ports: CapturePorts, isTransparent: Bool, from offer: CaptureOffer?,
        loop: EventLoop, log: Logger = Logger(label: "capture")
    ) throws(SystemError) {
        self.plan = plan
        self.log = log
        self.loop = loop
        if let offer {
            claim = CaptureClaim(adopting: offer.claim)
        } else {
            claim = try CaptureClaim()
        }
        guard let tables = NFTables() else {
            throw SystemError("capture traffic (nftables)", code: EPROTONOSUPPORT)
        }
        self.tables = tables
        if isTransparent { try Self.checkBridges(plan) }
        queue = Self.queue(loop, log)
        let now = try Netlink.snapshot()
        interfaces = CapturedInterfaces(plan.networks)
        table = CaptureTable(
            plan: plan, ports: ports, hold: queue.map { .native($0.number) } ?? .none,
            attached: Self.attached(now), interfaces: interfaces.look(now.links).numbers,
            firstEphemeralPort: Self.firstEphemeralPort(),
            isTransparent: isTransparent)
        table.elsewhere = offer?.elsewhere ?? []
        if offer == nil { try install() }
    }

    private func install() throws(SystemError) {
        if table.knowsOlder { table.older = (try? SocketOwner.connectedPorts()) ?? [] }
        try KeptAddresses.removeLeftovers()
        if plan.machine { addresses = try KeptAddresses() }
        if table.isTransparent {
            routes = try KeptRoutes(plan.networks, wantsIPv6: table.ports.tcp6 != nil)
        } else {
            try CaptureRoutes.removeAll()
        }
        do throws(SystemError) {
            table = try table.install(by: tables, log)
            shown = CaptureTable.shown(by: tables)
        } catch {
            try? CaptureRoutes.removeAll()
            queue?.close()
            throw error
        }
        isInstalled = true
        startWatching()
        tellCapturing()
    }

    func tellCapturing() {
        let isTransparent = table.isTransparent
        log.notice(
            "capturing",
            metadata: [
                "machine": "\(plan.machine)",
                "networks": "\(plan.networks.joined(separator: " "))",
                "method": "\(isTransparent ? "tproxy" : "redirect")",
                "udp": "\(isTransparent || !plan.udp ? "\(plan.udp)" : "names only")",
                "on_exit": "\(plan.exit.rawValue)",
                "syns":
                    "\(table.hold == .none ? "answered at once" : "held until they are decided on")"
            ])
    }

    deinit { stopWatching() }

    /// Whether what is sent to this address is never captured, so that no answer comes from there.
    public func leavesAlone(_ address: IPAddress) -> Bool { table.leavesAlone(address) }

    /// No new flow is captured from now on; those that live go on.
    public func endNew() {
        guard isInstalled, plan.exit == .open else { return }
        table.isEnding = true
        do throws(NFTables.Failure) {
            try tables.run(table.text(replacing: tables.present()))
            shown = CaptureTable.shown(by: tables)
        } catch {
            log.warning("new connections are captured still", metadata: ["why": "\(error)"])
        }
    }

    /// Everything is as it was before, or under `closed`: nothing gets out that would be captured.
    /// Harmless when repeated.
    public func close() {
        guard isInstalled else { return }
        isInstalled = false
        stopWatching()
        addresses?.removeAll()
        do throws(NFTables.Failure) { try tables.removeAll(but: plan.exit == .closed) } catch {
            log.warning("the capture's table stays", metadata: ["why": "\(error)"])
        }
        if plan.exit == .open {
            do throws(SystemError) { try CaptureRoutes.removeAll() } catch {
                log.warning("the capture's routes stay", metadata: ["why": "\(error)"])
            }
        }
        queue?.close()
        claim = nil
    }

    /// Whether packets are to be given to the proxy as they are: as `plan` says, and where it
    /// leaves the choice, whether this kernel can. Where it can't, the log says what that means.
    public static func hasTransparency(
        _ plan: CapturePlan, log: Logger = Logger(label: "capture")
    ) throws(SystemError) -> Bool {
        switch plan.method {
        case .tproxy: return true
        case .redirect: break
        case .auto:
            guard let tables = NFTables() else {
                throw SystemError("capture traffic (nftables)", code: EPROTONOSUPPORT)
            }
            // Made and taken away in one transaction: the kernel looks the rule through.
            let probe = "braid_probe"
            let isKnown = try? tables.run(
                """
                table inet \(probe) {
                    chain probe {
                        meta nfproto ipv4 meta l4proto 6 tproxy ip to 127.0.0.1:1
                        meta nfproto ipv6 meta l4proto 6 tproxy ip6 to [::1]:1
                    }
                }
                delete table inet \(probe)
                """)
            if isKnown != nil { return true }
        }
        log.warning(
            """
            \(plan.method == .auto ? "this kernel has no TPROXY (nft_tproxy)" : "capture.method is redirect"): \
            TCP is captured by NAT\(plan.udp ? ", and of UDP only questions for names; the rest is refused" : "")
            """)
        return false
    }

    // MARK: For the command line

    /// Takes away what a process that is gone has left; false where there was nothing. Throws where
    /// a living one holds it, or the right is missing.
    public static func removeLeftovers() throws(SystemError) {
        let claim = try CaptureClaim()
        defer { withExtendedLifetime(claim) {} }
        guard let tables = NFTables() else {
            throw SystemError("remove the capture (nftables)", code: EPROTONOSUPPORT)
        }
        do throws(NFTables.Failure) { try tables.removeAll() } catch {
            throw SystemError("remove the capture (nftables: \(error))", code: EPERM)
        }
        try CaptureRoutes.removeAll()
        try KeptAddresses.removeLeftovers()
    }

    /// What would be set for `plan`, as commands of nft and ip; ports and the queue are the
    /// kernel's to choose.
    public static func preview(_ plan: CapturePlan) -> (nft: String, ip: [String]) {
        var ports = CapturePorts()
        (ports.tcp4, ports.tcp6) = (1, 1)
        if plan.udp { (ports.udp4, ports.udp6) = (1, 1) }
        let table = CaptureTable(
            plan: plan, ports: ports, hold: .native(8_684),
            attached: (try? Netlink.snapshot()).map { attached($0) } ?? [],
            firstEphemeralPort: firstEphemeralPort(),
            isTransparent: plan.method != .redirect)
        let text = table.text.replacing("127.0.0.1:1 ", with: "127.0.0.1:PORT ")
            .replacing("[::1]:1 ", with: "[::1]:PORT ").replacing(" to :1\n", with: " to :PORT\n")
            .replacing("th dport 1 ", with: "th dport PORT ")
        var routes = CaptureRoutes()
        routes.networks = plan.networks
        return (text, table.isTransparent ? routes.commands : [])
    }

    /// What is set now, as nft shows it and ip would be told; nil where nothing is.
    public static func current() -> (nft: String, ip: [String])? {
        guard let tables = NFTables(),
            let present = try? tables.present(), !present.isEmpty
        else { return nil }
        let shown = present.map { (try? tables.run("list table inet \($0)")) ?? "" }
        return (shown.joined(), (try? CaptureRoutes.current()) ?? [])
    }

    // MARK: Parts

    private static func queue(_ loop: EventLoop, _ log: Logger) -> PacketQueue? {
        do throws(SystemError) { return try PacketQueue(loop: loop) } catch {
            log.warning(
                "programs are answered before their connection stands: packets can't be held",
                metadata: ["why": "\(error)"])
            return nil
        }
    }

    /// TPROXY gives a packet its socket before it is routed; a bridge that shows its frames to the
    /// firewall (br_netfilter) does that a step too early, and the socket is forgotten.
    private static func checkBridges(_ plan: CapturePlan) throws(SystemError) {
        let bridges = plan.networks.filter { access("/sys/class/net/\($0)/bridge", F_OK) == 0 }
        guard let bridge = bridges.first else { return }
        for file in ["iptables", "ip6tables"] {
            let name = "net.bridge.bridge-nf-call-\(file)"
            guard let on = fopen("/proc/sys/" + name.replacing(".", with: "/"), "r") else {
                continue
            }
            defer { fclose(on) }
            guard fgetc(on) == 0x31 else { continue }  // "1"
            throw SystemError(
                "capture \(bridge): its packets pass the firewall as frames, where they can't be taken;"
                    + " set sysctl \(name)=0, or name another interface", code: EOPNOTSUPP)
        }
    }

    // MARK: Changes

    /// ip(7): ip_local_port_range, of this network namespace, for both families.
    private static func firstEphemeralPort() -> UInt16 {
        guard let file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r") else {
            return 32_768
        }
        defer { fclose(file) }
        var text = [CChar](repeating: 0, count: 32)
        guard fgets(&text, Int32(text.count), file) != nil else { return 32_768 }
        return UInt16(clamping: strtol(text, nil, 10))
    }

    private static func attached(_ snapshot: NetworkSnapshot) -> [Subnet] {
        snapshot.addresses.compactMap { found in
            // A network of half the Internet would leave nothing to capture.
            guard found.prefix >= (found.address.isIPv4 ? 8 : 16) else { return nil }
            return Subnet(found.address, prefix: found.prefix)
        }.sorted { "\($0)" < "\($1)" }
    }

    func startWatching() {
        look = loop.timer(for: self) { $0.refresh() }
        check = loop.timer(for: self) { $0.keepAddresses() }
        watch = CaptureWatch(loop: loop, log: log) { [weak self] in
            self?.look?.arm(after: Self.rest)
        }
        // Of a rule of others that was ahead already it is told, too.
        look?.arm(after: Self.rest)
    }

    func stopWatching() {
        look?.cancel()
        check?.cancel()
        watch?.cancel()
        watch = nil
    }

    private func keepAddresses() {
        guard isInstalled, let addresses else { return }
        do throws(SystemError) {
            let before = addresses.kept
            try addresses.look(Netlink.snapshot(), isUsed: isUsed)
            for address in addresses.kept.subtracting(before) {
                log.info(
                    "an address is gone that programs' connections have: it is kept for them",
                    metadata: ["address": "\(address)"])
            }
        } catch {
            log.warning(
                "an address of programs' connections can't be kept", metadata: ["why": "\(error)"])
        }
        if !addresses.kept.isEmpty { check?.arm(after: Self.checkInterval) }
    }

    /// Something has changed: the networks, the routing rules, or somebody's tables.
    private func refresh() {
        guard isInstalled else { return }
        keepAddresses()
        let snapshot = try? Netlink.snapshot()
        if let snapshot { followInterfaces(snapshot) }
        let now = loop.now()
        if let next = routes?.look(at: now, log: log) { look?.arm(after: max(next, Self.rest)) }
        if CaptureTable.shown(by: tables) != shown {
            log.warning("somebody changed the capture's table, or took it away: it is set again")
            do throws(SystemError) {
                table = try table.install(by: tables, log)
                shown = CaptureTable.shown(by: tables)
            } catch {
                log.error("the capture can't be set again", metadata: ["why": "\(error)"])
            }
        }
        if let snapshot { refreshAttached(Self.attached(snapshot)) }
    }

    /// Whoever renames an interface of a captured network does not let its clients out.
    private func followInterfaces(_ snapshot: NetworkSnapshot) {
        let (names, numbers) = interfaces.look(snapshot.links)
        if names != table.plan.networks {
            log.warning(
                "a captured network's interface was renamed: it is captured until the next start",
                metadata: ["networks": "\(names.joined(separator: " "))"])
            routes?.follow(names)
        }
        guard names != table.plan.networks || numbers != table.interfaces else { return }
        table.plan.networks = names
        table.interfaces = numbers
        do throws(SystemError) {
            table = try table.install(by: tables, log)
            shown = CaptureTable.shown(by: tables)
        } catch {
            log.error("the capture stays as it was", metadata: ["why": "\(error)"])
        }
    }

    private func refreshAttached(_ now: [Subnet]) {
        guard now != table.attached else { return }
        do throws(NFTables.Failure) {
            try tables.run(table.update(now))
            table.attached = now
            shown = CaptureTable.shown(by: tables)
            log.info(
                "networks left alone",
                metadata: ["attached": "\(now.map(\.description).joined(separator: " "))"])
        } catch {
            log.warning("the networks left alone stay as they were", metadata: ["why": "\(error)"])
        }
    }
}

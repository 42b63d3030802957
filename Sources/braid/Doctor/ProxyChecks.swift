import Configuration
import Crypto
import Measures
import Proxy
import Shell

/// A proxy's side: uplinks, names, and the way to the concentrator over each uplink by itself.
struct ProxyChecks {
    private let configuration: ProxyConfiguration
    private let findings: Findings
    private var settings: ProxySettings { configuration.settings }

    init(_ configuration: ProxyConfiguration, _ findings: Findings) {
        self.configuration = configuration
        self.findings = findings
    }

    /// For a session over one uplink: a round trip or two, and hellos that were lost.
    private static let session = Interval.seconds(6)
    /// For what is longer than a small datagram to show that it passes.
    private static let size = Interval.seconds(3)

    func run() {
        for warning in configuration.warnings {
            findings.warning(warning, mend: "docs/operations.md says what it means")
        }
        checkCapture()
        checkRunning()
        let uplinks = checkUplinks()
        guard !uplinks.isEmpty else { return }
        var versions: [String] = []
        var reached = 0
        for uplink in uplinks {
            guard let version = checkWay(uplink, others: uplinks.filter { $0.name != uplink.name })
            else { continue }
            reached += 1
            versions.append(version)
        }
        if reached == 0 { tellOfSilence() }
        if let version = versions.first { checkVersion(version) }
    }

    private func checkCapture() {
        guard settings.capture != nil else { return }
        if Privileges.has(.networkAdministration) {
            findings.ok("capture: this user may change nftables and routes")
        } else {
            findings.warning(
                "capture: this user may not change nftables and routes",
                mend: "start the proxy as root or by its unit, which keeps CAP_NET_ADMIN")
        }
    }

    private func checkRunning() {
        let answer = try? Control.ask("status", at: configuration.program.control)
        guard let document = answer.flatMap({ try? StatusDocument(json: $0) }),
            document.status.role == "proxy"
        else {
            findings.warning(
                "no proxy of this user runs here",
                mend: "start it: braid proxy --config FILE, or its unit")
            return
        }
        if document.version == Braid.version {
            findings.ok("a proxy runs here, since \(Int(document.status.uptimeSeconds)) s")
        } else {
            findings.warning(
                "the proxy that runs here is of version \(Printable.text(document.version))",
                mend: "braid upgrade has this version take its place")
        }
    }

    // MARK: Uplinks

    private func checkUplinks() -> [UplinkCandidate] {
        let selectors =
            settings.uplinks.isEmpty
            ? [UplinkSelector.everyDefaultRoute] : settings.uplinks.map(\.selector)
        let found: [UplinkCandidate]
        do {
            found = try MachineAddresses.uplinks(selectors)
        } catch {
            findings.wrong(
                "uplinks can't be listed: \(error)", mend: "is rtnetlink forbidden here?")
            return []
        }
        for selector in selectors where selector != .everyDefaultRoute {
            if found.contains(where: { $0.selector == selector }) { continue }
            findings.warning(
                "uplink \(Printable.text(selector.description)) is not there",
                mend: "is the interface up, and has it an address? ip -br address")
        }
        if found.isEmpty {
            findings.wrong(
                "this machine has no uplink",
                mend:
                    "an uplink is an interface with an address and a default route, or one that uplinks: names"
            )
        } else if found.count == 1 {
            findings.warning(
                "there is one uplink only, \(Printable.text(found[0].name)): nothing goes on without it",
                mend: "connect another one; its default route may have a higher metric")
        }
        return found
    }

    /// The concentrator's version, where it answered over this uplink alone.
    private func checkWay(_ uplink: UplinkCandidate, others: [UplinkCandidate]) -> String? {
        let name = Printable.text(uplink.name)
        let addresses = uplink.addresses.map(\.description).joined(separator: " and ")
        var alone = settings
        alone.uplinks = [ProxySettings.UplinkChoice(uplink.ownSelector)]
        let client: JoinClient
        do {
            client = try JoinClient(alone, loop: try EventLoop())
        } catch {
            findings.wrong("\(name) (\(addresses)): \(error)", mend: "is the interface usable?")
            return nil
        }
        defer { client.end() }
        guard client.waitForSession(Self.session) else {
            let isIPv4 = uplink.has(isIPv4: true)
            let why =
                client.obstacle
                ?? UplinkDiagnosis.reason(uplink, isIPv4: isIPv4, others: others)
            findings.wrong("\(name) (\(addresses)): no answer over it", mend: why)
            return nil
        }
        let ways = client.ways(after: Self.size).filter { $0.works }
        guard let way = ways.first else {
            findings.wrong(
                "\(name) (\(addresses)): answered once, then no more",
                mend: "UDP may be throttled, or the link be as bad: try again")
            return client.concentratorVersion
        }
        let trip = "\(Int(way.roundTrip.rounded(.up))) ms to \(Printable.text(way.remote))"
        if way.packetSize == 0 {
            findings.wrong(
                "\(name) (\(addresses)): \(trip), but packets of 1,280 bytes do not pass",
                mend:
                    "a tunnel or a router on the way drops them: lower the MTU there, or let ICMP through"
            )
        } else {
            findings.ok("\(name) (\(addresses)): \(trip), packets up to \(way.packetSize) bytes")
        }
        return client.concentratorVersion
    }

    // MARK: The concentrator

    private func tellOfSilence() {
        let places = settings.concentrator.map(\.description).joined(separator: ", ")
        findings.wrong(
            "nobody answers at \(Printable.text(places)) over any uplink",
            mend: """
                there: does it run (braid status), is its UDP port open (braid doctor there), is its public key \
                \(settings.concentratorKey.base64), does it know this proxy's, \
                \(settings.identity.publicKey.base64)? Its status shows who knocked
                """)
    }

    private func checkVersion(_ version: String) {
        if version == Braid.version {
            findings.ok("the concentrator is of the same version")
        } else if version.isEmpty {
            findings.warning(
                "the concentrator is older and does not say its version", mend: "renew it")
        } else {
            findings.warning(
                "the concentrator is of version \(Printable.text(version)), this is \(Braid.version)",
                mend: "renew the older one")
        }
    }
}

extension UplinkCandidate {
    /// By which it is found again when it is the only one.
    fileprivate var ownSelector: UplinkSelector {
        selector == .everyDefaultRoute ? .interface(interface) : selector
    }
}

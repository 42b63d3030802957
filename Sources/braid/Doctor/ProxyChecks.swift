import Configuration
import Crypto
import Foundation
import Measures
import Proxy
import Shell
import Tunnel

/// A proxy's side: uplinks, names, and the way to the concentrator over each uplink by itself.
struct ProxyChecks {
    private let configuration: ProxyConfiguration
    private let findings: Findings
    private var settings: ProxySettings { configuration.settings }

    /// How long uplinks are silent before they are asked whether they still hear; nil: neither that
    /// nor their rates are measured.
    private let silence: Interval?

    init(_ configuration: ProxyConfiguration, _ findings: Findings, silence: Interval?) {
        self.configuration = configuration
        self.findings = findings
        self.silence = silence
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
        _ = findings.running("proxy", control: configuration.program.control)
        let uplinks = checkUplinks()
        guard !uplinks.isEmpty else { return }
        var ways: [(uplink: UplinkCandidate, client: JoinClient)] = [], silent: [Silence] = []
        defer { for way in ways { way.client.end() } }
        for uplink in uplinks {
            switch checkWay(uplink, others: uplinks.filter { $0.name != uplink.name }) {
            case .works(let client):
                ways.append((uplink, client))
                if silence != nil { checkRates(uplink, client) }
            case .silent(let why): silent.append(why)
            case .told: break
            }
        }
        tell(of: silent, isAnyHeard: !ways.isEmpty)
        if let silence { checkMemory(ways, silence) }
        if let way = ways.first { checkVersion(way.client.concentratorVersion) }
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

    // MARK: Uplinks

    private func checkUplinks() -> [UplinkCandidate] {
        let selectors = settings.uplinkSelectors
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
        for uplink in found where uplink.isTooNarrow {
            findings.wrong(
                "\(named(uplink)): its packets have \(uplink.mtu) bytes at most, and an uplink needs \(UplinkCandidate.leastPacket)",
                mend: "ip link set \(uplink.interface) mtu 1500, or what its network takes")
        }
        let usable = found.filter { !$0.isTooNarrow }
        if found.isEmpty {
            findings.wrong(
                "this machine has no uplink",
                mend:
                    "an uplink is an interface with an address and a default route, or one that uplinks: names"
            )
        } else if usable.count == 1 {
            findings.warning(
                "there is one uplink only, \(Printable.text(usable[0].name)): nothing goes on without it",
                mend: "connect another one; its default route may have a higher metric")
        }
        return usable
    }

    private enum Way {
        case works(JoinClient)
        case silent(Silence)
        /// What is wrong with it was said.
        case told
    }

    /// Why nothing came over an uplink, as far as that uplink shows it.
    private struct Silence {
        enum Reason {
            case noName
            /// The concentrator's host, or who stands before it, answers TCP.
            case answersTCP(String)
            case other(String)
        }
        /// The uplink with its addresses.
        var name: String
        var reason: Reason
    }

    /// A session over this uplink alone, where the concentrator answers.
    private func checkWay(_ uplink: UplinkCandidate, others: [UplinkCandidate]) -> Way {
        let name = named(uplink)
        var alone = settings
        // As a backup uplink the concentrator leaves it alone while it is silent.
        alone.mode = .backup
        alone.uplinks = [ProxySettings.UplinkChoice(uplink.ownSelector, isBackup: true)]
        let client: JoinClient
        do {
            client = try JoinClient(alone, loop: try EventLoop())
        } catch {
            findings.wrong("\(name): \(error)", mend: "is the interface usable?")
            return .told
        }
        guard client.waitForSession(Self.session) else {
            defer { client.end() }
            if client.hasNoAddress { return .silent(Silence(name: name, reason: .noName)) }
            if let host = whoAnswersTCP(uplink) {
                return .silent(Silence(name: name, reason: .answersTCP(host)))
            }
            let why =
                client.obstacle
                ?? UplinkDiagnosis.reason(
                    uplink, isIPv4: uplink.has(isIPv4: true), others: others)
            return .silent(Silence(name: name, reason: .other(why)))
        }
        let ways = client.ways(after: Self.size).filter { $0.works }
        guard let way = ways.first else {
            findings.wrong(
                "\(name): answered once, then no more",
                mend: "UDP may be throttled, or the link be as bad: try again")
            client.end()
            return .told
        }
        let trip = "\(Int(way.roundTrip.rounded(.up))) ms to \(Printable.text(way.remote))"
        if way.packetSize == 0 {
            findings.wrong(
                "\(name): \(trip), but packets of 1,280 bytes do not pass",
                mend:
                    "a tunnel or a router on the way drops them: lower the MTU there, or let ICMP through"
            )
        } else {
            findings.ok("\(name): \(trip), packets up to \(way.packetSize) bytes")
        }
        return .works(client)
    }

    private func named(_ uplink: UplinkCandidate) -> String {
        let addresses = uplink.addresses.map(\.description).joined(separator: " and ")
        return "\(Printable.text(uplink.name)) (\(addresses))"
    }

    /// The concentrator's address, where TCP to its port is answered or refused over the uplink.
    private func whoAnswersTCP(_ uplink: UplinkCandidate) -> String? {
        guard let loop = try? EventLoop(),
            let place = settings.concentrator.compactMap(\.socketAddress).first(where: {
                uplink.has(isIPv4: $0.address.isIPv4)
            })
        else { return nil }
        var answers: Bool?
        let binding = LocalBinding(interface: uplink.interface, addresses: uplink.addresses)
        let attempt = StreamSocket.connect(to: place, from: binding, loop: loop) { result in
            switch result {
            case .success(let socket):
                answers = true
                socket.reset()
            case .failure(let error): answers = error.code == ECONNREFUSED
            }
        }
        _ = loop.run(until: .seconds(2)) { answers != nil }
        attempt.cancel()
        return answers == true ? "\(place.address)" : nil
    }

    /// What may be tried where UDP is blocked or throttled; nothing where that is done already.
    private var otherPort: String {
        settings.concentrator.contains { $0.port != 443 } ? " (another port, 443, may pass)" : ""
    }

    /// What the silent uplinks mean together: where another one works, the concentrator runs and
    /// knows this machine, so that it is this one's network; where none does, it may be either.
    private func tell(of silent: [Silence], isAnyHeard: Bool) {
        var answersTCP = false
        for way in silent {
            let why: String
            switch way.reason {
            // It is one fault, whatever the uplinks.
            case .noName: continue
            case .other(let reason): why = reason
            case .answersTCP(let host) where isAnyHeard:
                why = """
                    \(host) answers TCP over it and no UDP: a firewall or the provider on this way blocks UDP\(otherPort), \
                    or a portal waits for a login: open a page in a browser over it
                    """
            case .answersTCP(let host):
                answersTCP = true
                why = "\(host) answers TCP over it and no UDP: see below"
            }
            findings.wrong("\(way.name): no answer over it", mend: why)
        }
        let names = silent.contains { if case .noName = $0.reason { true } else { false } }
        if names {
            let places = settings.concentrator.map(\.description).joined(separator: ", ")
            findings.wrong(
                "the concentrator's name does not resolve: \(Printable.text(places))",
                mend: "is it written right? Does this machine resolve names: getent hosts NAME")
        } else if !isAnyHeard {
            tellOfSilence(answersTCP: answersTCP)
        }
    }

    // MARK: Rates, and a NAT's memory

    /// At most, each way.
    private static let bytes = 2 << 20
    private static let rateTime = Interval.seconds(3)
    /// Share of datagrams above which a way is called lossy.
    private static let maximumLoss = 0.05

    private func checkRates(_ uplink: UplinkCandidate, _ client: JoinClient) {
        let name = named(uplink)
        guard let way = client.measure(bytes: Self.bytes, Self.rateTime) else {
            findings.warning(
                "\(name): the concentrator does not measure rates",
                mend: "it is older than this program, or busy with other measurements")
            return
        }
        func text(_ rate: Rate) -> String {
            let megabits = rate.megabitsPerSecond
            return String(format: megabits < 10 ? "%.1f" : "%.0f", megabits)
        }
        let rates = "\(text(way.downRate)) Mbit/s down and \(text(way.upRate)) up in UDP"
        if way.loss > Self.maximumLoss {
            findings.warning(
                "\(name): \(rates), with \(Int((way.loss * 100).rounded())) % of the datagrams lost",
                mend: """
                    where a download by TCP over this uplink is much faster, UDP is throttled on the way: another port \
                    (443) may be better; else the link is as bad
                    """)
        } else {
            findings.ok("\(name): \(rates)")
        }
        let seen = SocketAddress(way.seenAs)?.address
        if let seen, uplink.addresses.contains(seen) {
            findings.ok("\(name): no NAT, the concentrator sees its own address")
        } else {
            findings.ok("\(name): behind a NAT, seen as \(Printable.text(way.seenAs))")
        }
    }

    /// How long proxies are silent at most, seconds.
    private static let keepalive = Int(EndpointConfiguration.keepalive.seconds)

    private func checkMemory(
        _ ways: [(uplink: UplinkCandidate, client: JoinClient)], _ silence: Interval
    ) {
        let seconds = Int(silence.seconds)
        let heard = JoinClient.hear(ways.map(\.client), after: silence)
        for (way, heard) in zip(ways, heard) {
            let name = named(way.uplink)
            switch heard {
            case nil: break  // said with its rates
            case true?: findings.ok("\(name): hears after \(seconds) s of silence")
            case false? where seconds <= Self.keepalive:
                findings.wrong(
                    "\(name): hears nothing after \(seconds) s of silence",
                    mend: """
                        a NAT or firewall forgets UDP flows sooner than a proxy's keepalive of \(Self.keepalive) s: raise \
                        its time-out for UDP (RFC 4787 asks for 120 s)
                        """)
            case false?:
                findings.warning(
                    "\(name): hears nothing after \(seconds) s of silence",
                    mend: """
                        a NAT or firewall forgets UDP flows: proxies say something every \(Self.keepalive) s, see with \
                        --nat-timeout \(Self.keepalive) whether that is often enough
                        """)
            }
        }
    }

    // MARK: The concentrator

    private func tellOfSilence(answersTCP: Bool) {
        let places = settings.concentrator.map(\.description).joined(separator: ", ")
        findings.wrong(
            "nobody answers at \(Printable.text(places)) over any uplink",
            mend: """
                there: does it run (braid status), is its UDP port open (braid doctor there), is its public key \
                \(settings.concentratorKey.base64), does it know this proxy's, \
                \(settings.identity.publicKey.base64)? Its status shows which keys were refused\(answersTCP ? Self.otherwise : "")
                """)
    }

    private static let otherwise =
        ". Where all of that is right, UDP is blocked on every way from here, or a portal waits for a login"

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

import Crypto
import Measures
import Multipath
import Proxy
import Rules
import Shell
import Wire

/// What `braid proxy` needs to know.
public struct ProxyConfiguration: Equatable, Sendable {
    /// What every program has: log, status page, control socket, user.
    public var program: ProgramConfiguration
    /// For `ProxyServer`, with keys read and names checked.
    public var settings: ProxySettings

    /// What is allowed and yet worth a thought, in sentences.
    public var warnings: [String] {
        settings.listeners.filter(\.isOpenToOthers).map {
            "whoever reaches \($0.address) may use the proxy: no password is asked for"
        }
    }
}

/// Keys of a proxy's file.
enum ProxyKey: String, CommonKey {
    case concentrator, privateKeyFile = "private_key_file", listen, mode, open, uplinks, status,
        control, user
    case logLevel = "log_level", pcap, congestion, limits, udpRelay = "udp_relay", names, rules,
        capture
    case withoutSession = "without_session", logFormat = "log_format", history
    case cost
    /// The engine's word for it; a key keeps the name that files have it by.
    case backlogTime = "patience"
    case idleHint = "idle_hint"
}

/// Keys of `concentrator`.
enum ConcentratorAddressKey: String, CaseIterable {
    case address, publicKey = "public_key", preSharedKeyFile = "pre_shared_key_file"
}

/// Keys of one of the `uplinks`.
enum UplinkKey: String, CaseIterable {
    case interface, address, role, warm, price, allowance
    case onEmpty = "on_empty"
}

/// The words for an uplink's part in the backup mode.
enum UplinkRole: String, CaseIterable { case regular, backup }

extension ProxyConfiguration {
    /// Reads a tree; nil where anything is wrong, all of which then stands in `report`.
    init?(_ root: Item, folder: String, report: Report) {
        guard let table = Table<ProxyKey>(root, name: "", place: root.place, report: report) else {
            return nil
        }
        let common = Common(CommonFields(table), folder: folder)
        table[.limits]?.refuse(
            [
                .connectionsPerUser, .associationsPerUser, .datagramsPerUser, .questionsPerUser,
                .flowsPerUser
            ], "is the concentrator's to limit; a proxy has one user")
        let peer = table.required(
            .concentrator,
            "write concentrator: { address: \"203.0.113.7:443\", public_key: \"...\" }"
        ).flatMap { Peer($0, folder: folder, own: common.identity?.publicKey) }
        let listeners = ProxyConfiguration.listeners(table[.listen])
        let mode = table[.mode].map { $0.choice(ModeChoice.self) } ?? Defaults.mode
        let idleHint = table[.idleHint].flatMap { $0.choice(IdleHintSource.self) }
        let open = table[.open].map { $0.choice(OpenPolicy.self) } ?? Defaults.open
        let relayAddress = table[.udpRelay].flatMap { ProxyConfiguration.relayAddress($0) }
        let names = table[.names].map { NameSettings($0) } ?? NameSettings()
        let uplinks = table[.uplinks].map { ProxyConfiguration.uplinks($0) } ?? []
        let cost = table[.cost].map { $0.choice(CostPolicy.self) } ?? .ignore
        let backlogTime =
            table[.backlogTime].map { $0.interval(in: Defaults.backlogTimeRange) }
            ?? Defaults.backlogTime
        if let cost { ProxyConfiguration.checkMoney(uplinks, cost, table[.cost], table[.uplinks]) }
        let section = RuleSection(
            listeners: listeners.map(\.address), uplinks: uplinks.map(\.selector), folder: folder)
        let rules = table[.rules].map { section.read($0) } ?? RuleSet()
        let withoutSession =
            table[.withoutSession].map { $0.choice(WithoutSession.self) }
            ?? Defaults.withoutSession
        let capture = table[.capture].flatMap { CapturePlan($0) }
        guard report.problems.isEmpty,
            let identity = common.identity,
            let withoutSession,
            let peer,
            let mode,
            let open,
            let cost,
            let backlogTime
        else { return nil }
        program = common.program
        settings = ProxySettings(
            identity: identity, concentrator: peer.addresses, concentratorKey: peer.publicKey,
            listeners: listeners)
        settings.preSharedKey = peer.preSharedKey
        settings.mode = mode
        settings.idleHint = idleHint
        settings.open = open
        settings.uplinks = uplinks
        settings.cost = cost
        settings.backlogTime = backlogTime
        settings.relayAddress = relayAddress
        settings.names = names
        settings.rules = rules
        settings.withoutSession = withoutSession
        settings.capture = capture
        settings.take(common)
    }

    private static func relayAddress(_ field: Field) -> IPAddress? {
        guard let text = field.text() else { return nil }
        guard let address = IPAddress(text), !address.isUnspecified else {
            return field.wrong(
                "\"\(text)\" is no address applications could send to, such as 192.168.1.10")
        }
        return address
    }

    /// The concentrator as the proxy knows it.
    private struct Peer {
        var addresses: [Target]
        var publicKey: Key32
        var preSharedKey: Key32?

        init?(_ field: Field, folder: String, own: Key32?) {
            guard let table = Table<ConcentratorAddressKey>(field) else { return nil }
            let addresses = table.required(.address, "give it as HOST:PORT").flatMap(Peer.addresses)
            let keyField = table.required(
                .publicKey, "it is what braid keygen printed on the concentrator")
            var key = keyField?.publicKey()
            if let found = key, found == own {
                key = keyField?.wrong("is this proxy's own key; it must be the concentrator's")
            }
            preSharedKey = table[.preSharedKeyFile]?.key(relativeTo: folder)
            guard let addresses, let key else { return nil }
            self.addresses = addresses
            publicKey = key
        }

        private static func addresses(_ field: Field) -> [Target]? {
            guard let fields = field.list() else { return nil }
            guard !fields.isEmpty else {
                return field.wrong("is empty; give at least one HOST:PORT")
            }
            return fields.map { field -> Target? in
                guard let found = field.hostAndPort(defaultPort: Defaults.concentratorPort) else {
                    return nil
                }
                if case .address(let address) = found.host, address.isUnspecified {
                    return field.wrong(
                        "\(found) is no address to send to; give the concentrator's own")
                }
                return found
            }.reduce([]) { all, one in all.flatMap { all in one.map { all + [$0] } } }
        }
    }

    /// What is wrong with a place to listen that `flag` names, as a sentence; nil: nothing.
    public static func problem(ofListener text: String, flag: String) -> Problem? {
        let report = Report(), item = Item.text(text, .flag(flag))
        _ = Field(name: "listen", item: item, place: item.place, report: report).listener()
        return report.problems.first
    }

    private static func listeners(_ field: Field?) -> [ProxyListener] {
        guard let field else {
            let item = Item.text(Defaults.proxyListen, .commandLine)
            return [
                Field(name: "listen", item: item, place: item.place, report: Report()).listener()
            ]
            .compactMap(\.self)
        }
        guard let fields = field.list() else { return [] }
        if fields.isEmpty {
            field.complain("is empty; name a port, such as \(Defaults.proxyListen)")
        }
        var found: [ProxyListener] = []
        for field in fields {
            guard let listener = field.listener() else { continue }
            if found.contains(where: { $0.address == listener.address }) {
                field.complain("\(listener.address) is listened on twice; leave one of them out")
            }
            found.append(listener)
        }
        return found
    }

    private static func uplinks(_ field: Field) -> [ProxySettings.UplinkChoice] {
        guard let fields = field.list() else { return [] }
        if fields.isEmpty {
            field.complain(
                "is empty; name one, or leave the key out to use every interface with a default route"
            )
        }
        var found: [ProxySettings.UplinkChoice] = []
        for field in fields {
            guard let uplink = field.uplink() else { continue }
            if found.contains(where: { $0.selector == uplink.selector }) {
                field.complain("is listed twice; leave one of them out")
            }
            found.append(uplink)
        }
        if !found.isEmpty, found.count == fields.count, found.allSatisfy(\.isBackup) {
            field.complain("all are backup; at least one must be regular")
        }
        return found
    }
}

extension ProxySettings {
    /// What both kinds of file say, as a proxy has it.
    fileprivate mutating func take(_ common: Common) {
        connection = common.connection
        maximumClients = common.connections ?? Defaults.proxyConnections
        clients.dialogue = common.dialogue
        clients.idleBody = common.idleBody
        clients.unauthenticated = common.unauthenticated
        direct.dials = common.dials
        direct.lookUps = common.lookUps
        memory = common.memory ?? SystemMemory.limit() / Defaults.proxyMemoryPart
        pcap = common.pcap
        drain = common.drain
    }
}

extension Field {
    fileprivate func uplink() -> ProxySettings.UplinkChoice? {
        guard let table = Table<UplinkKey>(self) else { return nil }
        let role = table[.role].map { $0.choice(UplinkRole.self) } ?? .regular
        let warm = table[.warm].map { $0.choice(Truth.self) } ?? .false
        if warm == .true, role == .regular {
            table[.warm]?.complain("is for backup uplinks; a regular one is kept awake by its use")
        }
        let interface = table[.interface], address = table[.address]
        let selector: UplinkSelector?
        switch (interface, address) {
        case (let field?, nil): selector = field.interfaceName().map { .interface($0) }
        case (nil, let field?): selector = field.subnet().map { .source($0) }
        case (.some, .some):
            return wrong("has both interface and address; an uplink is found by one of them")
        case (nil, nil):
            return wrong("needs interface (such as wlan0) or address (such as 192.168.1.0/24)")
        }
        let tariff = tariff(table)
        guard let role, let warm, let selector else { return nil }
        var choice = ProxySettings.UplinkChoice(
            selector, isBackup: role == .backup, isWarm: warm == .true)
        choice.tariff = tariff
        return choice
    }

    /// Nil where nothing is said of money.
    private func tariff(_ table: Table<UplinkKey>) -> Tariff? {
        guard table.has(.price) || table.has(.allowance) || table.has(.onEmpty) else { return nil }
        var tariff = Tariff()
        tariff.price = table[.price]?.price()
        tariff.allowance = table[.allowance]?.allowance()
        if let field = table[.onEmpty] {
            if !table.has(.allowance) { field.complain("is about an allowance; give one") }
            tariff.onEmpty = field.onEmpty() ?? .backup
        }
        return tariff
    }

    /// A network device's name, as the kernel allows it; the device may come later.
    private func interfaceName() -> String? {
        guard let text = text() else { return nil }
        guard (1...15).contains(text.utf8.count),
            !text.contains(where: { $0.isWhitespace || $0 == "/" || $0 == ":" })
        else {
            return wrong("\"\(text)\" can't be an interface; `ip link` lists their names")
        }
        return text
    }

    func subnet() -> Subnet? {
        guard let text = text() else { return nil }
        guard let subnet = Subnet(text) else {
            return wrong("\"\(text)\" is not an address or a range such as 192.168.1.0/24")
        }
        return subnet
    }
}

import Crypto
import Dialogue
import Glibc
import History
import Logging
import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// The proxy: applications in on TCP, one session to the concentrator out on every uplink.
///
/// It opens its parts and hands on what happens to them: applications and their ports
/// (`ClientTable`, `ListeningPorts`), the session (`SessionMonitor`), uplinks (`UplinkSet`,
/// `UplinkMetering`), names and capture. What becomes of a request is decided in `Requests`.
public final class ProxyServer: EngineDelegate {
    /// As given at the start, or by `apply`; `mode` and the uplinks' roles may be others meanwhile.
    public internal(set) var settings: ProxySettings
    /// The engine with its sockets.
    public let driver: EngineDriver
    /// Where it listens, with the ports the system chose for port 0.
    public var listen: [SocketAddress] { ports.addresses }
    /// What it reports and counts.
    public var recorder: Recorder { reports.recorder }
    /// Called once, when everything has ended after `stop()`.
    public var onStopped: (() -> Void)?

    let loop: EventLoop
    let log: Logger
    private let reports: ProxyReports
    let notices: ClientNotices
    var clients: ClientTable
    let ports: ListeningPorts
    let uplinks: UplinkSet
    let session: SessionMonitor
    let restrictions: UplinkRestrictions
    var datagrams = DatagramCounters()
    let relaySockets: RelaySockets
    let relayShare = RelayShare()
    /// Answers programs' questions for names; captured ones come in by its `ask` and `serve`.
    let names: NameService
    /// Where sockets are read into before it is known what the bytes are; used within one call
    /// only.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    /// Of the connections whose listener has none of its own.
    public private(set) var mode: ModeChoice
    /// How often the rules have become others: what they have decided for ever may be asked again.
    var rulesChanged = 0
    /// Made for the first connection that leaves from this machine.
    private(set) var direct: DirectDials?
    let began: Instant
    private(set) var shutdown: Shutdown?
    private(set) var capture: Capture?
    /// Runs after a capture was handed over.
    private var arrivals: LoopTimer?
    /// From a program's SYN to the connection, in which it may send one once more.
    private static let arrival = Interval.seconds(2)
    let metering: UplinkMetering
    /// What mode auto knows of the person.
    private(set) var person: PersonHint?
    private var usage: UsageTimer?

    /// Opens the ports and begins to look for uplinks and the concentrator's addresses; what
    /// happens from then on it reports to `recorder`.
    public init(
        _ settings: ProxySettings, program: String = "", loop: EventLoop,
        recorder: Recorder = Recorder(),
        log: Logger = Logger(label: "proxy")
    ) throws(SystemError) {
        precondition(!settings.concentrator.isEmpty, "a proxy has a concentrator")
        // Before any socket is opened.
        if settings.capture != nil { try OwnSockets.mark() }
        self.settings = settings
        self.loop = loop
        self.log = log
        reports = ProxyReports(recorder)
        notices = ClientNotices(loop: loop, log: log)
        clients = ClientTable(configured: settings.maximumClients)
        mode = settings.mode
        began = loop.now()
        let known = settings.concentrator.compactMap(\.socketAddress)
        var configuration = settings.endpoint(known, maximumClients: clients.maximum)
        configuration.program = program
        driver = Self.driver(configuration, loop)
        relaySockets = RelaySockets(loop: loop)
        names = try NameService(
            settings.names, driver: driver, relaySockets: relaySockets, loop: loop, log: log)
        reports.handovers = HandoverWatch(driver)
        if let path = settings.pcap { try driver.record(to: path) }
        ports = ListeningPorts(loop: loop, log: log)
        try ports.change(to: settings.listeners) { [clients] in
            settings.maximumPending($0, clients: clients.maximum)
        }
        let uplinks = try UplinkSet(settings, driver: driver, log: log, reports: reports)
        self.uplinks = uplinks
        let restrictions = UplinkRestrictions(driver) { [weak uplinks] in
            uplinks?.numbers(of: $0) ?? []
        }
        self.restrictions = restrictions
        uplinks.sockets.numbersChanged = { [weak restrictions] in restrictions?.renew() }
        session = try SessionMonitor(
            settings, program: program, uplinks: uplinks, driver: driver, log: log)
        recorder.note(.started)
        metering = UplinkMetering(
            settings, driver: driver, recorder: recorder, log: log,
            nameOf: { [weak uplinks] in uplinks?.sockets.name($0) },
            changed: { [weak uplinks] in uplinks?.apply($1, to: $0) })
        names.concentrators = ConcentratorAddresses.names(of: settings.concentrator)
        connectParts()
        warnOfNoBackup()
        askForPerson()
        uplinks.start(known)
        session.start()
        if let plan = settings.capture { capture = try Capture(plan, self, log: log) }
        log.info(
            "listening", metadata: ["on": "\(listen.map(\.description).joined(separator: " "))"])
        warnOfFewDescriptors()
        warnOfOpenListeners()
    }

    /// The engine, not yet with a socket.
    private static func driver(
        _ configuration: EndpointConfiguration, _ loop: EventLoop
    ) -> EngineDriver {
        var configuration = configuration
        configuration.epoch = EventLoop.epoch()
        configuration.machine = MachineNumber.ofThisMachine(
            for: configuration.identity.publicKey)
        let endpoint = Endpoint(
            configuration: configuration, seed: SystemRandom.key(), at: loop.now())
        return EngineDriver(endpoint: endpoint, loop: loop)
    }

    /// What its parts tell it, and ask it.
    private func connectParts() {
        driver.delegate = self
        ports.accepted = { [weak self] in self?.accepted($0, $1, $2) }
        ports.makeRoom = { [weak self] in self?.makeRoom() == true }
        session.unreachable = { [weak self] in self?.unreachable($0, hasSession: $1) }
        usage = UsageTimer(
            driver, delay: { [recorder] in .milliseconds(recorder.untilCount) },
            count: { [weak self] in self?.countUsage() })
        recorder.wantsCount = { [weak self] in self?.usage?.hurry() }
        person = PersonHint(loop: loop, log: log) { [weak self] in self?.follow($0) }
        names.absence = { [weak self] in self?.absenceForNames }
    }

    deinit { scratch.deallocate() }

    // MARK: Clients

    private func accepted(_ socket: StreamSocket, _ port: ListeningPort, _ from: SocketAddress) {
        guard hasSpace(for: socket) else { return }
        let pending = PendingDialogue(source: Source(from.address), port: port)
        admit(ProtocolDetector(socket, self, port.listener, pending))
    }

    /// Takes over a connection that was captured on its way to `target`; `dial`: where it stands
    /// already.
    func captured(
        _ socket: StreamSocket, to target: Target, _ listener: ProxyListener,
        after dial: CapturedDial? = nil
    ) {
        guard hasSpace(for: socket) else { dial?.cut(); return }
        notices.counters.requests += 1
        let captured = TunnelClient(
            socket, self, listener, target, .captured, early: [], after: dial)
        guard needsName(target, from: captured.flowOrigin) != .never else {
            admit(captured)
            return
        }
        admit(CapturedClient(socket, self, listener, target, after: dial))
    }

    /// Whether another client may be; if not, it is told so.
    private func hasSpace(for socket: StreamSocket) -> Bool {
        notices.counters.accepted += 1
        switch clients.space(at: loop.now()) {
        case .free: return true
        case .insteadOf(let displaced):
            displace(displaced, because: "too many clients: one")
            return true
        case .none:
            notices.counters.turnedAway += 1
            notices.full(
                "turned away: too many clients, and none of them idle", maximum: clients.maximum)
            socket.reset()
            return false
        }
    }

    /// Closes what would be missed least, so that there are descriptors for another client: some
    /// clients take several, so that there may be none long before there are too many clients.
    func makeRoom() -> Bool {
        if let displaced = clients.missedLeast(at: loop.now()) {
            displace(displaced, because: "no descriptors: a client")
            return true
        }
        return direct?.stopLingering() == true
    }

    private func displace(_ client: ClientConnection, because what: String) {
        notices.counters.displaced += 1
        notices.full(
            "\(what) that carried nothing is closed for the next", maximum: clients.maximum)
        client.cut()
    }

    private func admit(_ client: ClientConnection) {
        if let crowdedOut = clients.insert(client) {
            notices.crowdedOut(on: client.listener)
            crowdedOut.cut()
        }
        client.start()
    }

    func replace(_ client: ClientConnection, by next: ClientConnection) {
        clients.remove(client)
        admit(next)
    }

    func left(_ client: ClientConnection) {
        clients.remove(client)
        noteRemaining()
    }

    /// Something that the end waits for may be over.
    func noteRemaining() {
        guard arrivals == nil else { return }
        shutdown?.noteRemaining(clients.count + (capture?.carriedOn ?? 0))
    }

    // MARK: Streams

    func openAssociation(
        _ policy: DatagramPolicy, mode: HandoverMode?, uplinks: [String]?
    ) -> StreamHandle {
        let handle = driver.endpoint.openAssociation(
            policy: policy, mode: mode, only: uplinks.map { restrictions[$0] }, at: loop.now())
        return handle
    }

    /// What connections from this machine have in common, made for the first of them; nil where
    /// there can be none.
    func directDials() -> DirectDials? {
        if let direct { return direct }
        do {
            let made = try DirectDials(
                settings.direct, memory: settings.memory / 2, driver: driver)
            direct = made
            return made
        } catch {
            notices.noDirectConnection(error)
            return nil
        }
    }

    /// How what leaves by the uplink does; nil where it is not there.
    func localBinding(by uplink: String?) -> LocalBinding? {
        guard let uplink else { return LocalBinding() }
        return uplinks.localBinding(by: uplink)
    }

    // MARK: Events

    /// Called by the driver for every event of the engine.
    public func handle(_ event: EndpointEvent) {
        if case .activity(let handle) = event { handle.owner?.activity(); return }
        reports.note(event)
        session.handle(event)
        switch event {
        case .answered(let handle, let status): handle.owner?.answered(status)
        case .sessionOpened: names.sessionOpened()
        case .modeChanged(_, let mode, let demand):
            recorder.note(.modeChanged, detail: "\(mode.rawValue) (auto: \(demand.label))")
            log.info("mode is \(mode.rawValue)", metadata: ["since": "\(demand.label)"])
        default: break
        }
    }

    /// Those who wait for a session are told why there is none. A captured dial that a silent one
    /// has is refused as the others are, but makes no second way beside it.
    private func unreachable(_ status: DialStatus, hasSession: Bool) {
        for client in clients.all { client.unreachable(status) }
        if !hasSession || settings.withoutSession == .refuse { capture?.unreachable(status) }
    }

    /// Called by the driver when an uplink's socket can't send any more; the monitor says when it
    /// is back.
    public func uplinkFailed(_ number: UplinkNumber, _ error: SystemError) {
        let name = uplinks.sockets.name(number) ?? "?"
        reports.failed(name, "\(error)")
        log.notice("uplink failed", metadata: ["uplink": "\(name)", "why": "\(error)"])
    }

    // MARK: Control

    /// Changes the handover mode, also of living connections. Nil, or why it can't be had.
    @discardableResult public func setMode(_ wish: ModeWish) -> String? {
        let mode = wish.choice
        if mode == .backup, !uplinks.hasBackup {
            return Self.noBackup(uplinks.knownNames)
        }
        take(wish)
        return nil
    }

    func take(_ wish: ModeWish) {
        let mode = wish.choice
        if let fixed = mode.fixed {
            guard mode != self.mode else { return }
            driver.endpoint.setMode(fixed, at: loop.now())
        } else {
            person?.say(wish.hint)
            driver.endpoint.followUse(hint: person?.hint ?? wish.hint, at: loop.now())
        }
        self.mode = mode
        askForPerson()
        recorder.note(.modeChanged, detail: wish.words)
        log.notice("mode is now \(wish.words)")
    }

    /// Logind is asked while the mode follows from use and nobody has said better.
    func askForPerson() { person?.ask(mode == .auto && settings.asksLogind) }

    private func follow(_ hint: ModeByUse.Hint) {
        guard mode == .auto else { return }
        driver.endpoint.followUse(hint: hint, at: loop.now())
    }

    private static func noBackup(_ names: [String]) -> String {
        "no uplink has the role backup, so that all would go on carrying data: give it to one first with "
            + "braid uplink NAME backup"
            + (names.isEmpty ? "" : " (NAME: \(names.joined(separator: ", ")))")
    }

    /// Changes the role of an uplink, while connections live on. Nil, or why that is not possible.
    public func setRole(_ role: UplinkRole, of name: String) -> String? {
        if mode == .backup, role == .regular, uplinks.isOnlyBackup(name) {
            return "no other uplink has the role backup, so that all would carry data: change the "
                + "mode first with braid mode"
        }
        guard uplinks.setRole(role, of: name) else {
            let names = uplinks.knownNames
            return "there is no uplink \(name)"
                + (names.isEmpty
                    ? "; there is none at present" : ", only \(names.joined(separator: ", "))")
        }
        return nil
    }

    /// What an uplink has used in the present period of its allowance, as somebody knows better.
    /// Nil, or why that can't be set.
    public func setUsage(_ bytes: Int, of name: String) -> String? {
        metering.set(bytes, of: name)
    }

    /// Stops accepting and ends when the last application has, or after `drain`; called again, at
    /// once.
    /// `drain`: nil: as the settings say.
    public func stop(drain: Interval? = nil) {
        if let shutdown { shutdown.endNow(); return }
        recorder.note(.stopping)
        log.notice("stopping", metadata: ["clients": "\(clients.count)"])
        ports.close()
        capture?.stopAccepting()
        let limit = drain ?? settings.drain
        let shutdown = Shutdown(loop: loop, limit: limit) { [weak self] in self?.finish() }
        self.shutdown = shutdown
        guard capture?.isHandedOver == true else { return noteRemaining() }
        // Connections that the kernel has given to this process's ports arrive still.
        let timer = loop.timer(for: self) { server in
            server.arrivals = nil
            server.noteRemaining()
        }
        timer.arm(after: Self.arrival)
        arrivals = timer
    }

    private func finish() {
        for client in clients.all { client.cut() }
        names.stop()
        capture?.close()
        capture = nil
        direct?.stop()
        uplinks.stop()
        session.stop()
        driver.end()
        uplinks.countUsage()
        metering.stop()
        person = nil
        recorder.note(.stopped)
        log.notice("stopped")
        onStopped?()
    }

    /// What uplinks have moved until now goes into the ledger, and from there to whoever keeps it.
    private func countUsage() {
        uplinks.countUsage()
        recorder.save()
    }

}

extension Target {
    /// The address and port, where the target is not a name.
    public var socketAddress: SocketAddress? {
        if case .address(let address) = host { SocketAddress(address, port: port) } else { nil }
    }
}

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
public final class ProxyServer: EngineDelegate {
    /// As given at the start, or by `apply`; `mode` and the uplinks' roles may be others meanwhile.
    public internal(set) var settings: ProxySettings
    /// The engine with its sockets.
    public let driver: EngineDriver
    /// Where it listens, with the ports the system chose for port 0.
    public var listen: [SocketAddress] { ports.map(\.address) }
    /// What it reports and counts.
    public var recorder: Recorder { reports.recorder }
    /// Called once, when everything has ended after `stop()`.
    public var onStopped: (() -> Void)?

    let loop: EventLoop
    let log: Logger
    /// The version of this program.
    let program: String
    /// What was said last of the concentrator's version.
    private var versionNote: String?
    private let reports: ProxyReports
    var counters = Counters()
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
    /// Applications served at once: as configured, or as many as there are descriptors.
    var maximumClients: Int
    /// After wrong passwords, on all listeners that ask for one.
    private(set) var guesses = GuessPauses()
    /// In the order of the settings.
    var ports: [ListeningPort] = []
    /// How often the rules have become others: what they have decided for ever may be asked again.
    var rulesChanged = 0
    private var lastNumber: UInt64 = 0
    private var clients: [ObjectIdentifier: ClientConnection] = [:]
    private var displacement = Displacement<ClientConnection>()
    var uplinks: UplinkSet?
    var concentrator: ConcentratorAddresses?
    /// What the concentrator has announced besides the addresses of the configuration.
    var announced: [SocketAddress] = []
    /// Pairs of uplink and address for which the session has no path left.
    private var leftOut: [String] = []
    /// Since when the session, or what there is of it, has been silent.
    private var silentSince: Instant?
    var direct: DirectDials?
    var restrictions: [[String]: UplinkRestriction] = [:]
    var reachability = Reachability()
    private var notices = NoticeLimit()
    private let began: Instant
    private(set) var shutdown: Shutdown?
    private var capture: Capture?
    private var metering: UplinkMetering?
    /// Runs while no session is up.
    private var silence: LoopTimer?
    /// Runs from a datagram until it is counted.
    private var usageTimer: LoopTimer?

    struct Counters {
        var accepted = 0, turnedAway = 0, refusedDialogues = 0, requests = 0, failedDials = 0
        var wrongPasswords = 0, crowdedOut = 0, displaced = 0, blocked = 0
    }

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
        self.program = program
        self.loop = loop
        self.log = log
        reports = ProxyReports(recorder)
        mode = settings.mode
        // Beyond it nobody could be accepted, and silent ones would be in the way of all others.
        maximumClients = min(settings.maximumClients, DescriptorLimit.maximumConnections)
        began = loop.now()
        let known = settings.concentrator.compactMap(\.socketAddress)
        var configuration = settings.endpoint(known, maximumClients: maximumClients)
        configuration.epoch = EventLoop.epoch()
        configuration.program = program
        configuration.machine = Self.machine(for: settings.identity.publicKey)
        let endpoint = Endpoint(
            configuration: configuration, seed: SystemRandom.key(), at: loop.now())
        driver = EngineDriver(endpoint: endpoint, loop: loop)
        relaySockets = RelaySockets(loop: loop)
        names = try NameService(
            settings.names, driver: driver, relaySockets: relaySockets, loop: loop, log: log)
        driver.delegate = self
        reports.handovers = HandoverWatch(driver)
        if let path = settings.pcap { try driver.record(to: path) }
        for listener in settings.listeners { ports.append(try open(listener)) }
        let uplinks = try UplinkSet(settings, driver: driver, log: log, reports: reports)
        self.uplinks = uplinks
        uplinks.sockets.numbersChanged = { [weak self] in self?.renewRestrictions() }
        concentrator = try lookFor(settings.concentrator)
        recorder.note(.started)
        warnOfNoBackup()
        usageTimer = loop.timer(for: self) { $0.countUsage() }
        awaitTraffic()
        metering = try UplinkMetering(
            settings, driver: driver, recorder: recorder, log: log,
            nameOf: { [weak uplinks] in uplinks?.sockets.name($0) })
        metering?.changed = { [weak uplinks] in uplinks?.apply($1, to: $0) }
        for choice in settings.uplinks {
            let name = choice.selector.description
            if let metering { uplinks.apply(metering.consequence(for: name), to: name) }
        }
        names.absence = { [weak self] in self?.absenceForNames }
        uplinks.start(known)
        _ = reachability.noteUplinks(changes: uplinks.changes)
        concentrator?.start()
        if let plan = settings.capture { capture = try Capture(plan, self, log: log) }
        silence = loop.timer(for: self) { $0.stillSilent() }
        silence?.arm(after: reachability.wait)
        log.info(
            "listening", metadata: ["on": "\(listen.map(\.description).joined(separator: " "))"])
        warnOfFewDescriptors()
        warnOfOpenListeners()
    }

    deinit { scratch.deallocate() }

    /// The machine's number for this key, which tells nobody what machine it is.
    private static func machine(for key: Key32) -> UInt32? {
        guard let file = fopen("/etc/machine-id", "r") else { return nil }
        defer { fclose(file) }
        var name = [UInt8](repeating: 0, count: 64)
        let count = fread(&name, 1, name.count, file)
        return count < 32 ? nil : MachineNumber.make(name: name[..<count], key: key)
    }

    // MARK: Clients

    func nextNumber() -> UInt64 {
        lastNumber &+= 1
        return lastNumber
    }

    func accepted(_ socket: StreamSocket, _ port: ListeningPort, _ from: SocketAddress) {
        guard hasRoom(for: socket) else { return }
        let pending = PendingDialogue(source: Source(from.address), port: port)
        admit(ProtocolDetector(socket, self, port.listener, pending))
    }

    /// Takes over a connection that was captured on its way to `target`; `dial`: where it stands
    /// already.
    func captured(
        _ socket: StreamSocket, to target: Target, _ listener: ProxyListener,
        after dial: CapturedDial? = nil
    ) {
        guard hasRoom(for: socket) else { dial?.cut(); return }
        counters.requests += 1
        let captured = TunnelClient(
            socket, self, listener, target, .captured, early: [], after: dial)
        guard dial == nil, asksForName(target, from: captured.flowOrigin) else {
            admit(captured)
            return
        }
        admit(CapturedClient(socket, self, listener, target))
    }

    /// Whether another client may be; if not, it is told so.
    private func hasRoom(for socket: StreamSocket) -> Bool {
        counters.accepted += 1
        if clients.count < maximumClients || makeRoom() { return true }
        counters.turnedAway += 1
        tellFull("turned away: too many clients, and none of them idle")
        socket.reset()
        return false
    }

    /// Whether a captured connection from this address lives.
    func hasCaptured(from address: IPAddress) -> Bool {
        clients.values.contains { $0.listener.isCapture && $0.address == address }
    }

    /// Whether the address is one of the concentrator's.
    func isConcentrator(_ address: IPAddress) -> Bool {
        announced.contains { $0.address == address }
            || concentrator?.current.contains { $0.address == address } == true
    }

    /// Closes the client that is missed least; false where none may be closed.
    private func makeRoom() -> Bool {
        let displaced = displacement.next(
            of: { [clients] in clients.values.map { ($0, $0.source) } },
            standing: { $0.isOver ? nil : $0.standing }, at: loop.now())
        guard let displaced else { return false }
        counters.displaced += 1
        tellFull("too many clients: one that carried nothing is closed for the next")
        displaced.cut()
        return true
    }

    private func tellFull(_ what: Logger.Message) {
        guard let silent = notices.pass(at: loop.now()) else { return }
        log.notice(
            what, metadata: ["maximum": "\(maximumClients)", "not_logged_before": "\(silent)"])
    }

    private func admit(_ client: ClientConnection) {
        clients[ObjectIdentifier(client)] = client
        if let pending = client.pending,
            let crowdedOut = pending.port.pending.add(
                client, number: client.number, from: pending.source)
        {
            counters.crowdedOut += 1
            if let silent = notices.pass(at: loop.now()) {
                log.notice(
                    "too many connections in their dialogue: the oldest is closed",
                    metadata: [
                        "on": "\(client.listener.address)", "not_logged_before": "\(silent)"
                    ])
            }
            crowdedOut.cut()
        }
        client.start()
    }

    func replace(_ client: ClientConnection, by next: ClientConnection) {
        forget(client)
        admit(next)
    }

    private func forget(_ client: ClientConnection) {
        clients[ObjectIdentifier(client)] = nil
        if let pending = client.pending {
            pending.port.pending.remove(client.number, from: pending.source)
        }
    }

    /// Somebody showed a wrong name or password, told from others by `shown`.
    func wrongPassword(_ shown: ArraySlice<UInt8>, from source: Source, on listener: ProxyListener)
    {
        counters.wrongPasswords += 1
        guesses.noteWrong(source, hash: shown.hashValue, at: loop.now())
        guard let silent = notices.pass(at: loop.now()) else { return }
        log.notice(
            "wrong user name or password",
            metadata: [
                "from": "\(source)", "on": "\(listener.address)", "not_logged_before": "\(silent)"
            ])
    }

    func left(_ client: ClientConnection) {
        forget(client)
        shutdown?.noteRemaining(clients.count)
    }

    // MARK: Streams

    func openAssociation(
        _ policy: DatagramPolicy, mode: HandoverMode?, uplinks: [String]?
    ) -> StreamHandle {
        let handle = driver.endpoint.openAssociation(
            policy: policy, mode: mode, only: uplinks.map { restriction(to: $0) }, at: loop.now())
        driver.kick()
        return handle
    }

    /// What connections that may use these uplinks only are given; made once for each such list of
    /// the rules.
    func restriction(to names: [String]) -> UplinkRestriction {
        if let known = restrictions[names] { return known }
        let made = UplinkRestriction()
        restrictions[names] = made
        restrict(made, to: names)
        return made
    }

    private func restrict(_ restriction: UplinkRestriction, to names: [String]) {
        let numbers = names.flatMap { uplinks?.numbers(of: $0) ?? [] }
        driver.endpoint.restrict(restriction, to: numbers, at: loop.now())
    }

    /// Uplinks came, or their numbers are others.
    func renewRestrictions() {
        for (names, restriction) in restrictions { restrict(restriction, to: names) }
    }

    /// There is no socket for an association.
    func noRelay(_ error: SystemError) {
        counters.failedDials += 1
        guard let silent = notices.pass(at: loop.now()) else { return }
        log.warning(
            "no association: \(error)", metadata: ["not_logged_before": "\(silent)"])
    }

    func dialFailed(_ target: Target, _ status: DialStatus) {
        counters.failedDials += 1
        guard let silent = notices.pass(at: loop.now()) else { return }
        var metadata: Logger.Metadata = ["target": "\(target)", "reason": "\(status)"]
        if silent > 0 { metadata["not_logged_before"] = "\(silent)" }
        log.notice("could not connect", metadata: metadata)
    }

    /// What an HTTP application is told: without a session it is not the target that was silent.
    func refusal(
        _ status: DialStatus, _ target: Target, by dialler: HTTPRefusal.Dialler
    ) -> HTTPRefusal {
        if dialler == .proxy { return HTTPRefusal(status, target: target, by: dialler) }
        if let obstacle { return obstacle.refusal }
        guard status == .timedOut, reachability.sessions == 0 else {
            return HTTPRefusal(status, target: target)
        }
        return Reachability.Obstacle.noAnswer.refusal
    }

    /// Why a request can't be served now, where that is known.
    var obstacle: Reachability.Obstacle? {
        if reachability.sessions == 0, reachability.noteUplinks(changes: uplinks?.changes ?? 0) {
            silence?.arm(after: reachability.wait)
        }
        return reachability.obstacle(
            hasUplink: uplinks?.hasAny == true,
            hasAddress: concentrator?.current.isEmpty == false)
    }

    /// The same, also for a session that was silent for a while and may be dead.
    var obstacleOrSilence: Reachability.Obstacle? {
        if let obstacle { return obstacle }
        guard settings.withoutSession == .direct, let silentSince,
            loop.now() - silentSince >= Reachability.firstWait
        else { return nil }
        return .noAnswer
    }

    /// Whether there is one that is not silent.
    var hasSession: Bool { reachability.sessions > 0 && silentSince == nil }

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
            if notices.pass(at: loop.now()) != nil { log.warning("no direct connection: \(error)") }
            return nil
        }
    }

    /// How what leaves by the uplink does; nil where it is not there.
    func departure(by uplink: String) -> Departure? { uplinks?.departure(by: uplink) }

    /// A request has no session; the next one may be luckier.
    func hastenSession() {
        driver.endpoint.hastenHandshake(at: loop.now())
        driver.kick()
    }

    // MARK: Events

    /// Called by the driver for every event of the engine.
    public func handle(_ event: EndpointEvent) {
        if case .activity(let handle) = event { handle.owner?.activity(); return }
        reports.note(event)
        switch event {
        case .activity: break
        case .answered(let handle, let status): handle.owner?.answered(status)
        case .incoming, .associating, .helloRefused, .strangerRefused: break
        case .sessionOpened(let session, _):
            reachability.sessionOpened()
            names.sessionOpened()
            silentSince = nil
            leftOut.removeAll()
            concentrator?.isNeeded = false
            silence?.cancel()
            log.info("session opened", metadata: ["session": "\(session)"])
            noteVersion(driver.endpoint.peerProgram(ofSession: session))
        case .sessionResumed(let session, let silence):
            log.info(
                "session goes on with new keys",
                metadata: ["session": "\(session)", "silent_s": "\(Int(silence.seconds))"])
        case .sessionClosed(let session, let reason):
            reachability.sessionClosed()
            silentSince = nil
            concentrator?.isNeeded = reachability.sessions == 0
            if reachability.sessions == 0 {
                silence?.arm(after: reachability.wait)
                announced = []  // the next session tells its own
            }
            log.info("session closed", metadata: ["session": "\(session)", "reason": "\(reason)"])
        case .addressAnnounced(_, let address, let isThere):
            announced.removeAll { $0 == address }
            if isThere { announced.append(address) }
            log.info(
                isThere
                    ? "the concentrator has a further address"
                    : "an address of the concentrator is gone",
                metadata: ["address": "\(address)"])
            uplinks?.setFamilies(of: concentrator?.current ?? [], announced: announced)
        case .sessionSilent(let session):
            // Perhaps it is not there any more: whoever has a name looks it up again.
            concentrator?.isNeeded = true
            if silentSince == nil { silentSince = loop.now() }
            if settings.withoutSession == .direct { silence?.arm(after: Reachability.firstWait) }
            log.info("the concentrator is silent", metadata: ["session": "\(session)"])
        case .pathChanged(let session, let path, let uplink, let remote, let health):
            if health == .usable, reachability.sessions > 0 {
                concentrator?.isNeeded = false
                silentSince = nil
            }
            log.info(
                "path \(health)",
                metadata: [
                    "session": "\(session)", "path": "\(path)", "uplink": "\(uplink)",
                    "remote": "\(remote)"
                ])
        case .modeChanged(_, let mode, let demand):
            recorder.note(.modeChanged, detail: "\(mode.rawValue) (auto: \(demand.label))")
            log.info("mode is \(mode.rawValue)", metadata: ["since": "\(demand.label)"])
        case .pathLeftOut(let session, let uplink, let remote):
            noteLeftOut(uplink, remote, session)
        case .pathMoved, .limited: break
        }
    }

    /// Said once, until the concentrator is another one.
    private func noteVersion(_ concentrator: String) {
        let note = PeerVersion.note(own: program, concentrator: concentrator)
        if let note, note != versionNote { log.warning("\(note)") }
        versionNote = note
    }

    /// Once for each pair of a session.
    private func noteLeftOut(_ uplink: String, _ remote: SocketAddress, _ session: SessionSlot) {
        let pair = "\(uplink) to \(remote)"
        guard !leftOut.contains(pair) else { return }
        leftOut.append(pair)
        log.warning(
            "a session has 16 paths at most: this pair of uplink and address is left out",
            metadata: ["session": "\(session)", "uplink": "\(uplink)", "remote": "\(remote)"])
    }

    /// A concentrator answers no stranger, so that a wrong key looks like one that is away: the log
    /// names all causes.
    private func stillSilent() {
        if reachability.sessions > 0, let obstacle = obstacleOrSilence {
            for client in Array(clients.values) { client.unreachable(obstacle.status) }
            return
        }
        let hasAddress = concentrator?.current.isEmpty == false
        let obstacle = reachability.waited(
            hasUplink: uplinks?.hasAny == true, hasAddress: hasAddress)
        guard let obstacle else { return }
        if obstacle == .noAnswer, let concentrator {
            log.warning(
                """
                no answer from the concentrator: it is not running, its UDP port can't be reached, one of the two \
                does not have the other's public key, or their pre-shared keys differ
                """,
                metadata: [
                    "concentrator":
                        "\(concentrator.current.map(\.description).joined(separator: " "))"
                ])
        }
        silence?.arm(after: reachability.wait)
        // Those who wait are told what those who come are told.
        for client in Array(clients.values) { client.unreachable(obstacle.status) }
        capture?.unreachable(obstacle.status)
    }

    /// Called by the driver when an uplink's socket can't send any more; the monitor says when it
    /// is back.
    public func uplinkFailed(_ number: UplinkNumber, _ error: SystemError) {
        let name = uplinks?.sockets.name(number) ?? "?"
        reports.failed(name, "\(error)")
        log.notice("uplink failed", metadata: ["uplink": "\(name)", "why": "\(error)"])
    }

    // MARK: Control

    /// Changes the handover mode, also of living connections. Nil, or why it can't be had.
    @discardableResult public func setMode(_ wish: ModeWish) -> String? {
        let mode = wish.choice
        if mode == .backup, uplinks?.hasBackup != true {
            return Self.noBackup(uplinks?.knownNames ?? [])
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
            driver.endpoint.followUse(hint: wish.hint, at: loop.now())
        }
        self.mode = mode
        driver.kick()
        recorder.note(.modeChanged, detail: wish.words)
        log.notice("mode is now \(wish.words)")
    }

    private static func noBackup(_ names: [String]) -> String {
        "no uplink has the role backup, so that all would go on carrying data: give it to one first with "
            + "braid uplink NAME backup"
            + (names.isEmpty ? "" : " (NAME: \(names.joined(separator: ", ")))")
    }

    /// Changes the role of an uplink, while connections live on. Nil, or why that is not possible.
    public func setRole(_ role: UplinkRole, of name: String) -> String? {
        guard let uplinks else { return "the proxy has ended" }
        guard uplinks.setRole(role, of: name) else {
            let names = uplinks.knownNames
            return "there is no uplink \(name)"
                + (names.isEmpty
                    ? "; there is none at present" : ", only \(names.joined(separator: ", "))")
        }
        driver.kick()
        return nil
    }

    /// What an uplink has used in the present period of its allowance, as somebody knows better. Nil,
    /// or why that can't be set.
    public func setUsage(_ bytes: Int, of name: String) -> String? {
        guard let metering else { return "no uplink has a price or an allowance" }
        return metering.set(bytes, of: name)
    }

    /// Stops accepting and ends when the last application has, or after `drain`; called again, at
    /// once.
    /// `drain`: nil: as the settings say.
    public func stop(drain: Interval? = nil) {
        if let shutdown { shutdown.endNow(); return }
        recorder.note(.stopping)
        log.notice("stopping", metadata: ["clients": "\(clients.count)"])
        ports.forEach { $0.close() }
        capture?.stopAccepting()
        let limit = drain ?? settings.drain
        let shutdown = Shutdown(loop: loop, limit: limit) { [weak self] in self?.finish() }
        self.shutdown = shutdown
        shutdown.noteRemaining(clients.count)
    }

    /// What applications and programs connect to, for a process that is to follow this one.
    public var listeningSockets: [Int32] { ports.compactMap(\.descriptor) + names.descriptors }

    /// Another process serves the sockets now: those who are here are served to their end.
    public func follow(drain: Interval?) {
        names.stopListening()
        stop(drain: drain)
    }

    private func finish() {
        for client in Array(clients.values) { client.cut() }
        names.stop()
        capture?.close()
        capture = nil
        silence = nil
        direct?.stop()
        uplinks?.stop()
        concentrator?.stop()
        driver.end()
        uplinks?.countUsage()
        metering?.stop()
        recorder.note(.stopped)
        log.notice("stopped")
        onStopped?()
    }

    /// A second after a datagram, so that an idle proxy sleeps.
    private func awaitTraffic() {
        driver.trafficBegan = { [weak self] in self?.usageTimer?.arm(after: .seconds(1)) }
    }

    /// What uplinks have moved until now goes into the ledger, and from there to whoever keeps it.
    private func countUsage() {
        uplinks?.countUsage()
        recorder.save()
        awaitTraffic()
    }

    /// The mode that connections have at present, and in mode auto from what it follows; nil
    /// while there is no session.
    public var presentMode: (mode: HandoverMode, reason: String?)? {
        driver.endpoint.report(at: loop.now()).sessions.last.map { ($0.mode, $0.demand?.label) }
    }

    /// Every uplink that is there or was, by name.
    public var uplinkStates: [ServerStatus.UplinkState] {
        var states = uplinks?.states ?? []
        for i in states.indices {
            guard let used = metering?.used(by: states[i].name) else { continue }
            states[i].usedBytes = used.bytes
            states[i].allowanceBytes = used.allowance
            states[i].spent = used.spent
            states[i].currency = used.currency
        }
        return states
    }

    /// For the control socket and the status page: made anew, in time that grows with paths and
    /// uplinks.
    public func status() -> ServerStatus {
        uplinks?.countUsage()
        let report = driver.endpoint.report(at: loop.now())
        var status = ServerStatus(
            role: "proxy", uptime: loop.now() - began,
            listen: ports.map { "\($0.listener.scheme.rawValue)://\($0.address)" }
                + names.listen.map { "dns://\($0)" },
            report: report)
        status.uplinks = uplinkStates
        status.counters = [
            .init("clients", clients.count), .init("clients_accepted_total", counters.accepted),
            .init("clients_turned_away_total", counters.turnedAway),
            .init("requests_total", counters.requests),
            .init("dialogues_refused_total", counters.refusedDialogues),
            .init("dials_failed_total", counters.failedDials),
            .init("wrong_passwords_total", counters.wrongPasswords),
            .init("clients_crowded_out_total", counters.crowdedOut),
            .init("clients_displaced_total", counters.displaced),
            .init("blocked_total", counters.blocked),
            .init("direct", direct?.counters.living ?? 0),
            .init("direct_total", direct?.counters.begun ?? 0),
            .init("direct_failed_total", direct?.counters.failed ?? 0),
            .init("paths_left_out", leftOut.count),
            .init("memory_bytes", report.memory), .init("memory_limit_bytes", report.memoryLimit),
            .init("associations", clients.values.count { $0 is UDPRelay }),
            .init("datagrams_sent_total", datagrams.sent),
            .init("datagrams_received_total", datagrams.received),
            .init("datagrams_refused_total{reason=\"fragment\"}", datagrams.fragments),
            .init("datagrams_refused_total{reason=\"malformed\"}", datagrams.malformed),
            .init("datagrams_refused_total{reason=\"stranger\"}", datagrams.fromStrangers),
            .init("datagrams_refused_total{reason=\"no_room\"}", datagrams.dropped),
            .init("datagrams_refused_total{reason=\"blocked\"}", datagrams.blocked),
            .init("datagrams_direct_total", datagrams.direct)
        ]
        status.counters += names.status
        status.counters += capture?.status ?? []
        return status
    }
}

extension Target {
    /// The address and port, where the target is not a name.
    var socketAddress: SocketAddress? {
        if case .address(let address) = host { SocketAddress(address, port: port) } else { nil }
    }
}

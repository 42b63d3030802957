import Crypto
import Glibc
import History
import Logging
import Measures
import Shell
import Tunnel
import Wire

/// The concentrator: sessions in on UDP, TCP connections out to their targets.
public final class ConcentratorServer: EngineDelegate {
    /// As given at the start, or by `apply`.
    public internal(set) var settings: ConcentratorSettings
    /// The engine with its sockets.
    public let driver: EngineDriver
    /// Where it listens, with the ports the system chose for port 0.
    public private(set) var listen: [SocketAddress] = []
    /// What it reports and counts.
    public var recorder: Recorder { reports.recorder }
    /// Called once, when everything has ended after `stop()`.
    public var onStopped: (() -> Void)?
    /// Writes down a user that comes in by an invitation: its key, the invitation's file, names
    /// that others have. Returns the user's name; nil where that can't be. Without it there are no
    /// invitations.
    public var writeUser: ((Key32, _ invitation: String, _ taken: Set<String>) -> String?)?
    /// Called some time after somebody came in: the users are to be read anew.
    public var onEnrolled: (() -> Void)?

    let loop: EventLoop
    let log: Logger
    let dialer: Dialer
    var counters = Counters()
    var datagrams = DatagramCounters()
    let relaySockets: RelaySockets
    let names: NameQuestions
    private var answered = AnsweredStreams()
    private(set) var associations: [ObjectIdentifier: UDPAssociation] = [:]
    /// By user name.
    private var relayed: [String: RelayedByUser] = [:]
    private(set) var connections: [ObjectIdentifier: OutboundConnection] = [:]
    private(set) var enrolled: LoopTimer?
    /// Runs until the next invitation's time is over.
    private var invitationEnd: LoopTimer?
    private(set) var unknownKeys = UnknownKeys()
    private var notices = NoticeLimit()
    private var news = SessionNews()
    var reports: ConcentratorReports
    private var usage: UsageTimer?
    let began: Instant
    private var shutdown: Shutdown?
    /// Where it listens, and what of that is this process's.
    private var groups: [ListenGroup] = []
    private var following = Following.newest
    private enum Following {
        case newest
        /// Another process has what begins from now on; this one ends when nothing lives here.
        case followed(Shutdown, look: LoopTimer)
        case over
    }

    struct Counters {
        var incoming = 0, connected = 0
        var refused = [Int](repeating: 0, count: DialStatus.allCases.count)
    }

    /// Opens the listening sockets; datagrams are served as soon as the loop runs. What happens it
    /// reports to `recorder`.
    /// `generation`: tells this process from others at the same port (`Lineage`).
    public init(
        _ settings: ConcentratorSettings, program: String = "", generation: Int = 0,
        loop: EventLoop, recorder: Recorder = Recorder(),
        log: Logger = Logger(label: "concentrator")
    )
        throws(SystemError)
    {
        precondition(!settings.listen.isEmpty, "a concentrator listens somewhere")
        self.settings = settings
        self.loop = loop
        self.log = log
        reports = ConcentratorReports(recorder)
        began = loop.now()
        var configuration = settings.endpoint
        configuration.epoch = EventLoop.epoch()
        configuration.program = program
        configuration.generation = UInt8(truncatingIfNeeded: generation)
        let endpoint = Endpoint(
            configuration: configuration, seed: SystemRandom.key(), at: loop.now())
        endpoint.setAnnounced(settings.announce, at: loop.now())
        driver = EngineDriver(endpoint: endpoint, loop: loop)
        dialer = try Dialer(
            loop: loop, policy: settings.policy, personal: settings.userEgress,
            timeout: settings.dialTimeout, dials: settings.dials, lookUps: settings.lookUps)
        relaySockets = RelaySockets(loop: loop)
        names = NameQuestions(
            settings.names, denied: settings.usersWithoutNames, loop: loop,
            configurationPath: settings.resolverConfiguration)
        usage = UsageTimer(
            driver, delay: { .milliseconds(recorder.untilCount) },
            count: { [weak self] in self?.countUsage() })
        recorder.wantsCount = { [weak self] in self?.usage?.hurry() }
        driver.delegate = self
        reports.handovers = HandoverWatch(driver)
        if let path = settings.pcap { try driver.record(to: path) }
        for address in settings.listen {
            let group = try ListenGroup(address, generation: generation, loop: loop)
            groups.append(group)
            driver.addListenSocket(group.socket)
            listen.append(group.socket.localAddress)
        }
        enrolled = loop.timer(for: self) { $0.onEnrolled?() }
        invitationEnd = loop.timer(for: self) { $0.endInvitations() }
        unknownKeys.end(invitations: settings.formerInvitations)
        endInvitations()
        recorder.note(.started)
        log.info(
            "listening", metadata: ["on": "\(listen.map(\.description).joined(separator: " "))"])
    }

    // MARK: Events

    /// Called by the driver for every event of the engine.
    public func handle(_ event: EndpointEvent) {
        if case .activity(let handle) = event { handle.owner?.activity(); return }
        if case .strangerRefused(let key, let remote) = event, unknownKeys.isFormerInvitation(key) {
            log.info(
                "an invitation that is none any more was tried", metadata: ["remote": "\(remote)"])
            return
        }
        reports.note(event, at: loop.now())
        switch event {
        case .activity: break
        case .incoming(let handle, let target, let user): incoming(handle, target, user)
        case .associating(let handle, let user): associating(handle, user)
        case .answered, .addressAnnounced, .sessionSilent, .sessionGoesAway, .pathLeftOut,
            .modeChanged:
            break
        case .helloRefused(let user, let remote, let reason):
            log.notice(
                "hello \(reason.summary)", metadata: ["user": "\(user)", "remote": "\(remote)"])
        case .strangerRefused(let key, let remote):
            unknownKeys.note(key, remote, at: loop.now())
            log.notice(
                "a proxy whose key is none of a user's: to admit it, add it to users",
                metadata: [
                    "public_key": "\(key.base64)", "remote": "\(remote)",
                    "admit": "braid user add NAME \(key.base64)"
                ])
        case .limited(let user, let limit):
            log.warning(
                "a user has met a limit", metadata: ["user": "\(user)", "limit": "\(limit.label)"])
        case .sessionOpened(let session, let user):
            news.opened(session, of: user)
            tell("session opened", session, ["user": "\(user)"])
        case .sessionResumed(let session, let silence):
            tell("session goes on with new keys", session, ["silent_s": "\(Int(silence.seconds))"])
        case .sessionClosed(let session, let reason):
            tell("session closed", session, ["reason": "\(reason)"])
            news.closed(session)
        case .pathChanged(let session, let path, _, let remote, let health):
            tell("path \(health)", session, ["path": "\(path)", "remote": "\(remote)"])
        case .pathMoved(let session, let path, let from, let to):
            tell("path moved", session, ["path": "\(path)", "from": "\(from)", "to": "\(to)"])
        }
    }

    private func tell(_ what: Logger.Message, _ session: SessionSlot, _ details: Logger.Metadata) {
        guard let silent = news.pass(session, at: loop.now()) else { return }
        var metadata = details
        metadata["session"] = "\(session)"
        if silent > 0 { metadata["not_logged_before"] = "\(silent)" }
        log.info(what, metadata: metadata)
    }

    private func incoming(_ handle: StreamHandle, _ target: Target, _ user: String) {
        counters.incoming += 1
        let isInvited = user.hasPrefix(ConcentratorSettings.Invitation.prefix)
        if shutdown == nil,
            let stream = answered.open(handle, target, of: user, isInvited: isInvited, self)
        {
            stream.start()
            return
        }
        let connection = OutboundConnection(handle, target: target, user: user, server: self)
        connections[ObjectIdentifier(connection)] = connection
        handle.owner = connection
        if shutdown != nil {
            connection.refuse(.generalFailure)
        } else if isInvited || target == .enrolment || target == .measurement {
            // An invitation is good for becoming a user, and for nothing else; and none of them is
            // a name that anybody else knows.
            connection.refuse(.denied)
        } else {
            connection.start()
        }
    }

    func refused(_ target: Target, user: String, _ status: DialStatus) {
        counters.refused[Int(status.rawValue)] += 1
        guard let silent = notices.pass(at: loop.now()) else { return }
        var metadata: Logger.Metadata = [
            "user": "\(user)", "target": "\(target)", "reason": "\(status)"
        ]
        if silent > 0 { metadata["not_logged_before"] = "\(silent)" }
        log.notice("dial failed", metadata: metadata)
    }

    func left(_ connection: OutboundConnection) {
        connections[ObjectIdentifier(connection)] = nil
        shutdown?.noteRemaining(connections.count + associations.count)
    }

    func left(_ stream: LocalStream) { answered.remove(stream) }

    // MARK: Associations

    private func associating(_ handle: StreamHandle, _ user: String) {
        let mine = relayed[user] ?? RelayedByUser(settings.datagrams.perUser)
        relayed[user] = mine
        let association = UDPAssociation(handle, user: user, share: mine, server: self)
        associations[ObjectIdentifier(association)] = association
        handle.owner = association
        let isFull = mine.associations >= settings.datagrams.associationsPerUser
        mine.associations += 1
        datagrams.associations += 1
        if shutdown != nil {
            association.refuse(because: "stopping")
        } else if user.hasPrefix(ConcentratorSettings.Invitation.prefix) {
            association.refuse(because: "an invitation is no user")
        } else if isFull {
            association.refuse(because: "the user has \(settings.datagrams.associationsPerUser)")
        } else {
            association.start()
        }
    }

    /// Whether the user may send one datagram more at this moment.
    func mayRelay(_ user: String) -> Bool {
        guard relayed[user]?.datagrams.take(at: driver.now) == true else {
            datagrams.tooMany += 1
            return false
        }
        return true
    }

    func associationRefused(_ user: String, _ reason: String) {
        datagrams.refusedAssociations += 1
        guard let silent = notices.pass(at: loop.now()) else { return }
        log.warning(
            "association refused",
            metadata: [
                "user": "\(user)", "reason": "\(reason)", "not_logged_before": "\(silent)"
            ])
    }

    func left(_ association: UDPAssociation) {
        associations[ObjectIdentifier(association)] = nil
        relayed[association.user]?.associations -= 1
        shutdown?.noteRemaining(connections.count + associations.count)
    }

    // MARK: Other settings

    /// Goes on with other settings: what was dialled and associated stays, but for what belongs to
    /// users that are gone. Keys, addresses to listen on and `pcap` stay as they are. Throws
    /// ESHUTDOWN where it is ending.
    public func apply(_ changed: ConcentratorSettings) throws(SystemError) {
        guard shutdown == nil else {
            throw SystemError("change what is ending", code: ESHUTDOWN)
        }
        var settings = changed
        settings.identity = self.settings.identity
        settings.listen = self.settings.listen
        settings.pcap = self.settings.pcap
        let old = self.settings
        self.settings = settings
        let now = loop.now()
        driver.endpoint.reconfigure(settings.endpoint, at: now)
        driver.endpoint.setUsers(settings.users, at: now)
        unknownKeys.forget(settings.users.map(\.publicKey))
        unknownKeys.end(invitations: settings.formerInvitations)
        noteFormerInvitations(of: old.users)
        endInvitations()
        driver.endpoint.setAnnounced(settings.announce, at: now)
        dialer.change(
            policy: settings.policy, personal: settings.userEgress, timeout: settings.dialTimeout,
            dials: settings.dials, lookUps: settings.lookUps)
        let users = Set(settings.users.map(\.name))
        names.change(
            perUser: settings.names.perUser, denied: settings.usersWithoutNames, users: users)
        news.keep(users)
        relayed = relayed.filter { users.contains($0.key) || $0.value.associations > 0 }
        if settings.datagrams.perUser != old.datagrams.perUser {
            for share in relayed.values { share.change(rate: settings.datagrams.perUser) }
        }
    }

    /// `old`: users and invitations that there were.
    private func noteFormerInvitations(of old: [EndpointConfiguration.User]) {
        let prefix = ConcentratorSettings.Invitation.prefix
        let keys = Set(settings.users.map(\.publicKey))
        unknownKeys.end(
            invitations: old.filter {
                $0.name.hasPrefix(prefix) && !keys.contains($0.publicKey)
            }.map(\.publicKey))
    }

    /// Those whose time is over are none any more; looked at again when the next one's is.
    private func endInvitations() {
        let time = Int64(EventLoop.wallClock() / 1_000_000_000)
        var next = Int64.max
        var over: Set<String> = []
        for (name, invitation) in settings.invitations {
            guard let expires = invitation.expires else { continue }
            if expires <= time { over.insert(name) } else { next = min(next, expires) }
        }
        if !over.isEmpty {
            let old = settings.users
            for name in over { settings.invitations[name] = nil }
            settings.users.removeAll { over.contains($0.name) }
            noteFormerInvitations(of: old)
            driver.endpoint.setUsers(settings.users, at: loop.now())
        }
        // The clock may be set: an hour at most.
        if next != .max { invitationEnd?.arm(after: .seconds(min(next - time, 3600))) }
    }

    // MARK: The end

    /// Stops accepting and ends when the last connection has, or after `drain`; called again, at
    /// once.
    public func stop() {
        if let shutdown { shutdown.endNow(); return }
        if case .followed(let end, _) = following { end.endNow(); return }
        recorder.note(.stopping)
        log.notice("stopping", metadata: ["connections": "\(connections.count)"])
        let shutdown = Shutdown(loop: loop, limit: settings.drain) { [weak self] in self?.finish() }
        self.shutdown = shutdown
        for association in Array(associations.values) where association.isWaitingForQuestions {
            association.cut()
        }
        shutdown.noteRemaining(connections.count + associations.count)
    }

    // MARK: Another process

    /// What proxies send to, for a process that is to follow this one.
    public var listeningSockets: [Int32] { groups.flatMap(\.descriptors) }

    /// This process has what is not of a session of the older ones, by their generations.
    public func steer(older: [Int]) { for group in groups { group.steer(older: older) } }

    /// Another process has what begins from now on. The sessions go on to the end of their
    /// connections, within `limit` (nil: `drain`), and their proxies begin others there; where the
    /// kernel can't tell them apart, or `isAware` is false since that process does not know of this
    /// one, they end at once, and their proxies have new ones within a round trip.
    public func follow(within limit: Interval?, isAware: Bool) {
        guard shutdown == nil, case .newest = following else { return }
        let limit = limit ?? settings.drain
        log.notice(
            "another process is here for what begins from now on",
            metadata: ["connections": "\(connections.count)", "within_s": "\(Int(limit.seconds))"])
        guard isAware, limit > .zero, groups.allSatisfy(\.isSteered) else {
            return finish(isFollowed: true)
        }
        let end = Shutdown(loop: loop, limit: limit) { [weak self] in
            self?.finish(isFollowed: true)
        }
        let look = loop.timer(for: self) { $0.lookWhetherEmpty() }
        following = .followed(end, look: look)
        driver.endpoint.goAway(within: limit, at: loop.now())
        lookWhetherEmpty()
    }

    private func lookWhetherEmpty() {
        guard case .followed(let end, let look) = following else { return }
        if driver.endpoint.livingSessions == 0 { return end.noteRemaining(0) }
        look.arm(after: .seconds(1))
    }

    /// The process that followed has died: what begins from now on is this one's again. `older`: as
    /// `steer` has it. False where this one has ended.
    public func serveAgain(older: [Int]) -> Bool {
        guard case .followed = following else { return false }
        following = .newest
        driver.endpoint.cancelGoAway()
        steer(older: older)
        log.warning("the process that followed is gone: sessions begin here again")
        return true
    }

    private func finish(isFollowed: Bool = false) {
        following = .over
        for connection in Array(connections.values) { connection.cut() }
        for association in Array(associations.values) { association.cut() }
        for stream in answered.all { stream.cut() }
        driver.end(isFollowed: isFollowed)
        reports.count(driver.endpoint.usage)
        recorder.note(.stopped)
        log.notice("stopped")
        onStopped?()
    }

    // MARK: Watching

    /// What users have moved until now goes into the ledger, and from there to whoever keeps it.
    private func countUsage() {
        reports.count(driver.endpoint.usage)
        recorder.save()
    }
}

import Dialogue
import Logging
import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// What a proxy knows of its session and of the concentrator's addresses: whether a request can be
/// served, why not, and what the log says of it.
final class SessionMonitor {
    /// What becomes of requests while there is no session.
    var withoutSession: WithoutSession
    /// Called with what those are told who wait for a session. `hasSession`: there is one, but it
    /// is silent, and nobody is to wait for it.
    var unreachable: ((DialStatus, _ hasSession: Bool) -> Void)?

    private let driver: EngineDriver
    private let uplinks: UplinkSet
    private let log: Logger
    /// The version of this program.
    private let program: String
    /// What was said last of the concentrator's version.
    private var versionNote: String?
    private var reachability = Reachability()
    /// Since when the session, or what there is of it, has been silent.
    private var silentSince: Instant?
    private var addresses: ConcentratorAddresses?
    /// What the concentrator has announced besides the addresses of the configuration.
    private var announced: [SocketAddress] = []
    /// Pairs of uplink and address for which the session has no path left.
    private var leftOut: [String] = []
    /// Runs while no session is up.
    private var timer: LoopTimer?

    init(
        _ settings: ProxySettings, program: String, uplinks: UplinkSet, driver: EngineDriver,
        log: Logger
    ) throws(SystemError) {
        withoutSession = settings.withoutSession
        self.driver = driver
        self.uplinks = uplinks
        self.log = log
        self.program = program
        addresses = try look(for: settings.concentrator)
        timer = driver.loop.timer(for: self) { $0.timeUp() }
    }

    /// Uplinks are there: from now on it is waited for a session.
    func start() {
        _ = reachability.noteUplinks(changes: uplinks.changes)
        addresses?.start()
        timer?.arm(after: reachability.wait)
    }

    func stop() {
        timer = nil
        addresses?.stop()
    }

    // MARK: Addresses

    /// Those of other settings; `follow` goes on with them.
    func look(for targets: [Target]) throws(SystemError) -> ConcentratorAddresses {
        try ConcentratorAddresses(targets, loop: driver.loop, log: log) { [weak self] in
            guard let self else { return }
            use($0)
        }
    }

    private func use(_ addresses: [SocketAddress]) {
        driver.endpoint.setConcentrator(addresses, at: driver.now)
        uplinks.setFamilies(of: addresses, announced: announced)
    }

    func follow(_ next: ConcentratorAddresses) {
        addresses?.stop()
        addresses = next
        if !next.current.isEmpty { use(next.current) }
        next.start()
        next.isNeeded = reachability.sessions == 0
    }

    private var current: [SocketAddress] { addresses?.current ?? [] }

    /// Whether the address is one of the concentrator's.
    func isConcentrator(_ address: IPAddress) -> Bool {
        announced.contains { $0.address == address } || current.contains { $0.address == address }
    }

    // MARK: Whether requests can be served

    /// Why one can't be served now, where that is known.
    var obstacle: Reachability.Obstacle? {
        if reachability.sessions == 0, reachability.noteUplinks(changes: uplinks.changes) {
            timer?.arm(after: reachability.wait)
        }
        return reachability.obstacle(hasUplink: uplinks.hasAny, hasAddress: !current.isEmpty)
    }

    /// The same, and where nobody is to wait also for a session that was silent for a while and may
    /// be dead.
    var obstacleOrSilence: Reachability.Obstacle? {
        obstacle ?? (withoutSession == .wait ? nil : lastingSilence)
    }

    /// Why a request that can't go elsewhere is refused now.
    var refusedFor: Reachability.Obstacle? {
        withoutSession == .direct ? obstacle : obstacleOrSilence
    }

    /// Why a session is silent that has been so for longer than a handover takes.
    private var lastingSilence: Reachability.Obstacle? {
        guard let silentSince, driver.now - silentSince >= Reachability.firstWait else {
            return nil
        }
        return silence
    }

    /// Why nothing can come at present, be it that there is no session or that it is silent.
    private var silence: Reachability.Obstacle? {
        if let obstacle { return obstacle }
        if !uplinks.hasAny { return .noUplink }
        return silentSince == nil ? nil : .noAnswer
    }

    /// Whether there is a session that is not silent.
    var hasSession: Bool { reachability.sessions > 0 && silentSince == nil }

    /// Nothing is said ahead in the tunnel that would have to be said again.
    var mayStillGoDirect: Bool { withoutSession == .direct && !hasSession }

    /// What an HTTP application is told: without a session, or with one that is silent, it is not
    /// the target that was silent.
    func refusal(
        _ status: DialStatus, _ target: Target, by dialler: HTTPRefusal.Dialler
    ) -> HTTPRefusal {
        if dialler == .proxy { return HTTPRefusal(status, target: target, by: dialler) }
        if let obstacle { return obstacle.refusal }
        if let silence, status == silence.status || status == .timedOut { return silence.refusal }
        guard status == .timedOut, reachability.sessions == 0 else {
            return HTTPRefusal(status, target: target)
        }
        return Reachability.Obstacle.noAnswer.refusal
    }

    /// What is said of a dial that was not answered in time: as `refusal`. `dialler`: nil where
    /// nothing was dialled.
    func timeOutStatus(by dialler: HTTPRefusal.Dialler?) -> DialStatus {
        dialler == .concentrator ? silence?.status ?? .timedOut : .timedOut
    }

    /// A request has no session; the next one may be luckier.
    func hasten() {
        driver.endpoint.hastenHandshake(at: driver.now)
    }

    // MARK: Events

    func handle(_ event: EndpointEvent) {
        switch event {
        case .sessionOpened(let session, _): opened(session)
        case .sessionResumed(let session, let silence):
            log.info(
                "session goes on with new keys",
                metadata: ["session": "\(session)", "silent_s": "\(Int(silence.seconds))"])
        case .sessionClosed(let session, let reason): closed(session, reason)
        case .addressAnnounced(_, let address, let isThere):
            announced.removeAll { $0 == address }
            if isThere { announced.append(address) }
            log.info(
                isThere
                    ? "the concentrator has a further address"
                    : "an address of the concentrator is gone",
                metadata: ["address": "\(address)"])
            uplinks.setFamilies(of: current, announced: announced)
        case .sessionGoesAway(let session, let within):
            log.notice(
                "another process follows the concentrator's; what is open now goes on there",
                metadata: ["session": "\(session)", "within_s": "\(Int(within.seconds))"])
        case .sessionSilent(let session):
            // Perhaps it is not there any more: whoever has a name looks it up again.
            addresses?.isNeeded = true
            if silentSince == nil { silentSince = driver.now }
            if withoutSession != .wait { timer?.arm(after: Reachability.firstWait) }
            log.info("the concentrator is silent", metadata: ["session": "\(session)"])
        case .pathChanged(let session, let path, let uplink, let remote, let health):
            if health == .usable, reachability.sessions > 0 {
                addresses?.isNeeded = false
                silentSince = nil
            }
            log.info(
                "path \(health)",
                metadata: [
                    "session": "\(session)", "path": "\(path)", "uplink": "\(uplink)",
                    "remote": "\(remote)"
                ])
        case .pathLeftOut(let session, let uplink, let remote):
            noteLeftOut(uplink, remote, session)
        default: break
        }
    }

    private func opened(_ session: SessionSlot) {
        reachability.sessionOpened()
        silentSince = nil
        leftOut.removeAll()
        addresses?.isNeeded = false
        timer?.cancel()
        log.info("session opened", metadata: ["session": "\(session)"])
        // Said once, until the concentrator is another one.
        let version = driver.endpoint.peerProgram(ofSession: session)
        let note = PeerVersion.note(own: program, concentrator: version)
        if let note, note != versionNote { log.warning("\(note)") }
        versionNote = note
    }

    private func closed(_ session: SessionSlot, _ reason: SessionEnd) {
        reachability.sessionClosed()
        silentSince = nil
        addresses?.isNeeded = reachability.sessions == 0
        if reachability.sessions == 0 {
            timer?.arm(after: reachability.wait)
            announced = []  // the next session tells its own
        }
        log.info("session closed", metadata: ["session": "\(session)", "reason": "\(reason)"])
    }

    /// Pairs of uplink and address that are left out.
    var countLeftOut: Int { leftOut.count }

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
    private func timeUp() {
        if reachability.sessions > 0, withoutSession != .wait, let obstacle = lastingSilence {
            unreachable?(obstacle.status, true)
            return
        }
        let obstacle = reachability.waited(
            hasUplink: uplinks.hasAny, hasAddress: !current.isEmpty)
        guard let obstacle else { return }
        if obstacle == .noAnswer {
            log.warning(
                """
                no answer from the concentrator: it is not running, its UDP port can't be reached, one of the two \
                does not have the other's public key, or their pre-shared keys differ
                """,
                metadata: [
                    "concentrator": "\(current.map(\.description).joined(separator: " "))"
                ])
        }
        timer?.arm(after: reachability.wait)
        // Those who wait are told what those who come are told.
        unreachable?(obstacle.status, false)
    }
}

import Configuration
import Glibc
import History
import Logging
import Measures
import Page
import Shell

/// Runs a service until a signal ends it: log, control socket, status page, signals, service
/// manager.
enum Program {
    /// `start` builds the service on the loop; `stopped` is to be called when it has ended.
    /// - Parameter captures: the right to change nftables and routes is kept.
    static func run(
        _ role: ConfigurationKind, _ program: ProgramConfiguration, captures: Bool = false,
        start: (_ loop: EventLoop, _ generation: Int, _ stopped: @escaping () -> Void)
            throws(SystemError) -> Service
    ) throws {
        prepareProcess(program)
        do {
            let loop = try EventLoop()
            var upgrade: Upgrade?, watchdog: Watchdog?
            let end = loop.timer { [weak loop] in loop?.stop() }
            let lineage = Lineage(loop: loop)
            var service = try start(loop, lineage.generation) {
                end.arm(after: pauseBeforeEnd(isFollowed: upgrade?.isFollowed == true, lineage))
            }
            // Whoever is no user any more is none in the older processes either.
            service.reload = { [reload = service.reload] in
                lineage.tellOlder(.reload)
                return reload()
            }
            let control = ControlRequests.open(role, program, service, loop)
            let side = SideWork(loop: loop)
            let openPage = {
                try program.status.map { try open($0, role, service, side, loop) }
            }
            var page = try openPage()
            upgrade = Upgrade(
                service, lineage,
                .init(
                    closePage: {
                        page?.close(); page = nil
                    },
                    reopenPage: { page = try? openPage() },
                    feedWatchdog: { watchdog?.isFed = $0 }), loop: loop)
            control?.later = { [service] line, reply in
                if upgrade?.answer(line, reply: reply) == true { return true }
                return answer(line, of: service, beside: side, reply)
            }
            handleSignals(loop, service) {
                upgrade?.end()
                lineage.tellOlder(.stop)
            }
            // Whatever needs root is open by now.
            try openHistory(of: service, role, program) { () throws(SystemError) in
                try leaveRoot(for: program.user, role, captures: captures)
            }
            watchdog = Watchdog(loop: loop, interval: ServiceManager.watchdogInterval())
            // The last thing that may fail: until here the process before has it all.
            let hasCapture = try service.takeCaptureOver?() ?? false
            ServiceManager.ready()
            service.takeOver?(lineage.olderGenerations)
            Succession.ready(hasCapture: hasCapture)
            lineage.endTooOld()
            withExtendedLifetime(watchdog) { loop.run() }
            control?.close()
            page?.close()
            service.recorder.close()
        } catch {
            throw Complaint.failure("can't \(error)")
        }
    }

    /// What holds for the whole process, from before its first socket on.
    private static func prepareProcess(_ program: ProgramConfiguration) {
        Succession.begin()
        if Privileges.isRoot {
            let user = Privileges.User(name: program.user ?? Privileges.dedicatedUser)
            Privileges.next = user?.isRoot == false ? user : nil
        }
        Privileges.forbidDumps()
        ProcessorShare.preferShortTurns()
        LogSetup.bootstrap(
            level: Logger.Level(rawValue: program.logLevel.rawValue) ?? .info,
            isJSON: program.logFormat == .json)
        DescriptorLimit.raise()
    }

    /// How long a process whose service has ended stays for others' sake; tells the older ones that
    /// this is the end.
    private static func pauseBeforeEnd(isFollowed: Bool, _ lineage: Lineage) -> Interval {
        // The service manager is to hear who is there instead before this process is gone.
        guard !isFollowed else { return .seconds(2) }
        // The older ones tell their peers; the service manager kills them when this one is gone.
        lineage.tellOlder(.end)
        return lineage.olderGenerations.isEmpty ? .zero : .milliseconds(300)
    }

    /// Opens the history's file as the user that the process becomes by `leaving`.
    private static func openHistory(
        of service: Service, _ role: ConfigurationKind, _ program: ProgramConfiguration,
        leaving: () throws(SystemError) -> Void
    ) throws(SystemError) {
        let past = HistoryQueries.place(role, program, keepsUsage: service.keepsUsage)
        if let past { StatePath.prepare(past.path, owner: Privileges.next?.number) }
        try leaving()
        HistoryQueries.open(past, service.recorder)
    }

    /// Answers a request of the control socket whose text is made beside the loop; false where it
    /// is none.
    private static func answer(
        _ line: String, of service: Service, beside side: SideWork,
        _ reply: @escaping (String) -> Void
    ) -> Bool {
        let text = ControlRequests.text(line, service) ?? HistoryQueries.text(line, service)
        guard let text else { return false }
        side.make(text, done: reply)
        return true
    }

    /// `stopping`: runs once, ahead of the service's end.
    private static func handleSignals(
        _ loop: EventLoop, _ service: Service, stopping: @escaping () -> Void
    ) {
        var signals = 0
        for number in [SIGTERM, SIGINT] {
            loop.onSignal(number) {
                signals += 1
                if signals == 1 {
                    ServiceManager.stopping()
                    stopping()
                }
                service.stop()
            }
        }
        // A terminal that closes sends it too, and is no reason to drop anybody's connections.
        loop.onSignal(SIGHUP) {
            ServiceManager.reloading()
            _ = service.reload()
            ServiceManager.ready()
        }
    }

    /// Gives up the rights that are not needed any more.
    private static func leaveRoot(
        for name: String?, _ role: ConfigurationKind, captures: Bool
    ) throws(SystemError) {
        try becomeUser(name, role, captures: captures)
        if !captures, !Privileges.isRoot { Privileges.drop(.networkAdministration) }
    }

    /// Becomes the configured user, or the dedicated one where there is one; nothing for a process
    /// that isn't root's.
    private static func becomeUser(
        _ name: String?, _ role: ConfigurationKind, captures: Bool
    ) throws(SystemError) {
        let log = Logger(label: "service")
        let user = Privileges.User(name: name ?? Privileges.dedicatedUser)
        guard Privileges.isRoot else {
            if let name, user?.isCurrent != true {
                log.warning(
                    "only root can become another user; goes on as it is",
                    metadata: ["user": "\(name)"])
            }
            return
        }
        guard let user else {
            guard let name else {
                log.notice(
                    """
                    runs as root: to have it run as a user without rights, make one with useradd --system \
                    \(Privileges.dedicatedUser), or name one as user: in the configuration
                    """)
                return
            }
            throw SystemError("become the user \(name)", code: ENOENT)
        }
        guard !user.isRoot else { return }
        ControlPath.give(to: user)
        try Privileges.become(user, bindsToInterfaces: role == .proxy, captures: captures)
        log.info("gave up root", metadata: ["user": "\(user.name)"])
    }

    private static func open(
        _ status: StatusConfiguration, _ role: ConfigurationKind, _ service: Service,
        _ side: SideWork, _ loop: EventLoop
    ) throws(SystemError) -> StatusPage {
        var source = PageSource(
            role: role.rawValue, version: Braid.version, driver: service.driver,
            recorder: service.recorder, showsTargets: status.showsTargets(role),
            status: {
                let status = service.status()
                return { StatusDocument(status).json }
            },
            metrics: {
                let status = service.status(), past = Metrics.Past(service.recorder)
                return { Metrics.text(StatusDocument(status), past) }
            })
        source.uplinks = service.uplinks
        source.mode = service.mode
        source.modes = service.modes
        source.setMode = service.setMode
        source.setRole = service.setRole
        let access = StatusAccess(status.address, token: status.token)
        let live = LivePage(source, access: access, side: side, loop: loop)
        return try StatusPage(status.address, loop: loop, access: access) {
            live.answer($0, $1)
        }
    }
}

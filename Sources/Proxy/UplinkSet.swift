import Logging
import Measures
import Shell
import Tunnel

/// The proxy's uplinks: what the monitor reports, and which of it has sockets, as what.
final class UplinkSet {
    /// How soon a socket that could not be bound is tried again.
    private static let retry = Interval.seconds(1)
    private let driver: EngineDriver
    private let log: Logger
    private let reports: ProxyReports
    let sockets: UplinkSockets
    private var roles: UplinkRoles
    private var monitor: UplinkMonitor?
    private var present: [String: UplinkCandidate] = [:]
    /// What follows from what it costs and has used, by name.
    private var consequences: [String: UplinkMetering.Consequence] = [:]
    /// Names for which there was no number left.
    private var refused: Set<String> = []
    private var notices = NoticeLimit()
    /// Of the configured addresses, and of those announced.
    private var families = (v4: true, v6: true), further = (v4: false, v6: false)
    private var timer: LoopTimer?
    /// Runs while an uplink was never heard.
    private var listening: LoopTimer?
    /// Those whose silence the log has told of, by number.
    private var told: Set<UplinkNumber> = []
    /// How often an uplink came or changed.
    private(set) var changes = 0

    init(
        _ settings: ProxySettings, driver: EngineDriver, log: Logger, reports: ProxyReports
    ) throws(SystemError) {
        self.driver = driver
        self.log = log
        self.reports = reports
        sockets = UplinkSockets(driver)
        roles = UplinkRoles(UplinkChoices(settings))
        monitor = try UplinkMonitor(
            selectors: roles.choices.selectors, loop: driver.loop,
            log: log
        ) { [weak self] in self?.handle($0) }
        timer = driver.loop.timer(for: self) { $0.attachMissing() }
        listening = driver.loop.timer(for: self) { $0.listen() }
    }

    /// Begins to watch; `known` are the concentrator's addresses as far as they are known.
    func start(_ known: [SocketAddress]) {
        if !known.isEmpty { setFamilies(of: known) }
        monitor?.start()
        guard present.isEmpty else { return }
        let wanted = roles.choices.selectors.map(\.description).joined(separator: ", ")
        log.warning("no uplink yet", metadata: ["looking_for": "\(wanted)"])
    }

    func stop() {
        monitor?.stop()
        timer = nil
        listening = nil
    }

    /// Counts what the uplinks have moved since the last call.
    func countUsage() {
        sockets.collect { uplink, volume in
            reports.recorder.count(volume, of: .init(uplink: uplink))
        }
    }

    /// Those by which the engine knows the uplink now.
    func numbers(of name: String) -> [UplinkNumber] { sockets.held(name).map(\.number) }

    /// How what leaves by the uplink alone does; nil where it is not there.
    func localBinding(by name: String) -> LocalBinding? {
        present[name].map { LocalBinding(interface: $0.interface, addresses: $0.addresses) }
    }

    var hasAny: Bool { !present.isEmpty }

    var states: [ServerStatus.UplinkState] {
        let known = sockets.names
        let names = known + present.keys.filter { !known.contains($0) }.sorted()
        return names.map { name in
            ServerStatus.UplinkState(
                name: name, isBackup: role(name) == .backup, isOff: role(name) == .off,
                isPresent: present[name] != nil, problem: problem(name))
        }
    }

    // MARK: Uplinks that are never heard

    private func problem(_ name: String) -> String? {
        guard let candidate = present[name] else { return nil }
        for (number, isIPv4) in sockets.held(name) where sockets.isSilent(number) {
            return UplinkDiagnosis.reason(
                candidate, isIPv4: isIPv4,
                others: present.values.filter { $0.name != name }
                    .sorted { $0.name < $1.name })
        }
        return nil
    }

    private func listen() {
        var isOpen = false
        for name in present.keys.sorted() {
            for (number, _) in sockets.held(name) {
                if sockets.isUnheard(number) { isOpen = true }
                guard sockets.isSilent(number), told.insert(number).inserted,
                    let problem = problem(name)
                else { continue }
                log.warning(
                    "nothing was ever heard on an uplink",
                    metadata: ["uplink": "\(name)", "why": "\(problem)"])
            }
        }
        if isOpen { listening?.arm(after: UplinkSockets.silence) }
    }

    // MARK: Roles

    private func role(_ name: String) -> UplinkRole { roles.role(of: name, present[name]) }

    /// Whether an uplink has the role, present or not.
    var hasBackup: Bool { roles.hasBackup(present.values) }

    /// Whether this one has it, or would by the settings, and no other does.
    func isOnlyBackup(_ name: String) -> Bool {
        guard role(name) == .backup || roles.configured(present[name]) == .backup else {
            return false
        }
        var others = roles
        return others.give(.regular, to: name) && !others.hasBackup(present.values)
    }

    /// The names a person may give a role: all that are there or were.
    var knownNames: [String] { states.map(\.name) }

    /// Gives the uplink a role while it lives; false where there is no such uplink.
    func setRole(_ role: UplinkRole, of name: String) -> Bool {
        guard present[name] != nil || sockets.names.contains(name) else { return false }
        guard self.role(name) != role else { return true }
        guard roles.give(role, to: name) else { return false }
        reports.role(of: name, is: role)
        log.notice(
            "uplink has another role", metadata: ["uplink": "\(name)", "role": "\(role.rawValue)"])
        for (number, _) in sockets.held(name) where role != .off {
            driver.setUplinkRole(number, isBackup: role == .backup)
        }
        if let candidate = present[name] { attach(candidate) }
        if role == .off { attachRefused() }
        return true
    }

    /// Keeps to other settings: uplinks that are none any more go, others come, and those that stay
    /// have another role where the settings say so, whatever a person gave them meanwhile.
    func apply(_ settings: ProxySettings) {
        let before = present.mapValues { roles.configured($0) }
        roles.choices = UplinkChoices(settings)
        monitor?.select(roles.choices.selectors)
        for (name, role) in before {
            guard let candidate = present[name], roles.configured(candidate) != role else {
                continue
            }
            roles.forget(name)
            reports.role(of: name, is: roles.configured(candidate))
        }
        for candidate in present.values.sorted(by: { $0.name < $1.name }) {
            let role = role(candidate.name)
            for (number, _) in sockets.held(candidate.name) {
                driver.setUplinkRole(
                    number, isBackup: role == .backup,
                    isWarm: roles.choices.warm.contains(candidate.selector))
            }
            attach(candidate)
        }
        attachRefused()
    }

    /// What an uplink costs, or has used, has another consequence.
    func apply(_ consequence: UplinkMetering.Consequence, to name: String) {
        let wasStopped = consequences[name]?.isStopped == true
        consequences[name] = consequence
        for (number, _) in sockets.held(name) {
            driver.setUplinkCost(number, consequence.cost)
            driver.limitUplink(number, to: consequence.limit)
        }
        guard wasStopped != consequence.isStopped, let candidate = present[name] else { return }
        attach(candidate)
        if consequence.isStopped { attachRefused() }
    }

    /// Whether it is used at all.
    private func isUnused(_ name: String) -> Bool {
        role(name) == .off || consequences[name]?.isStopped == true
    }

    /// The families of the concentrator's addresses decide which sockets are of use; `announced`
    /// are those it has told of itself.
    func setFamilies(of addresses: [SocketAddress], announced: [SocketAddress] = []) {
        families = (
            v4: addresses.contains { $0.address.isIPv4 },
            v6: addresses.contains { !$0.address.isIPv4 }
        )
        further = (
            v4: announced.contains { $0.address.isIPv4 },
            v6: announced.contains { !$0.address.isIPv4 }
        )
        attachMissing()
    }

    func handle(_ event: UplinkEvent) {
        switch event {
        case .appeared(let candidate), .changed(let candidate):
            changes += 1
            present[candidate.name] = candidate
            reports.appeared(candidate.name, at: candidate.addresses.first.map { "\($0)" })
            attach(candidate)
        case .vanished(let name):
            present[name] = nil
            reports.vanished(name)
            refused.remove(name)
            for (number, _) in sockets.held(name) { sockets.close(number) }
            attachRefused()
        }
    }

    /// One that found no number may have one that was let go.
    private func attachRefused() {
        for name in refused.sorted() {
            refused.remove(name)
            if let candidate = present[name] { attach(candidate) }
            if refused.contains(name) { return }
        }
    }

    private func attachMissing() {
        for candidate in present.values.sorted(by: { $0.name < $1.name }) { attach(candidate) }
    }

    /// The families in which the uplink can reach the concentrator: IPv4 where both ends have it,
    /// since its header is shorter, and a second one where the concentrator asked for that by
    /// announcing an address.
    private func wanted(_ candidate: UplinkCandidate) -> [Bool] {
        if isUnused(candidate.name) { return [] }
        let hasV4 = candidate.has(isIPv4: true), hasV6 = candidate.has(isIPv4: false)
        let usesV4 = hasV4 && (families.v4 || further.v4)
        let usesV6 = hasV6 && (further.v6 || (families.v6 && !usesV4))
        return (usesV4 ? [true] : []) + (usesV6 ? [false] : [])
    }

    /// Makes the sockets that the uplink lacks. One stays while its own address does: another
    /// family's addresses come and go without it.
    private func attach(_ candidate: UplinkCandidate) {
        let wanted = wanted(candidate)
        for (number, isIPv4) in sockets.held(candidate.name) where !wanted.contains(isIPv4) {
            sockets.close(number)
        }
        if wanted.isEmpty, !isUnused(candidate.name) {
            log.notice(
                "uplink has no address of the concentrator's family",
                metadata: ["uplink": "\(candidate.name)"])
        }
        for isIPv4 in wanted { attach(candidate, isIPv4: isIPv4) }
    }

    private func attach(_ candidate: UplinkCandidate, isIPv4: Bool) {
        guard !candidate.isTooNarrow else {
            if notices.pass(at: driver.now) != nil {
                log.warning(
                    "cannot use uplink: its packets have less than 1,280 bytes",
                    metadata: ["uplink": "\(candidate.name)", "mtu": "\(candidate.mtu)"])
            }
            for (number, family) in sockets.held(candidate.name) where family == isIPv4 {
                sockets.close(number)
            }
            return
        }
        let role = role(candidate.name)
        let opening = sockets.open(
            candidate, isIPv4: isIPv4,
            .init(
                isBackup: role == .backup,
                isWarm: roles.choices.warm.contains(candidate.selector),
                consequence: consequences[candidate.name] ?? .init()))
        switch opening {
        case .asItWas: break
        case .opened(let uplink):
            told.remove(uplink.number)
            listening?.arm(after: UplinkSockets.silence)
            log.info(
                "uplink",
                metadata: [
                    "uplink": "\(candidate.name)", "from": "\(uplink.address)",
                    "role": "\(role.rawValue)"
                ])
        case .tooMany: noteTooMany(candidate.name)
        case .failed(let error):
            log.warning(
                "cannot use uplink", metadata: ["uplink": "\(candidate.name)", "why": "\(error)"])
            timer?.arm(after: Self.retry)
        }
    }

    private func noteTooMany(_ name: String) {
        guard refused.insert(name).inserted, let silent = notices.pass(at: driver.now) else {
            return
        }
        log.warning(
            "uplink is not used until another one vanishes: there are too many",
            metadata: [
                "uplink": "\(name)", "maximum": "\(UplinkNumbers.maximum)",
                "not_logged_before": "\(silent)"
            ])
    }
}

import Logging
import Measures
import Shell
import Tunnel

/// What an uplink is used for.
public enum UplinkRole: String, CaseIterable, Sendable {
    /// Carries data in every mode.
    case regular
    /// In backup mode only where no regular one works.
    case backup
    /// Not at all.
    case off
}

/// The proxy's uplinks: what the monitor reports, as sockets of the engine with numbers that stay.
final class UplinkSet {
    /// How soon a socket that could not be bound is tried again.
    private static let retry = Interval.seconds(1)
    /// Roles of their own that uplinks may have been given, absent ones included.
    private static let maximumRoles = 64

    private let driver: EngineDriver
    private let log: Logger
    private let reports: ProxyReports
    private var meters = UplinkMeters()
    private var choices: UplinkChoices
    private var monitor: UplinkMonitor?
    /// The engine's uplink of a number: an interface or address with the family of its socket.
    private var numbers = UplinkNumbers()
    /// What a socket is bound to, by number; it stays as long as that is there.
    fileprivate struct Place: Equatable {
        var interface: String
        var index: Int
        var address: IPAddress
        var mtu: Int
        var since: Instant
    }
    private var places = UplinkTable<Place>(count: UplinkNumbers.maximum)
    private var present: [String: UplinkCandidate] = [:]
    /// Given to a living process (`braid uplink`), by name.
    private var roles: [String: UplinkRole] = [:]
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
    /// How long an uplink may be silent while others are heard, and the datagrams it must have
    /// sent.
    private static let silence = Interval.seconds(5), minimumSent = 3
    /// How often an uplink came or changed.
    private(set) var changes = 0
    /// Called when a name has another number, or none.
    var numbersChanged: (() -> Void)?

    init(
        _ settings: ProxySettings, driver: EngineDriver, log: Logger, reports: ProxyReports
    ) throws(SystemError) {
        self.driver = driver
        self.log = log
        self.reports = reports
        choices = UplinkChoices(settings)
        monitor = try UplinkMonitor(
            selectors: choices.selectors, loop: driver.loop,
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
        let wanted = choices.selectors.map(\.description).joined(separator: ", ")
        log.warning("no uplink yet", metadata: ["looking_for": "\(wanted)"])
    }

    func stop() {
        monitor?.stop()
        timer = nil
        listening = nil
    }

    /// Counts what the uplinks have moved since the last call.
    func countUsage() {
        let open = places.indices.compactMap { driver.socket($0) }
        meters.collect(open: open) { uplink, volume in
            reports.recorder.count(volume, of: .init(uplink: uplink))
        }
    }

    func name(_ number: UplinkNumber) -> String? { numbers.name(number) }

    /// Those by which the engine knows the uplink now.
    func numbers(of name: String) -> [UplinkNumber] { numbers.held(name).map(\.number) }

    /// How what leaves by the uplink alone does; nil where it is not there.
    func departure(by name: String) -> Departure? {
        present[name].map { Departure(interface: $0.interface, addresses: $0.addresses) }
    }

    var hasAny: Bool { !present.isEmpty }

    var states: [ServerStatus.UplinkState] {
        let known = numbers.names
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
        for (number, isIPv4) in numbers.held(name) where isDeaf(number) {
            return UplinkDiagnosis.reason(
                candidate, isIPv4: isIPv4,
                others: present.values.filter { $0.name != name }
                    .sorted { $0.name < $1.name })
        }
        return nil
    }

    /// It sends, others are heard, and nothing ever came on it.
    private func isDeaf(_ number: UplinkNumber) -> Bool {
        guard let socket = driver.socket(number), let since = places[number]?.since,
            driver.now - since >= Self.silence, socket.statistics.datagramsReceived == 0,
            socket.statistics.datagramsSent >= Self.minimumSent
        else { return false }
        return places.indices.contains {
            driver.socket($0)?.statistics.datagramsReceived ?? 0 > 0
        }
    }

    private func listen() {
        var isOpen = false
        for name in present.keys.sorted() {
            for (number, _) in numbers.held(name) {
                if driver.socket(number)?.statistics.datagramsReceived ?? 0 == 0 { isOpen = true }
                guard isDeaf(number), told.insert(number).inserted, let problem = problem(name)
                else { continue }
                log.warning(
                    "nothing was ever heard on an uplink",
                    metadata: ["uplink": "\(name)", "why": "\(problem)"])
            }
        }
        if isOpen { listening?.arm(after: Self.silence) }
    }

    // MARK: Roles

    private func configuredRole(_ name: String) -> UplinkRole {
        present[name].map { choices.backup.contains($0.selector) } ?? false ? .backup : .regular
    }

    private func role(_ name: String) -> UplinkRole {
        roles[name] ?? configuredRole(name)
    }

    /// Whether an uplink has the role, present or not.
    var hasBackup: Bool {
        if roles.values.contains(.backup) { return true }
        guard !choices.backup.isEmpty else { return false }
        // Those of the configuration, as far as they were not given another role meanwhile.
        let others = present.values.filter {
            choices.backup.contains($0.selector) && roles[$0.name] != nil
        }
        return others.count < choices.backup.count
    }

    /// The names a person may give a role: all that are there or were.
    var knownNames: [String] { states.map(\.name) }

    /// Gives the uplink a role while it lives; false where there is no such uplink.
    func setRole(_ role: UplinkRole, of name: String) -> Bool {
        guard present[name] != nil || numbers.names.contains(name),
            roles[name] != nil || roles.count < Self.maximumRoles
        else { return false }
        guard self.role(name) != role else { return true }
        roles[name] = role
        reports.role(of: name, is: role)
        log.notice(
            "uplink has another role", metadata: ["uplink": "\(name)", "role": "\(role.rawValue)"])
        for (number, _) in numbers.held(name) where role != .off {
            driver.setUplinkRole(number, isBackup: role == .backup)
        }
        if let candidate = present[name] { attach(candidate) }
        if role == .off { attachRefused() }
        return true
    }

    /// Keeps to other settings: uplinks that are none any more go, others come, and those that stay
    /// have another role where the settings say so, whatever a person gave them meanwhile.
    func apply(_ settings: ProxySettings) {
        let before = present.keys.map { ($0, configuredRole($0)) }
        choices = UplinkChoices(settings)
        monitor?.select(choices.selectors)
        for (name, role) in before where present[name] != nil && configuredRole(name) != role {
            roles[name] = nil
            reports.role(of: name, is: configuredRole(name))
        }
        for candidate in present.values.sorted(by: { $0.name < $1.name }) {
            let role = role(candidate.name)
            for (number, _) in numbers.held(candidate.name) {
                driver.setUplinkRole(
                    number, isBackup: role == .backup,
                    isWarm: choices.warm.contains(candidate.selector))
            }
            attach(candidate)
        }
        attachRefused()
    }

    /// What an uplink costs, or has used, has another consequence.
    func apply(_ consequence: UplinkMetering.Consequence, to name: String) {
        let wasStopped = consequences[name]?.isStopped == true
        consequences[name] = consequence
        for (number, _) in numbers.held(name) {
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
            for (number, _) in numbers.held(name) { detach(number) }
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

    private func detach(_ number: UplinkNumber) {
        driver.removeUplink(number)
        places[number] = nil
        numbers.release(number)
        numbersChanged?()
    }

    /// Makes the sockets that the uplink lacks. One stays while its own address does: another
    /// family's addresses come and go without it.
    private func attach(_ candidate: UplinkCandidate) {
        let wanted = wanted(candidate)
        for (number, isIPv4) in numbers.held(candidate.name) where !wanted.contains(isIPv4) {
            detach(number)
        }
        if wanted.isEmpty, !isUnused(candidate.name) {
            log.notice(
                "uplink has no address of the concentrator's family",
                metadata: ["uplink": "\(candidate.name)"])
        }
        for isIPv4 in wanted { attach(candidate, isIPv4: isIPv4) }
    }

    private func attach(_ candidate: UplinkCandidate, isIPv4: Bool) {
        guard candidate.mtu >= 1280 else {
            if notices.pass(at: driver.now) != nil {
                log.warning(
                    "cannot use uplink: its packets have less than 1,280 bytes",
                    metadata: ["uplink": "\(candidate.name)", "mtu": "\(candidate.mtu)"])
            }
            for (number, family) in numbers.held(candidate.name) where family == isIPv4 {
                detach(number)
            }
            return
        }
        guard let number = numbers.take(.init(name: candidate.name, isIPv4: isIPv4)) else {
            if refused.insert(candidate.name).inserted, let silent = notices.pass(at: driver.now) {
                log.warning(
                    "uplink is not used until another one vanishes: there are too many",
                    metadata: [
                        "uplink": "\(candidate.name)", "maximum": "\(UplinkNumbers.maximum)",
                        "not_logged_before": "\(silent)"
                    ])
            }
            return
        }
        let old = places[number]
        if let old, driver.socket(number) != nil, old.isThere(in: candidate) {
            driver.retryUplink(number)  // a route may have come back
            return
        }
        guard let address = candidate.addresses.first(where: { $0.isIPv4 == isIPv4 }),
            let binding = candidate.binding(isIPv4: isIPv4)
        else { return detach(number) }
        do {
            let socket = try DatagramSocket(binding, loop: driver.loop)
            let role = role(candidate.name)
            var uplink = Uplink(
                number: number, name: candidate.name, isBackup: role == .backup,
                isWarm: choices.warm.contains(candidate.selector),
                datagramLimit: candidate.datagramLimit(isIPv4: isIPv4), isIPv4: isIPv4,
                address: address)
            uplink.cost = consequences[candidate.name]?.cost ?? .usual
            places[number] = Place(
                interface: candidate.interface, index: candidate.interfaceIndex,
                address: address, mtu: candidate.mtu, since: driver.now)
            numbersChanged?()
            told.remove(number)
            listening?.arm(after: Self.silence)
            meters.add(socket, of: candidate.name)
            driver.addUplink(uplink, socket: socket)
            driver.limitUplink(number, to: consequences[candidate.name]?.limit)
            log.info(
                "uplink",
                metadata: [
                    "uplink": "\(candidate.name)", "from": "\(uplink.address)",
                    "role": "\(role.rawValue)"
                ])
        } catch {
            log.warning(
                "cannot use uplink", metadata: ["uplink": "\(candidate.name)", "why": "\(error)"])
            detach(number)
            timer?.arm(after: Self.retry)
        }
    }
}

extension UplinkSet.Place {
    /// Whether a socket that stands here is right for what the system shows now.
    func isThere(in candidate: UplinkCandidate) -> Bool {
        interface == candidate.interface && index == candidate.interfaceIndex
            && mtu == candidate.mtu
            && candidate.addresses.contains(address)
    }
}

/// Which uplinks a proxy's settings mean, and as what.
struct UplinkChoices {
    private(set) var selectors: [UplinkSelector]
    private(set) var backup: Set<UplinkSelector>
    private(set) var warm: Set<UplinkSelector>

    init(_ settings: ProxySettings) {
        let isAutomatic = settings.uplinks.isEmpty
        selectors = isAutomatic ? [.everyDefaultRoute] : settings.uplinks.map(\.selector)
        backup = Set(settings.uplinks.filter(\.isBackup).map(\.selector))
        warm = Set(settings.uplinks.filter(\.isWarm).map(\.selector))
        // A concentrator on this machine is reached by no interface with a default route.
        let addresses = settings.concentrator.map(\.socketAddress)
        if isAutomatic, addresses.allSatisfy({ $0?.address.isLoopback == true }) {
            let isIPv4 = addresses[0]?.address.isIPv4 == true
            selectors = Subnet(isIPv4 ? "127.0.0.1" : "::1").map { [.source($0)] } ?? []
        }
    }
}

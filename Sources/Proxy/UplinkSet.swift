import Logging
import Measures
import Shell
import Tunnel

/// The proxy's uplinks: what the monitor reports, as sockets of the engine with numbers that stay.
final class UplinkSet {
    /// How soon a socket that could not be bound is tried again.
    private static let retry = Interval.seconds(1)

    private let driver: EngineDriver
    private let log: Logger
    private let backup: Set<UplinkSelector>
    private let warm: Set<UplinkSelector>
    private var monitor: UplinkMonitor?
    private var selectors: [UplinkSelector]
    private let isAutomatic: Bool
    /// The engine's uplink of this number: an interface or address with the family of its socket. It keeps
    /// its number for as long as the process lives.
    private struct Slot: Equatable {
        var name: String
        var isIPv4: Bool
    }
    private var slots: [Slot] = []
    private var present: [String: UplinkCandidate] = [:]
    /// Of the configured addresses, and of those announced.
    private var families = (v4: true, v6: true), further = (v4: false, v6: false)
    private var timer: LoopTimer?

    init(_ settings: ProxySettings, driver: EngineDriver, log: Logger) throws(SystemError) {
        self.driver = driver
        self.log = log
        isAutomatic = settings.uplinks.isEmpty
        selectors = isAutomatic ? [.everyDefaultRoute] : settings.uplinks.map(\.selector)
        backup = Set(settings.uplinks.filter(\.isBackup).map(\.selector))
        warm = Set(settings.uplinks.filter(\.isWarm).map(\.selector))
        // A concentrator on this machine is reached by no interface with a default route.
        let addresses = settings.concentrator.map(\.socketAddress)
        if isAutomatic, addresses.allSatisfy({ $0?.address.isLoopback == true }) {
            let isIPv4 = addresses[0]?.address.isIPv4 == true
            selectors = Subnet(isIPv4 ? "127.0.0.1" : "::1").map { [.source($0)] } ?? []
        }
        monitor = try UplinkMonitor(selectors: selectors, loop: driver.loop,
                                    log: log) { [weak self] in self?.handle($0) }
        timer = driver.loop.timer(for: self) { $0.attachMissing() }
    }

    /// Begins to watch; `known` are the concentrator's addresses as far as they are known.
    func start(_ known: [SocketAddress]) {
        if !known.isEmpty { setFamilies(of: known) }
        monitor?.start()
        guard present.isEmpty else { return }
        let wanted = selectors.map(\.description).joined(separator: ", ")
        log.warning("no uplink yet", metadata: ["looking_for": "\(wanted)"])
    }

    func stop() {
        monitor?.stop()
        timer = nil
    }

    func name(_ number: Int) -> String? { slots.indices.contains(number) ? slots[number].name : nil }

    var hasAny: Bool { !present.isEmpty }

    var states: [ServerStatus.UplinkState] {
        var names: [String] = []
        for slot in slots where !names.contains(slot.name) { names.append(slot.name) }
        return names.map { name in
            ServerStatus.UplinkState(name: name,
                                     isBackup: present[name].map { backup.contains($0.selector) }
                                         ?? false,
                                     isPresent: present[name] != nil)
        }
    }

    /// The families of the concentrator's addresses decide which sockets are of use; `announced` are those it
    /// has told of itself.
    func setFamilies(of addresses: [SocketAddress], announced: [SocketAddress] = []) {
        families = (v4: addresses.contains { $0.address.isIPv4 }, v6: addresses.contains { !$0.address.isIPv4 })
        further = (v4: announced.contains { $0.address.isIPv4 }, v6: announced.contains { !$0.address.isIPv4 })
        for candidate in present.values.sorted(by: { $0.name < $1.name }) { attach(candidate, onlyNew: true) }
    }

    private func handle(_ event: UplinkEvent) {
        switch event {
        case .appeared(let candidate), .changed(let candidate):
            present[candidate.name] = candidate
            attach(candidate)
        case .vanished(let name):
            present[name] = nil
            log.notice("uplink vanished", metadata: ["uplink": "\(name)"])
            for number in slots.indices where slots[number].name == name { driver.removeUplink(number) }
        }
    }

    private func attachMissing() {
        for candidate in present.values.sorted(by: { $0.name < $1.name }) { attach(candidate, onlyNew: true) }
    }

    /// The families in which the uplink can reach the concentrator: IPv4 where both ends have it, since its
    /// header is shorter, and a second one where the concentrator asked for that by announcing an address.
    private func wanted(_ candidate: UplinkCandidate) -> [Bool] {
        let hasV4 = candidate.has(isIPv4: true), hasV6 = candidate.has(isIPv4: false)
        let usesV4 = hasV4 && (families.v4 || further.v4)
        let usesV6 = hasV6 && (further.v6 || (families.v6 && !usesV4))
        return (usesV4 ? [true] : []) + (usesV6 ? [false] : [])
    }

    /// Makes the uplink's sockets (again), or with `onlyNew` those that it lacks.
    private func attach(_ candidate: UplinkCandidate, onlyNew: Bool = false) {
        let wanted = wanted(candidate)
        for number in slots.indices where slots[number].name == candidate.name
            && !wanted.contains(slots[number].isIPv4) { driver.removeUplink(number) }
        if wanted.isEmpty {
            log.notice("uplink has no address of the concentrator's family",
                       metadata: ["uplink": "\(candidate.name)"])
        }
        for isIPv4 in wanted { attach(candidate, isIPv4: isIPv4, onlyNew: onlyNew) }
    }

    private func attach(_ candidate: UplinkCandidate, isIPv4: Bool, onlyNew: Bool) {
        let slot = Slot(name: candidate.name, isIPv4: isIPv4)
        let number = slots.firstIndex(of: slot) ?? slots.count
        if number == slots.count { slots.append(slot) }
        if onlyNew, driver.socket(number) != nil { return }
        guard let binding = candidate.binding(isIPv4: isIPv4) else { return }
        do {
            let socket = try DatagramSocket(binding, loop: driver.loop)
            let uplink = Uplink(number: number, name: candidate.name,
                                isBackup: backup.contains(candidate.selector),
                                isWarm: warm.contains(candidate.selector),
                                datagramLimit: candidate.datagramLimit(isIPv4: isIPv4), isIPv4: isIPv4,
                                address: candidate.addresses.first { $0.isIPv4 == isIPv4 } ?? .unspecifiedV4)
            driver.addUplink(uplink, socket: socket)
            log.info("uplink", metadata: ["uplink": "\(candidate.name)", "from": "\(uplink.address)",
                                          "role": "\(uplink.isBackup ? "backup" : "regular")"])
        } catch {
            log.warning("cannot use uplink", metadata: ["uplink": "\(candidate.name)", "why": "\(error)"])
            driver.removeUplink(number)
            timer?.arm(after: Self.retry)
        }
    }
}

extension IPAddress {
    var isLoopback: Bool { isIPv4 ? v4 >> 24 == 127 : high == 0 && low == 1 }
}

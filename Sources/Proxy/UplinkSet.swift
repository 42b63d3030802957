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
    /// A name keeps its number for as long as the process lives.
    private var names: [String] = []
    private var present: [String: UplinkCandidate] = [:]
    private var families = (v4: true, v6: true)
    /// The family each uplink's socket was made for.
    private var attachedV4: [String: Bool] = [:]
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
                                    log: log) { [unowned self] in self.handle($0) }
        timer = driver.loop.timer { [unowned self] in self.attachMissing() }
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

    func name(_ number: Int) -> String? { names.indices.contains(number) ? names[number] : nil }

    var hasAny: Bool { !present.isEmpty }

    var states: [ServerStatus.UplinkState] {
        names.map { name in
            ServerStatus.UplinkState(name: name,
                                     isBackup: present[name].map { backup.contains($0.selector) }
                                         ?? false,
                                     isPresent: present[name] != nil)
        }
    }

    /// The families of the concentrator's addresses decide which sockets are of use.
    func setFamilies(of addresses: [SocketAddress]) {
        let new = (v4: addresses.contains { $0.address.isIPv4 },
                   v6: addresses.contains { !$0.address.isIPv4 })
        families = new
        for name in names {
            guard let candidate = present[name], attachedV4[name] != usesIPv4(candidate) else { continue }
            attach(candidate)
        }
    }

    private func handle(_ event: UplinkEvent) {
        switch event {
        case .appeared(let candidate), .changed(let candidate):
            present[candidate.name] = candidate
            attach(candidate)
        case .vanished(let name):
            present[name] = nil
            log.notice("uplink vanished", metadata: ["uplink": "\(name)"])
            if let number = names.firstIndex(of: name) { driver.removeUplink(number) }
        }
    }

    private func attachMissing() {
        for (number, name) in names.enumerated() {
            if let candidate = present[name], driver.socket(number) == nil { attach(candidate) }
        }
    }

    /// IPv4 where both ends have it: its header is shorter.
    private func usesIPv4(_ candidate: UplinkCandidate) -> Bool { families.v4 && candidate.has(isIPv4: true) }

    private func attach(_ candidate: UplinkCandidate) {
        let number = names.firstIndex(of: candidate.name) ?? names.count
        if number == names.count { names.append(candidate.name) }
        let isIPv4 = usesIPv4(candidate)
        attachedV4[candidate.name] = isIPv4
        guard isIPv4 || families.v6, let binding = candidate.binding(isIPv4: isIPv4) else {
            log.notice("uplink has no address of the concentrator's family",
                       metadata: ["uplink": "\(candidate.name)"])
            driver.removeUplink(number)
            return
        }
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

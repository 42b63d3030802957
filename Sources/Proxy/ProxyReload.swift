import Glibc
import Logging
import Measures
import Multipath
import Rules
import Shell
import Tunnel
import Wire

/// Other settings for a proxy that runs: whatever lives goes on.
extension ProxyServer {
    /// Goes on with other settings. Keys, `capture` and `pcap` stay as they are; the mode and the
    /// uplinks' roles are those of the settings where these say something else than before, and
    /// stay what `setMode` and `setRole` made them where not.
    ///
    /// Throws what the system says where a port can't be had, and ESHUTDOWN where it is ending;
    /// then nothing has changed.
    public func apply(_ changed: ProxySettings) throws(SystemError) {
        guard shutdown == nil else {
            throw SystemError("change what is ending", code: ESHUTDOWN)
        }
        var changed = changed
        changed.identity = settings.identity
        changed.concentratorKey = settings.concentratorKey
        changed.preSharedKey = settings.preSharedKey
        changed.capture = settings.capture
        changed.pcap = settings.pcap
        let old = settings
        // What can fail comes first.
        let addresses =
            changed.concentrator == old.concentrator ? nil : try lookFor(changed.concentrator)
        let names = try self.names.prepare(changed.names)
        do throws(SystemError) {
            try changePorts(to: changed)
        } catch {
            names.abandon()
            throw error
        }
        settings = changed
        self.names.commit(names)
        limitPending()
        driver.endpoint.reconfigure(
            changed.endpoint([], maximumClients: maximumClients), at: loop.now())
        direct?.apply(changed.direct, memory: changed.memory / 2)
        if changed.rules != old.rules { rulesHaveChanged() }
        if let addresses { follow(addresses) }
        if changed.uplinks != old.uplinks || addresses != nil { uplinks?.apply(changed) }
        if changed.mode != old.mode, changed.mode != mode { take(ModeWish(changed.mode)) }
        if changed.mode != old.mode || changed.uplinks != old.uplinks { warnOfNoBackup() }
        if changed.listeners != old.listeners { warnOfOpenListeners() }
        if changed.maximumClients != old.maximumClients { warnOfFewDescriptors() }
        driver.kick()
    }

    // MARK: Ports

    func open(_ listener: ProxyListener) throws(SystemError) -> ListeningPort {
        try ListeningPort(
            listener, maximumPending: maximumPending(listener, settings), loop: loop, log: log
        ) { [weak self] socket, port, from in self?.accepted(socket, port, from) }
    }

    private func maximumPending(_ listener: ProxyListener, _ settings: ProxySettings) -> Int {
        settings.clients.maximumPending(
            listener, of: settings.listeners.count, maximumClients: maximumClients)
    }

    private func limitPending() {
        // Beyond it nobody could be accepted, and silent ones would be in the way of all others.
        maximumClients = min(settings.maximumClients, DescriptorLimit.maximumConnections)
        for port in ports { port.pending.limit(to: maximumPending(port.listener, settings)) }
    }

    /// A port whose address stays is not closed for a moment, whatever else of it changes.
    private func changePorts(to changed: ProxySettings) throws(SystemError) {
        var next: [ListeningPort] = [], fresh: [ListeningPort] = [], closed: [ListeningPort] = []
        do throws(SystemError) {
            for listener in changed.listeners {
                if let port = ports.first(where: { $0.listener.address == listener.address }) {
                    next.append(port)
                    continue
                }
                // One address instead of all, or all instead of one: the two can't be at once.
                for port in ports where port.isInTheWay(of: listener.address) {
                    port.close()
                    closed.append(port)
                }
                let port = try open(listener)
                next.append(port)
                fresh.append(port)
            }
        } catch {
            fresh.forEach { $0.close() }
            closed.forEach(reopen)
            throw error
        }
        for port in ports where !next.contains(where: { $0 === port }) { port.close() }
        ports = next
        for (port, listener) in zip(next, changed.listeners) { port.listener = listener }
    }

    private func reopen(_ port: ListeningPort) {
        guard let place = ports.firstIndex(where: { $0 === port }) else { return }
        do {
            ports[place] = try open(port.listener)
        } catch {
            log.error("a port was closed for another, and can't be had again: \(error)")
        }
    }

    // MARK: Concentrator

    func lookFor(_ targets: [Target]) throws(SystemError) -> ConcentratorAddresses {
        try ConcentratorAddresses(targets, loop: loop, log: log) { [weak self] in
            guard let self else { return }
            driver.endpoint.setConcentrator($0, at: loop.now())
            uplinks?.setFamilies(of: $0, announced: announced)
            driver.kick()
        }
    }

    private func follow(_ addresses: ConcentratorAddresses) {
        concentrator?.stop()
        concentrator = addresses
        let known = addresses.current
        if !known.isEmpty {
            driver.endpoint.setConcentrator(known, at: loop.now())
            uplinks?.setFamilies(of: known, announced: announced)
        }
        addresses.start()
        addresses.isNeeded = reachability.sessions == 0
    }

    // MARK: Rules

    private func rulesHaveChanged() {
        rulesChanged &+= 1
        // Those that connections of rules which are gone still have are kept for these.
        let named = settings.rules.uplinkLists
        for names in restrictions.keys where !named.contains(names) {
            guard var restriction = restrictions.removeValue(forKey: names) else { continue }
            if !isKnownUniquelyReferenced(&restriction) { restrictions[names] = restriction }
        }
    }

    // MARK: What is allowed and worth a word

    func warnOfNoBackup() {
        guard mode == .backup, uplinks?.hasBackup == false else { return }
        log.warning("mode backup, but no uplink has the role backup, so that all carry data")
    }

    func warnOfFewDescriptors() {
        guard maximumClients < settings.maximumClients else { return }
        log.notice(
            "fewer clients than configured: raise the limit of open files",
            metadata: [
                "maximum": "\(maximumClients)", "configured": "\(settings.maximumClients)"
            ])
    }

    func warnOfOpenListeners() {
        for listener in settings.listeners where listener.isOpenToOthers {
            log.warning(
                "whoever reaches this address may use the proxy: no password is asked for",
                metadata: ["on": "\(listener.address)"])
        }
    }
}

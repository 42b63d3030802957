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
            changed.concentrator == old.concentrator
            ? nil : try session.look(for: changed.concentrator)
        let names = try self.names.prepare(changed.names)
        do throws(SystemError) {
            try ports.change(to: changed.listeners) {
                old.maximumPending($0, clients: clients.maximum)
            }
        } catch {
            names.abandon()
            throw error
        }
        settings = changed
        self.names.commit(names)
        clients.limit(to: changed.maximumClients)
        ports.limitPending { changed.maximumPending($0, clients: clients.maximum) }
        session.withoutSession = changed.withoutSession
        driver.endpoint.reconfigure(
            changed.endpoint([], maximumClients: clients.maximum), at: loop.now())
        direct?.apply(changed.direct, memory: changed.memory / 2)
        if changed.rules != old.rules {
            rulesChanged &+= 1
            restrictions.keep(changed.rules.uplinkLists)
        }
        if let addresses {
            session.follow(addresses)
            self.names.concentrators = ConcentratorAddresses.names(of: changed.concentrator)
        }
        if changed.uplinks != old.uplinks || addresses != nil { uplinks.apply(changed) }
        metering.apply(changed)
        if changed.mode != old.mode, changed.mode != mode { take(ModeWish(changed.mode)) }
        askForPerson()
        if changed.mode != old.mode || changed.uplinks != old.uplinks { warnOfNoBackup() }
        if changed.listeners != old.listeners { warnOfOpenListeners() }
        if changed.maximumClients != old.maximumClients { warnOfFewDescriptors() }
    }

    // MARK: What is allowed and worth a word

    func warnOfNoBackup() {
        guard mode == .backup, !uplinks.hasBackup else { return }
        log.warning("mode backup, but no uplink has the role backup, so that all carry data")
    }

    func warnOfFewDescriptors() {
        guard clients.maximum < settings.maximumClients else { return }
        log.notice(
            "fewer clients than configured: raise the limit of open files",
            metadata: [
                "maximum": "\(clients.maximum)", "configured": "\(settings.maximumClients)"
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

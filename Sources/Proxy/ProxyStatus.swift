import Measures
import Multipath
import Shell
import Tunnel

/// What a proxy says of itself.
extension ProxyServer {
    /// The mode that connections have at present, and in mode auto from what it follows; nil
    /// while there is no session.
    public var presentMode: (mode: HandoverMode, reason: String?)? {
        driver.endpoint.report(at: loop.now()).sessions.first.map {
            ($0.mode, reason($0.demand?.label))
        }
    }

    /// Why the mode is what it is, with what is known of the person.
    private func reason(_ demand: String?) -> String? {
        demand.map { demand in person?.label.map { "\(demand); \($0)" } ?? demand }
    }

    /// Every uplink that is there or was, by name.
    public var uplinkStates: [ServerStatus.UplinkState] {
        var states = uplinks.states
        for i in states.indices {
            guard let used = metering.used(by: states[i].name) else { continue }
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
        uplinks.countUsage()
        let report = driver.endpoint.report(at: loop.now())
        var status = ServerStatus(
            role: "proxy", uptime: loop.now() - began,
            listen: ports.all.map { "\($0.listener.scheme.rawValue)://\($0.address)" }
                + names.listen.map { "dns://\($0)" },
            report: report)
        status.longestTurnSeconds = loop.longestTurn.seconds
        status.uplinks = uplinkStates
        for i in status.sessions.indices {
            status.sessions[i].modeReason = reason(status.sessions[i].modeReason)
        }
        status.counters = [.init("clients", clients.count)] + notices.counters.status
        status.counters += (direct?.counters ?? .init()).status
        status.counters += [
            .init("paths_left_out", session.countLeftOut),
            .init("memory_bytes", report.memory), .init("memory_limit_bytes", report.memoryLimit),
            .init("associations", clients.count { $0 is UDPRelay })
        ]
        status.counters += datagrams.status
        status.counters += names.status
        status.counters += capture?.status ?? []
        return status
    }
}

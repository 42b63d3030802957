import Measures
import Shell
import Tunnel
import Wire

/// What a concentrator says of itself.
extension ConcentratorServer {
    /// For the control socket and the status page: made anew, in time that grows with sessions and
    /// paths.
    public func status() -> ServerStatus {
        reports.count(driver.endpoint.usage)
        let report = driver.endpoint.report(at: loop.now())
        var status = ServerStatus(
            role: "concentrator", uptime: loop.now() - began,
            listen: listen.map { "udp://\($0)" }, report: report)
        status.longestTurnSeconds = loop.longestTurn.seconds
        status.connections = connections.count
        status.strangers = unknownKeys.list(at: loop.now())
        status.counters = [
            .init("connections_total", counters.incoming),
            .init("dials_connected_total", counters.connected),
            .init("dials_under_way", dialer.dials.running),
            .init("dials_waiting", dialer.dials.waiting),
            .init("lookups_under_way", dialer.lookUps.running),
            .init("lookups_waiting", dialer.lookUps.waiting)
        ]
        status.counters += datagrams.counters(associations: associations.count)
        status.counters += names.status
        status.counters.append(.init("memory_bytes", report.memory))
        status.counters.append(.init("memory_limit_bytes", report.memoryLimit))
        for (limit, count) in zip(UserLimit.allCases, report.turnedAway) {
            status.counters.append(.init("turned_away_total{limit=\"\(limit.label)\"}", count))
        }
        for failure in DialStatus.allCases.dropFirst() {
            let count = counters.refused[Int(failure.rawValue)]
            status.counters.append(.init("dials_failed_total{reason=\"\(failure)\"}", count))
        }
        return status
    }
}

import Measures
import Multipath

extension Endpoint {
    /// A snapshot for `braid status`.
    public func report(at now: Instant) -> EndpointReport {
        var report = EndpointReport()
        report.connections = host.streams.living
        report.datagramsDropped = host.counters.total
        report.turnedAway = host.turnedAway.counts
        report.memory = memory.used
        report.memoryLimit = memory.limit
        report.roundTrips = host.roundTrips.uplinks
        for case let session? in sessions where !session.isClosing {
            var paths: [EndpointReport.Path] = []
            for case let path? in session.paths
            where path.isOpen || path.health != .lost || path.records.next > 1 {
                paths.append(session.describe(path, at: now))
            }
            report.sessions.append(
                .init(
                    number: session.slot, user: session.user?.name ?? "",
                    peerProgram: session.peerProgram, age: now - session.openedAt,
                    isReplaced: session.isInitiator && session.isReplaced,
                    mode: session.modes.session,
                    demand: session.isInitiator ? host.modeByUse?.demand : nil, paths: paths,
                    connections: session.streams.count,
                    datagrams: session.datagrams.report(session.modes.session)))
        }
        if isProxy {
            report.sessions =
                report.sessions.filter { !$0.isReplaced } + report.sessions.filter(\.isReplaced)
        }
        return report
    }
}

extension Endpoint {
    /// The version of the other end's program; empty where it does not say.
    public func peerProgram(ofSession slot: SessionSlot) -> String {
        sessions[slot]?.peerProgram ?? ""
    }
}

extension StreamHandle {
    /// The open path of its session that was heard last; nil where there is no session, or none is
    /// open.
    public func latestPath(at now: Instant) -> EndpointReport.Path? {
        session.flatMap { session in session.latestPath.map { session.describe($0, at: now) } }
    }
}

extension Session {
    /// What the path's datagrams leave from, as far as this end knows.
    func localAddress(_ path: Path) -> IPAddress {
        host.proxy.uplinks.first { $0.uplink.number == path.uplink }?.uplink.address
            ?? path.address.local
    }

    fileprivate func describe(_ path: Path, at now: Instant) -> EndpointReport.Path {
        .init(
            number: path.id, uplink: path.uplinkName, local: "\(localAddress(path))",
            remote: "\(path.remote)",
            health: path.health, isFutile: isFutile(path), isBackup: path.role.isBackup,
            smoothedRTT: path.roundTrip.smoothed,
            minimumRTT: path.roundTrip.minimum,
            loss: path.traffic.loss.share,
            packetSize: path.mtu.isBaseConfirmed
                ? path.datagramLimit
                    + DatagramSizes.packetHeader(isIPv4: path.remote.address.isIPv4) : 0,
            sendRate: path.traffic.sent.value(at: now),
            receiveRate: path.traffic.received.value(at: now),
            bytesSent: path.traffic.sent.total, bytesReceived: path.traffic.received.total)
    }
}

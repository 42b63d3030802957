import Measures
import Multipath
import Wire

/// How a session begins, and how it goes on with the keys of another handshake.
extension Session {
    /// Proxy: a handshake may help. Its keys are gone, or it has heard nothing for so long that the
    /// concentrator may have been restarted; asking costs one datagram.
    func needsHandshake(at now: Instant) -> Bool {
        hasExpiredKeys || now - activity.lastArrival > Limits.handshakeAfterIdleness
    }

    /// Proxy: no path has worked for so long that another handshake is tried although the
    /// concentrator is heard.
    func lacksPath(at now: Instant) -> Bool {
        guard let since = handshakes.pathlessSince, !hasUsablePath else { return false }
        return now - since >= handshakes.pathlessWait
    }

    /// Proxy: the session begins, with the paths that its mode wants.
    func begin(_ arrival: WelcomeArrival, at now: Instant) {
        if host.modeByUse?.isWatching == true { watchUse(at: now) }
        for item in host.proxy.uplinks where item.isUp && modes.effective != .single {
            openPaths(uplink: item.uplink, isBeginning: true, at: now)
        }
        openWelcomed(arrival, at: now)
    }

    /// Proxy: it goes on, with new keys.
    func resume(_ arrival: WelcomeArrival, at now: Instant) {
        handshakes.pathless.failed()
        keepStreams(at: now)
        openWelcomed(arrival, at: now)
        for case let path? in paths where path.isOpen && path.health != .usable {
            path.monitor.probeSoon()
            sendProbe(path, because: .routine, at: now)
        }
        if hasSignals { raiseSignals(at: now) }
    }

    /// What both ends do when a session goes on: its connections find it in its slot, and nothing
    /// refers to records of the past.
    func keepStreams(at now: Instant) {
        for slot in streams {
            guard let stream = host.streams[slot] else { continue }
            stream.session = self
            stream.timers.clear(.orphan)
            stream.connection.forgetRecords()
            host.work.ready.append(stream)
        }
    }

    /// The answer has measured its path already; its token, handed back, shows that we receive
    /// where our datagrams come from.
    func openWelcomed(_ arrival: WelcomeArrival, at now: Instant) {
        guard
            let item = host.proxy.uplinks.first(where: { $0.uplink.number == arrival.source.uplink }
            )
        else {
            return
        }
        // What asks and answers here is a path, even where none was to be.
        openFirstPath(uplink: item.uplink, to: arrival.source.remote, at: now)
        guard
            let path = paths.first(where: {
                $0?.uplink == arrival.source.uplink && $0?.remote == arrival.source.remote
            }) ?? nil
        else { return }
        path.address.local = arrival.source.local
        path.monitor.welcomed(now - arrival.sentAt, at: now)
        host.roundTrips.add(now - arrival.sentAt, uplink: path.uplinkName)
        enter(.usable, path, at: now)
        let program = ProgramVersionFrame(text: host.configuration.program)
        if !program.text.isEmpty, let out = append(program.size, to: path) {
            program.write(into: out)
        }
        if arrival.token < 0, let out = append(ProbeFrame.size, to: path) {
            ProbeFrame(isAnswer: true, identifier: 0, sentAt: arrival.token).write(into: out)
        }
        requestFlush()
    }
}

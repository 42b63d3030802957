import Measures

/// What an endpoint waits for, in the order in which it is done. A new timer is a new case: the
/// compiler then asks when it is due and what happens then.
private enum EndpointTimer: CaseIterable {
    /// Deadlines of sessions (`SessionTimer`).
    case sessions
    /// Deadlines of connections (`StreamTimer`, and those of `Connection`).
    case streams
    /// Concentrator: handshakes that no record followed are forgotten.
    case pendingHandshakes
    /// Proxy: the next attempt to open a session.
    case handshake
    /// Proxy: uplinks that failed are tried again.
    case uplinks
    /// Concentrator: hellos are opened; in `transmit`, behind the records.
    case hellos

    static let all = Array(allCases)
}

extension Endpoint {
    /// When `advance` or `transmit` next has something to do; `.zero`, which is long past, where
    /// something waits for no time, such as events.
    public var deadline: Instant {
        if host.hasWork || !ending.isEmpty { return .zero }
        var next = Instant.distantFuture
        for timer in EndpointTimer.all { next = min(next, deadline(of: timer)) }
        return next
    }

    /// Does what is due: timers of connections, paths, sessions and handshakes. Call once a turn,
    /// before `transmit`.
    public func advance(to now: Instant) {
        host.work.resetsThisTurn = 0
        for _ in 0..<Limits.rekeysPerTurn {
            guard let message = host.work.rekeys.popFirst() else { break }
            message.session.work(on: message, at: now)
        }
        notifyConnections(at: now)
        for timer in EndpointTimer.all where deadline(of: timer) <= now { fire(timer, at: now) }
        refreshTimers(at: now)
    }

    /// Sessions look at the timers that follow from what has changed; behind everything in
    /// `advance` and in `transmit`.
    func refreshTimers(at now: Instant) {
        while let session = host.work.sessionsWithTimers.popLast() {
            session.refreshTimers(at: now)
        }
    }

    private func deadline(of timer: EndpointTimer) -> Instant {
        switch timer {
        case .sessions: return host.deadlines.nextSession
        case .streams: return host.deadlines.nextStream
        case .pendingHandshakes: return listener?.pending.deadline ?? .distantFuture
        case .handshake: return handshake?.nextAt ?? .distantFuture
        case .uplinks:
            var next = Instant.distantFuture
            for uplink in host.proxy.uplinks where !uplink.isUp { next = min(next, uplink.retryAt) }
            return next
        case .hellos: return listener?.gate.nextAt ?? .distantFuture
        }
    }

    private func fire(_ timer: EndpointTimer, at now: Instant) {
        switch timer {
        case .sessions:
            while let slot = host.deadlines.popSession(at: now) {
                guard let session = sessions[slot] else { continue }
                advance(session, to: now)
            }
        case .streams:
            while let slot = host.deadlines.popStream(at: now) {
                guard let stream = host.streams[slot], let session = stream.session,
                    !session.isClosing
                else { continue }
                session.advance(stream, to: now)
            }
        case .pendingHandshakes: expirePending(at: now)
        case .handshake: repeatHandshake(at: now)
        case .uplinks: retryUplinks(at: now)
        case .hellos: break
        }
    }

    private func advance(_ session: Session, to now: Instant) {
        for demand in session.notifyingAll(at: now, { session.advance(to: now) }) {
            switch demand {
            case .modeFollows(let machine): follow(machine, of: session)
            case .needsHandshake:
                if session.isReplaced {
                    checkReplaced(session, at: now)
                } else {
                    beginHandshake(at: now)
                }
            case .isOver(let reason): end(session, reason, at: now)
            }
        }
    }
}

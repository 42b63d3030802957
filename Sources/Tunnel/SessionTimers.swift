import Measures
import Multipath

/// What a session waits for, in the order in which it is done. A new timer is a new case: the
/// compiler then asks when it is due (`Session.deadline(of:)`) and what happens then
/// (`Session.fire(_:)`).
enum SessionTimer: CaseIterable {
    /// Concentrator: nothing was heard for so long that the session is over.
    case silence
    /// The keys were not renewed in time.
    case keyDeath
    /// Probes, silence and sizes of the paths.
    case paths
    /// Signals without an echo go again.
    case signals
    /// Proxy: what moved may ask for another mode (`UseWatch`).
    case use
    /// Paths that nobody wants any more are looked at.
    case spare
    /// Resets that were not confirmed go again.
    case resets
    /// What time does to datagrams' flows.
    case datagrams
    /// The keys before the present ones open nothing any more.
    case previousKeys
    /// Message 1 of a rekey goes again.
    case rekey
    /// Proxy: no path works, and the concentrator is silent. A handshake may help.
    case handshake
    /// Concentrator: another process follows, which is said again, and the session may be over.
    case departure

    static let all = Array(allCases)

    /// Without keys there is nothing to do but to wait for new ones.
    var needsKeys: Bool { self != .silence && self != .departure }

    /// Something that stays due is looked at again after this.
    fileprivate var pause: Interval {
        self == .handshake ? .milliseconds(100) : .microseconds(50)
    }
}

extension Session {
    /// When a timer is due; `.distantFuture` where it is not set.
    func deadline(of timer: SessionTimer, at now: Instant) -> Instant {
        switch timer {
        case .silence: return isInitiator ? .distantFuture : activity.lastArrival + maximumSilence
        case .keyDeath: return keys.current.since + host.configuration.keyDeath
        case .paths:
            var due = Instant.distantFuture
            for case let path? in paths { due = min(due, pathDeadline(path, at: now)) }
            return due
        case .signals: return signals.dueAt
        case .use: return use.dueAt
        case .spare: return selection.spareAt
        case .resets: return directory.resets.deadline
        case .datagrams: return datagrams.deadline
        case .previousKeys: return keys.previousUntil
        case .rekey: return keys.rekey?.again.at ?? .distantFuture
        case .handshake:
            if isInitiator, let due = departureHandshake() { return due }
            guard isInitiator, !hasUsablePath, !streams.isEmpty, !host.proxy.isHandshaking else {
                return .distantFuture
            }
            return activity.lastArrival + Limits.handshakeAfterSilence
        case .departure: return departureDeadline()
        }
    }

    /// What a timer that is due does; what the endpoint is to do about it.
    private func fire(_ timer: SessionTimer, at now: Instant) -> SessionDemand {
        switch timer {
        case .silence: return .isOver(reason: "silent")
        case .keyDeath:
            dropKeys(at: now)
            if isInitiator { return .needsHandshake }
        case .paths: for case let path? in paths { advance(path, to: now) }
        case .signals: repeatSignals(at: now)
        case .use: lookAtUse(at: now)
        case .spare: watchSpare(at: now)
        case .resets: repeatResets(at: now)
        case .datagrams: requestDatagramTurn()
        case .previousKeys: keys.expirePrevious(at: now)
        case .rekey: repeatRekey(at: now)
        case .handshake: return .needsHandshake
        case .departure:
            if departureIsDue(at: now) { return .isOver(reason: SessionEnd.left) }
        }
        return .none
    }

    /// Does what is due, and sets the next deadline unless the endpoint is to do something first.
    func advance(to now: Instant) -> SessionDemand {
        for timer in SessionTimer.all {
            if timer.needsKeys, hasExpiredKeys { continue }
            guard deadline(of: timer, at: now) <= now else { continue }
            let demand = fire(timer, at: now)
            if case .none = demand { continue }
            return demand
        }
        schedule(at: now)
        return .none
    }

    /// Makes sure that `advance` comes by `due`.
    @inline(__always) func arm(_ due: Instant) {
        guard due < turn.scheduled else { return }
        turn.scheduled = due
        host.deadlines.set(slot, due)
    }

    /// The session's next deadline from all its timers.
    func schedule(at now: Instant) {
        guard !isClosing else { return }
        var due = Instant.distantFuture
        for timer in SessionTimer.all where !timer.needsKeys || !hasExpiredKeys {
            due = min(due, max(deadline(of: timer, at: now), now + timer.pause))
        }
        arm(due)
    }

    /// How long the concentrator keeps the session when nothing is heard of it.
    private var maximumSilence: Interval {
        let usual = host.configuration.sessionSilence
        return handshakes.hasFollower ? min(usual, Limits.followedSilence) : usual
    }
}

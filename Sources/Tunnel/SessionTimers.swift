import Measures
import Multipath

/// What a session waits for, in the order in which it is done. A new timer is a new case: the
/// compiler then asks what happens when it is due (`Session.fire`), and whether it follows from
/// other state (`Session.derived`, and `Session.timersChanged` where that state changes) or is set
/// (`Session.set`).
enum SessionTimer: Int, CaseIterable {
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
    /// Proxy: no path works, and the concentrator is silent, or the paths it is heard on carry no
    /// data. A handshake may help.
    case handshake
    /// Concentrator: another process follows, which is said again, and the session may be over.
    case goAway

    static let all = Array(allCases)

    /// Without keys there is nothing to do but to wait for new ones.
    var needsKeys: Bool {
        switch self {
        case .silence, .goAway: false
        case .keyDeath, .paths, .signals, .use, .spare, .resets, .datagrams, .previousKeys, .rekey,
            .handshake:
            true
        }
    }

    /// Something that stays due is looked at again after this.
    fileprivate var pause: Interval {
        switch self {
        case .handshake: .milliseconds(100)
        case .silence, .keyDeath, .paths, .signals, .use, .spare, .resets, .datagrams,
            .previousKeys, .rekey, .goAway:
            .microseconds(50)
        }
    }
}

/// The timers of a session, and when its endpoint looks at them. Changed by `Session.set` and the
/// like alone, which tell the endpoint.
struct SessionTimers {
    fileprivate var table = TimerTable<SessionTimer>()
    /// What the endpoint was told: only what is due sooner costs anything.
    fileprivate var callAt = Instant.distantFuture
    /// What some of them follow from has changed since they were last looked at.
    fileprivate var isStale = false

    func isSet(_ timer: SessionTimer) -> Bool { table.isSet(timer) }

    /// The session has another place at the endpoint, which knows of no deadline there.
    mutating func forgetCall() { callAt = .distantFuture }
}

extension Session {
    // MARK: Setting

    /// Sets a timer; the endpoint comes by then.
    @inline(__always) func set(_ timer: SessionTimer, to due: Instant) {
        timers.table[timer] = due
        call(by: due)
    }

    /// Sets a timer that is not set, or to later than `due`.
    @inline(__always) func bringForward(_ timer: SessionTimer, to due: Instant) {
        timers.table.bringForward(timer, to: due)
        call(by: due)
    }

    func clear(_ timer: SessionTimer) { timers.table.clear(timer) }

    @inline(__always) private func call(by due: Instant) {
        guard due < timers.callAt else { return }
        timers.callAt = due
        host.deadlines.set(slot, due)
    }

    // MARK: What follows from other state

    /// When a timer is due that follows from what the session is and has; nil for one that is set.
    private func derived(_ timer: SessionTimer, at now: Instant) -> Instant? {
        switch timer {
        case .keyDeath, .signals, .use, .spare, .resets, .previousKeys, .rekey: return nil
        case .silence: return isInitiator ? .distantFuture : activity.lastArrival + maximumSilence
        case .paths:
            var due = Instant.distantFuture
            for case let path? in paths { due = min(due, pathDeadline(path, at: now)) }
            return due
        case .datagrams: return datagrams.deadline
        case .handshake:
            if isInitiator, let due = goAwayHandshake() { return due }
            guard isInitiator, !hasUsablePath, !streams.isEmpty, !host.proxy.isHandshaking else {
                return .distantFuture
            }
            return min(
                activity.lastArrival + Limits.handshakeAfterSilence,
                (handshakes.pathlessSince ?? now) + handshakes.pathlessWait)
        case .goAway: return goAwayDeadline()
        }
    }

    private func derive(at now: Instant) {
        if hasUsablePath {
            handshakes.pathlessSince = nil
            if hasConfirmedPath { handshakes.pathless.reset() }
        } else if handshakes.pathlessSince == nil {
            handshakes.pathlessSince = now
        }
        for timer in SessionTimer.all {
            if let due = derived(timer, at: now) { timers.table[timer] = due }
        }
    }

    /// What some timers follow from has changed. Called by what holds it, where it changes; the
    /// endpoint looks at them before its turn ends.
    @inline(__always) func timersChanged() {
        if timers.isStale { return }
        timers.isStale = true
        host.work.sessionsWithTimers.append(self)
    }

    /// Looks at all of them, where something has changed.
    func refreshTimers(at now: Instant) {
        guard timers.isStale else { return }
        timers.isStale = false
        lookAtTimers(at: now)
    }

    private func lookAtTimers(at now: Instant) {
        guard !isClosing else { return }
        derive(at: now)
        var due = Instant.distantFuture
        for timer in SessionTimer.all where mayFire(timer) {
            due = min(due, max(timers.table[timer], now + timer.pause))
        }
        call(by: due)
    }

    // MARK: Time

    private func mayFire(_ timer: SessionTimer) -> Bool { !timer.needsKeys || !hasExpiredKeys }

    /// Does what is due, each timer once; what the endpoint is to do about it, in order.
    func advance(to now: Instant) -> [SessionDemand] {
        timers.callAt = .distantFuture
        derive(at: now)
        var demands: [SessionDemand] = [], last: SessionTimer?
        while let timer = timers.table.takeDue(at: now, after: last, where: { mayFire($0) }) {
            last = timer
            guard let demand = fire(timer, at: now) else { continue }
            demands.append(demand)
            if demand.comesFirst { timersChanged(); return demands }
        }
        lookAtTimers(at: now)
        return demands
    }

    /// What a timer that is due does; what the endpoint is to do about it.
    private func fire(_ timer: SessionTimer, at now: Instant) -> SessionDemand? {
        switch timer {
        case .silence: return .isOver(.silent)
        case .keyDeath:
            dropKeys(at: now)
            if isInitiator { return .needsHandshake }
        case .paths: for case let path? in paths { advance(path, to: now) }
        case .signals: repeatSignals(at: now)
        case .use: return lookAtUse(at: now).map { SessionDemand.modeFollows($0) }
        case .spare: watchSpare(at: now)
        case .resets: repeatResets(at: now)
        case .datagrams: requestDatagramTurn()
        case .previousKeys: keys.expirePrevious(at: now)
        case .rekey: repeatRekey(at: now)
        case .handshake: return .needsHandshake
        case .goAway:
            if goAwayIsDue(at: now) { return .isOver(.left) }
        }
        return nil
    }

    /// How long the concentrator keeps the session when nothing is heard of it.
    private var maximumSilence: Interval {
        let usual = host.configuration.sessionSilence
        return handshakes.hasFollower ? min(usual, Limits.followedSilence) : usual
    }
}

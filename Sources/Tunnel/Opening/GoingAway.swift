import Measures
import Wire

/// What becomes of a session whose concentrator another process follows: new ones begin there, and
/// this one goes on to the end of its connections.
enum GoingAway {
    case no
    /// Concentrator: said since then, and again until the proxy answers. Proxy: it was heard, and
    /// another session is being asked for; this one serves until it is there.
    case announced(since: Instant, again: Repeater)
    /// The proxy has another session, and opens nothing more in this one. `lookAt`: at the proxy,
    /// when it is to be seen whether its process is still there, where nothing comes from it.
    case replaced(lookAt: Instant)
}

extension Endpoint {
    /// Concentrator: another process takes the sessions that begin from now on. The living ones go
    /// on, and their proxies are told to begin others there. `limit`: how long this process serves
    /// at most. Over again, the limit is another one.
    public func goAway(within limit: Interval, at now: Instant) {
        host.goesAwayBy = now + limit
        for case let session? in sessions where !session.isClosing {
            session.announceGoAway(at: now)
        }
    }

    /// The other process is gone: sessions begin here again. Those that were told to go have gone.
    public func cancelGoAway() { host.goesAwayBy = nil }

    /// Sessions that live, and handshakes that may become some.
    public var livingSessions: Int {
        sessions.reduce(0) { $1 == nil ? $0 : $0 + 1 }
            + (listener?.pending.all { !$0.resumes }.count ?? 0)
    }

    /// Proxy: another session is there; `old` goes on with what it has.
    func leave(_ old: Session, at now: Instant) {
        old.stopWatchingUse()
        old.goingAway = .replaced(lookAt: .zero)
        old.answerGoAway()
        let left = sessions.compactMap { $0 }.filter(\.isReplaced)
        guard left.count > Limits.replacedSessions,
            let oldest = left.min(by: { $0.openedAt < $1.openedAt })
        else { return }
        oldest.sendClose(.replaced, at: now)
        end(oldest, .left, at: now)
    }

    /// Proxy: nothing comes any more in a session that another one has replaced. Its process has
    /// ended without a word where that of the other one answers; else the uplinks are silent.
    func checkReplaced(_ session: Session, at now: Instant) {
        let silence = session.activity.lastArrival + Limits.handshakeAfterSilence
        if session.hasExpiredKeys
            || currentSession.map({ $0.activity.lastArrival >= silence }) == true
        {
            return end(session, .left, at: now)
        }
        session.goingAway = .replaced(lookAt: now + Limits.replacedLook)
        currentSession?.probeUsablePaths(at: now)
    }
}

extension Session {
    var isReplaced: Bool { if case .replaced = goingAway { true } else { false } }
    /// New connections and handshakes belong elsewhere.
    var isGoingAway: Bool { if case .no = goingAway { false } else { true } }

    func announceGoAway(at now: Instant) {
        guard !isInitiator, case .no = goingAway else { return }
        goingAway = .announced(since: now, again: Repeater())
        repeatGoAway(at: now)
    }

    private func repeatGoAway(at now: Instant) {
        guard case .announced(let since, var again) = goingAway else { return }
        let left = host.goesAwayBy.map { max($0 - now, .zero).nanoseconds / 1_000_000_000 }
        let frame = GoAwayFrame.announcement(seconds: UInt16(clamping: left ?? .max))
        say(frame)
        again.sent(at: now, first: Limits.firstGoAway, maximum: Limits.maximumSignalInterval)
        goingAway = .announced(since: since, again: again)
    }

    func answerGoAway() { say(.answer) }

    /// On every path that works, since one may be about to be lost.
    private func say(_ frame: GoAwayFrame) {
        for case let path? in paths where path.health == .usable {
            if let out = append(frame.size, to: path) { frame.write(into: out) }
        }
    }

    func receive(_ frame: GoAwayFrame, at now: Instant) {
        switch (frame, goingAway) {
        case (.announcement(let seconds), .no) where isInitiator:
            // Handshakes don't follow one another without a pause, whatever the other end says.
            guard now - openedAt >= Limits.minimumGoAwayAge else { return }
            goingAway = .announced(since: now, again: Repeater())
            host.emit(
                .sessionGoesAway(session: slot, within: .seconds(Int64(seconds))))
        case (.announcement, .replaced) where isInitiator: answerGoAway()
        case (.answer, .announced) where !isInitiator:
            goingAway = .replaced(lookAt: .distantFuture)
        default: break
        }
    }

    // MARK: Timers

    /// Concentrator: when the go-away is said again, or the session ends since nothing is in it
    /// any more.
    func goAwayDeadline() -> Instant {
        guard case .announced(_, let again) = goingAway else { return goAwayEnd }
        return isInitiator ? .distantFuture : min(again.at, goAwayEnd)
    }

    /// Concentrator: when the session is over; `.distantFuture` where it goes on.
    private var goAwayEnd: Instant {
        guard !isInitiator, streams.isEmpty else { return .distantFuture }
        return switch goingAway {
        case .no: .distantFuture
        case .announced(let since, _): max(since + Limits.unansweredGoAway, endOfUse)
        case .replaced: endOfUse
        }
    }

    /// The proxy may still repeat what its last connections ended with.
    private var endOfUse: Instant { activity.lastArrival + Limits.replacedLook }

    /// Whether the session is over.
    func goAwayIsDue(at now: Instant) -> Bool {
        guard goAwayEnd <= now else {
            if case .announced(_, let again) = goingAway, again.at <= now {
                repeatGoAway(at: now)
            }
            return false
        }
        if !hasExpiredKeys { sendClose(.moved, at: now) }
        return true
    }

    /// Proxy: when a handshake is to be begun for another session, or the process looked after.
    func goAwayHandshake() -> Instant? {
        switch goingAway {
        case .no: return nil
        case .announced: return host.proxy.isHandshaking ? .distantFuture : .zero
        case .replaced(let lookAt):
            guard !hasUsablePath || hasExpiredKeys else { return .distantFuture }
            return max(lookAt, activity.lastArrival + Limits.handshakeAfterSilence)
        }
    }
}

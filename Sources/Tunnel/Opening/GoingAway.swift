import Measures
import Wire

/// What becomes of a session whose concentrator another process follows: new ones begin there, and
/// this one goes on to the end of its connections.
///
/// Its inputs are what is wanted, heard and due; each returns what is to be done, which the session
/// does.
enum GoingAway {
    case no
    /// Concentrator: said since then, and again until the proxy answers. Proxy: it was heard, and
    /// another session is being asked for; this one serves until it is there.
    case announced(since: Instant, again: Repeater)
    /// The proxy has another session, and opens nothing more in this one. `lookAt`: at the proxy,
    /// when it is to be seen whether its process is still there, where nothing comes from it.
    case replaced(lookAt: Instant)

    // MARK: Concentrator

    /// Another process follows. True where that is to be said: it was not yet.
    mutating func announce(at now: Instant) -> Bool {
        guard case .no = self else { return false }
        self = .announced(since: now, again: Repeater())
        return true
    }

    /// It was said, and is to be said again unless an answer comes before.
    mutating func said(at now: Instant) {
        guard case .announced(let since, var again) = self else { return }
        again.sent(at: now, first: Limits.firstGoAway, maximum: Limits.maximumSignalInterval)
        self = .announced(since: since, again: again)
    }

    /// The proxy has heard it, and has another session.
    mutating func answered() {
        if case .announced = self { self = .replaced(lookAt: .distantFuture) }
    }

    /// How a concentrator's session is used.
    struct Use {
        /// It has no connections.
        var isEmpty: Bool
        var lastArrival: Instant
    }

    /// When it is said again, or the session is over since nothing is in it any more.
    func deadline(_ use: Use) -> Instant {
        guard case .announced(_, let again) = self else { return end(use) }
        return min(again.at, end(use))
    }

    /// When the session is over; `.distantFuture` where it goes on. The proxy may still repeat what
    /// its last connections ended with.
    private func end(_ use: Use) -> Instant {
        guard use.isEmpty else { return .distantFuture }
        let endOfUse = use.lastArrival + Limits.replacedLook
        return switch self {
        case .no: .distantFuture
        case .announced(let since, _): max(since + Limits.unansweredGoAway, endOfUse)
        case .replaced: endOfUse
        }
    }

    /// What time has brought about.
    enum Due { case nothing, sayAgain, isOver }

    func due(_ use: Use, at now: Instant) -> Due {
        if end(use) <= now { return .isOver }
        if case .announced(_, let again) = self, again.at <= now { return .sayAgain }
        return .nothing
    }

    // MARK: Proxy

    /// What an announcement calls for.
    enum Response {
        case nothing
        /// The owner of the endpoint is to hear of it.
        case report
        /// It was known, and the answer lost.
        case answer
    }

    /// The concentrator says that it goes; `age`: how old the session is. Handshakes don't follow
    /// one another without a pause, whatever the other end says.
    mutating func heard(age: Interval, at now: Instant) -> Response {
        switch self {
        case .no:
            guard age >= Limits.minimumGoAwayAge else { return .nothing }
            self = .announced(since: now, again: Repeater())
            return .report
        case .announced: return .nothing
        case .replaced: return .answer
        }
    }

    /// When a handshake is to be begun for another session, or the process looked after; nil where
    /// that does not depend on this. `isSilent`: no path works, or its keys are gone.
    func handshakeDeadline(
        isHandshaking: Bool, isSilent: Bool, lastArrival: Instant
    ) -> Instant? {
        switch self {
        case .no: nil
        case .announced: isHandshaking ? .distantFuture : .zero
        case .replaced(let lookAt):
            isSilent ? max(lookAt, lastArrival + Limits.handshakeAfterSilence) : .distantFuture
        }
    }
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
        if !isInitiator, goingAway.announce(at: now) { repeatGoAway(at: now) }
    }

    private func repeatGoAway(at now: Instant) {
        let left = host.goesAwayBy.map { max($0 - now, .zero).nanoseconds / 1_000_000_000 }
        say(GoAwayFrame.announcement(seconds: UInt16(clamping: left ?? .max)))
        goingAway.said(at: now)
    }

    func answerGoAway() { say(.answer) }

    /// On every path that works, since one may be about to be lost.
    private func say(_ frame: GoAwayFrame) {
        for case let path? in paths where path.health == .usable {
            if let out = append(frame.size, to: path) { frame.write(into: out) }
        }
    }

    func receive(_ frame: GoAwayFrame, at now: Instant) {
        switch frame {
        case .announcement(let seconds):
            guard isInitiator else { return }
            switch goingAway.heard(age: now - openedAt, at: now) {
            case .nothing: break
            case .report:
                host.emit(.sessionGoesAway(session: slot, within: .seconds(Int64(seconds))))
            case .answer: answerGoAway()
            }
        case .answer: if !isInitiator { goingAway.answered() }
        }
    }

    // MARK: Timers

    private var goAwayUse: GoingAway.Use {
        GoingAway.Use(isEmpty: streams.isEmpty, lastArrival: activity.lastArrival)
    }

    /// Concentrator: when `goAwayIsDue` has something; `.distantFuture` at the proxy.
    func goAwayDeadline() -> Instant {
        isInitiator ? .distantFuture : goingAway.deadline(goAwayUse)
    }

    /// Concentrator: says again what was not answered; whether the session is over.
    func goAwayIsDue(at now: Instant) -> Bool {
        if isInitiator { return false }
        switch goingAway.due(goAwayUse, at: now) {
        case .nothing: return false
        case .sayAgain: repeatGoAway(at: now); return false
        case .isOver:
            if !hasExpiredKeys { sendClose(.moved, at: now) }
            return true
        }
    }

    /// Proxy: when a handshake is to be begun for another session, or the process looked after.
    func goAwayHandshake() -> Instant? {
        goingAway.handshakeDeadline(
            isHandshaking: host.proxy.isHandshaking, isSilent: !hasUsablePath || hasExpiredKeys,
            lastArrival: activity.lastArrival)
    }
}

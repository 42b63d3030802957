import Measures
import Multipath
import Wire

/// What of a concentrator one user is kept from taking for himself.
public enum UserLimit: Int, CaseIterable, Sendable {
    /// Connections whose target has not arrived.
    case halfOpen
    /// Connections.
    case connections
    /// Sessions: the one that was silent for longest is replaced.
    case sessions
    /// Bytes of memory.
    case memory

    /// What the metrics call it.
    public var label: String {
        switch self {
        case .halfOpen: "half_open"
        case .connections: "connections"
        case .sessions: "sessions"
        case .memory: "memory"
        }
    }
}

/// What a user has open at present.
struct UserLoad {
    /// In the tables, those that wind up after their end included.
    var streams = 0
    /// Of these, those that their owner has let go.
    var released = 0
    /// Without their whole target yet.
    var halfOpen = 0
    /// When a limit was last told of, by `UserLimit.rawValue`.
    private var saidAt = [Instant?](repeating: nil, count: UserLimit.allCases.count)

    var open: Int { streams - released }

    /// Whether it is time to tell of it (again).
    mutating func mayTell(of limit: UserLimit, at now: Instant) -> Bool {
        if let last = saidAt[limit.rawValue], now - last < Limits.limitSilence { return false }
        saidAt[limit.rawValue] = now
        return true
    }
}

/// What the limits of users turned away, by `UserLimit.rawValue`.
struct LimitCounters {
    private(set) var counts = [Int](repeating: 0, count: UserLimit.allCases.count)
    mutating func note(_ limit: UserLimit) { counts[limit.rawValue] += 1 }
}

extension Endpoint {
    /// Concentrator: what keeps the user from one more connection; nil where nothing does.
    ///
    /// Connections that wind up after their end count on their own: an application that opens and
    /// closes many is not kept from the next one, and what it leaves behind is bounded all the
    /// same.
    /// `isHalfOpen`: its first segment does not hold the whole target.
    func limitReached(by user: Int, isHalfOpen: Bool) -> UserLimit? {
        let load = users[user].load
        if isHalfOpen, load.halfOpen >= configuration.mostHalfOpenPerUser { return .halfOpen }
        if load.open >= configuration.mostConnectionsPerUser { return .connections }
        if load.released >= configuration.mostConnectionsPerUser + Limits.leastWindingUp {
            return .connections
        }
        if users[user].memory.free < Connection.memoryCost { return .memory }
        return nil
    }

    func turnedAway(by limit: UserLimit, user: Int, at now: Instant) {
        turnedAway.note(limit)
        if users[user].load.mayTell(of: limit, at: now) {
            say(.limited(user: users[user].user.name, limit))
        }
    }

    // MARK: Streams

    /// A connection of the user's came into the tables.
    func countOpening(_ stream: StreamHandle, user: Int, at now: Instant) {
        stream.user = user
        stream.prefaceUntil = now + Limits.longestPreface
        users[user].load.streams += 1
        users[user].load.halfOpen += 1
    }

    /// Its target is there, or it ended before.
    func countTarget(_ stream: StreamHandle) {
        guard stream.prefaceUntil != .distantFuture, stream.user >= 0 else { return }
        stream.prefaceUntil = .distantFuture
        users[stream.user].load.halfOpen -= 1
    }

    func countRelease(_ stream: StreamHandle) {
        if stream.user >= 0, stream.slot >= 0 { users[stream.user].load.released += 1 }
    }

    /// It leaves the tables.
    func countEnd(_ stream: StreamHandle) {
        guard stream.user >= 0 else { return }
        countTarget(stream)
        if stream.isReleased { users[stream.user].load.released -= 1 }
        users[stream.user].load.streams -= 1
        stream.user = -1
    }

    /// A peer that opens a connection and does not say whither in time.
    func giveUpHalfOpen(_ stream: StreamHandle, at now: Instant) {
        guard stream.prefaceUntil <= now else { return }
        countTarget(stream)
        stream.connection.abort(at: now)
    }

    // MARK: Sessions

    /// A further session of the user's counts from now on: those silent for longest make room for
    /// it.
    func makeRoom(for session: Session, at now: Instant) {
        let user = session.userNumber
        var own = users[user].sessions.compactMap { sessions[$0] }
        while own.count >= configuration.mostSessionsPerUser {
            var oldest = 0
            for i in own.indices where own[i].lastArrival < own[oldest].lastArrival { oldest = i }
            let replaced = own.remove(at: oldest)
            sayClosed(replaced, .replaced, at: now)
            end(
                replaced, reason: "the user has \(configuration.mostSessionsPerUser) newer ones",
                at: now)
            turnedAway(by: .sessions, user: user, at: now)
        }
    }

    /// The last word of a session that this end closes.
    func sayClosed(_ session: Session, _ reason: CloseFrame.Reason, at now: Instant) {
        for case let path? in session.paths where path.isOpen {
            path.smallCount = 0
            if let out = path.append(CloseFrame.size) {
                CloseFrame(reason: reason).write(into: out)
            }
        }
        flushClosing(session, at: now)
    }
}

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
    /// Flows of datagrams.
    case flows

    /// What the metrics call it.
    public var label: String {
        switch self {
        case .halfOpen: "half_open"
        case .connections: "connections"
        case .sessions: "sessions"
        case .memory: "memory"
        case .flows: "flows"
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
    private var reportedAt = [Instant?](repeating: nil, count: UserLimit.allCases.count)

    var open: Int { streams - released }

    /// Whether it is time to tell of it (again).
    mutating func mayTell(of limit: UserLimit, at now: Instant) -> Bool {
        if let last = reportedAt[limit.rawValue], now - last < Limits.limitSilence { return false }
        reportedAt[limit.rawValue] = now
        return true
    }
}

/// Whether several sessions are served at present.
struct SessionMix {
    private var last: SessionSlot?
    private var mixedAt: Instant?

    /// A record of the session's has arrived.
    @inline(__always) mutating func note(_ slot: SessionSlot, at now: Instant) {
        guard slot != last else { return }
        if last != nil { mixedAt = now }
        last = slot
    }

    /// Records of different sessions came one after the other lately.
    func isMixed(at now: Instant) -> Bool {
        guard let mixedAt else { return false }
        return now - mixedAt < Limits.mixedTime
    }
}

/// What the limits of users turned away, by `UserLimit.rawValue`.
struct LimitCounters {
    private(set) var counts = [Int](repeating: 0, count: UserLimit.allCases.count)
    mutating func note(_ limit: UserLimit) { counts[limit.rawValue] += 1 }
}

extension UserState {
    /// What keeps the user from one more connection; nil where nothing does.
    ///
    /// Connections that wind up after their end count on their own: an application that opens and
    /// closes many is not kept from the next one, and what it leaves behind is bounded all the
    /// same.
    /// `isHalfOpen`: its first segment does not hold the whole target.
    func limitReached(
        isHalfOpen: Bool, _ configuration: borrowing EndpointConfiguration
    ) -> UserLimit? {
        if isHalfOpen, load.halfOpen >= configuration.maximumHalfOpenPerUser { return .halfOpen }
        if load.open >= configuration.maximumConnectionsPerUser { return .connections }
        if load.released >= configuration.maximumConnectionsPerUser + Limits.minimumWindingUp {
            return .connections
        }
        if memory.free < Connection.memoryCost { return .memory }
        return nil
    }
}

extension SessionHost {
    /// A limit of the user's turned something away: counted, and told now and then.
    func turnedAway(by limit: UserLimit, _ user: UserState, at now: Instant) {
        turnedAway.note(limit)
        if user.load.mayTell(of: limit, at: now) {
            emit(.limited(user: user.name, limit))
        }
    }
}

extension StreamHandle {
    /// A connection of the user's came into the tables.
    func countOpening(of user: UserState, at now: Instant) {
        account = user
        timers[.preface] = now + Limits.prefaceTimeout
        user.load.streams += 1
        user.load.halfOpen += 1
    }

    /// Its target is there, or it ended before.
    func countTarget() {
        guard timers.isSet(.preface), let account else { return }
        timers.clear(.preface)
        account.load.halfOpen -= 1
    }

    func countRelease() {
        if slot != nil { account?.load.released += 1 }
    }

    /// It leaves the tables.
    func countEnd() {
        guard let account else { return }
        countTarget()
        if progress.isReleased { account.load.released -= 1 }
        account.load.streams -= 1
        self.account = nil
    }
}

extension Endpoint {
    /// A further session of the user's counts from now on: those silent for longest make room for
    /// it.
    func makeRoom(for session: Session, at now: Instant) {
        guard let user = session.user else { return }
        var own = user.sessions.compactMap { sessions[$0] }
        while own.count >= host.configuration.maximumSessionsPerUser {
            var oldest = 0
            for i in own.indices
            where own[i].activity.lastArrival < own[oldest].activity.lastArrival { oldest = i }
            let replaced = own.remove(at: oldest)
            replaced.sendClose(.replaced, at: now)
            end(
                replaced, .oldest(newer: host.configuration.maximumSessionsPerUser), at: now)
            host.turnedAway(by: .sessions, user, at: now)
        }
    }
}

extension Session {
    /// A peer that opens a connection and does not say whither in time.
    func giveUpHalfOpen(_ stream: StreamHandle, at now: Instant) {
        guard stream.timers[.preface] <= now else { return }
        stream.countTarget()
        stream.connection.abort(at: now)
    }
}

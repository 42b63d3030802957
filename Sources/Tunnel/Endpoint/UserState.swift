import Buffers
import Crypto
import Measures
import Wire

/// The users of a concentrator.
struct UserTable: RandomAccessCollection {
    private var users: [UserState] = []
    /// Looked up by key, never iterated.
    private var byKey: [Key32: UserState] = [:]
    /// Numbers that were given to users who are gone.
    private var freeNumbers: [Int] = []

    var startIndex: Int { 0 }
    var endIndex: Int { users.count }
    subscript(place: Int) -> UserState { users[place] }
    subscript(key: Key32) -> UserState? { byKey[key] }

    /// A key that is there already is left as it is.
    mutating func add(
        _ user: EndpointConfiguration.User, memory: MemoryShare, flows: SharedLimit,
        wallClock: UInt64
    ) {
        guard byKey[user.publicKey] == nil else { return }
        let state = UserState(
            user, number: freeNumbers.popLast() ?? users.count, memory: memory, flows: flows,
            wallClock: wallClock)
        byKey[user.publicKey] = state
        users.append(state)
    }

    /// Takes out those who are not in the list, or not as they stand there; returns them.
    mutating func removeAll(besides list: [EndpointConfiguration.User]) -> [UserState] {
        var wanted: [Key32: EndpointConfiguration.User] = [:]
        for user in list { wanted[user.publicKey] = user }
        let gone = users.filter { !$0.isSame(as: wanted[$0.peer.publicKey]) }
        guard !gone.isEmpty else { return [] }
        for user in gone {
            byKey[user.peer.publicKey] = nil
            freeNumbers.append(user.number)
        }
        users.removeAll { byKey[$0.peer.publicKey] == nil }
        return gone
    }
}

/// A user of the concentrator: what is known of its hellos, and what it may have.
final class UserState {
    let name: String
    let peer: SessionPeer
    /// By which turns are taken between users; of one who is gone it is given again.
    let number: Int
    /// The slots of its sessions that a record has confirmed, the oldest first.
    var sessions: [SessionSlot] = []
    var load = UserLoad()
    let memory: MemoryShare
    /// Flows of datagrams, over all sessions.
    let flows: SharedLimit
    /// What sessions that are over have moved.
    var past = PastUsage()

    /// The greatest time of a hello that was not far ahead of the clock, and whose it was: a
    /// replay's is not greater.
    private(set) var greatestStamp: UInt64
    private var greatestInstance: UInt64 = 0
    /// What a hello with another time has to hold: one at a time, the same for all who ask.
    private var challenge: (value: Bytes16, until: Instant)?

    var hellos = TokenBucket(rate: Limits.userHelloRate, burst: Limits.userHelloBurst)
    var challenges = TokenBucket(rate: Limits.challengeRate, burst: Limits.challengeBurst)
    /// Welcomes since the last that a record followed, and when the first of them left.
    private var unheeded = (count: 0, since: Instant.zero)
    /// When which trouble was reported last, by `HelloRefusal.number`.
    private var reportedAt: [Instant?] = Array(repeating: nil, count: HelloRefusal.count)

    /// `wallClock`: of the concentrator's beginning. What was sent long before is a replay, whoever
    /// sent it.
    init(
        _ user: EndpointConfiguration.User, number: Int, memory: MemoryShare, flows: SharedLimit,
        wallClock: UInt64
    ) {
        name = user.name
        peer = SessionPeer(
            publicKey: user.publicKey, preSharedKey: user.preSharedKey ?? .zero)
        self.number = number
        self.memory = memory
        self.flows = flows
        greatestStamp = wallClock > Limits.stampAge ? wallClock - Limits.stampAge : 0
    }

    func isSame(as user: EndpointConfiguration.User?) -> Bool {
        user?.name == name && (user?.preSharedKey ?? .zero) == peer.preSharedKey
    }

    /// Nil: the sender of this authentic hello is here and now. A time that is far ahead does not
    /// become the greatest, or nobody with the right one could ever follow.
    func judge(_ hello: HelloPayload, wallClock: UInt64, at now: Instant) -> HelloRefusal? {
        let isFar = hello.timestamp > wallClock &+ Limits.stampLead
        let isNewer = hello.timestamp > greatestStamp
        if let challenge, now < challenge.until, hello.challenge == challenge.value {
            self.challenge = nil
        } else if isFar {
            return .ahead(by: Self.interval(hello.timestamp, wallClock))
        } else if !isNewer {
            let lag = Self.interval(greatestStamp, hello.timestamp)
            return greatestInstance == hello.instance || greatestInstance == 0
                ? .old(by: lag) : .otherInstance(by: lag)
        }
        if isNewer, !isFar {
            greatestStamp = hello.timestamp
            greatestInstance = hello.instance
        }
        return nil
    }

    private static func interval(_ later: UInt64, _ earlier: UInt64) -> Interval {
        Interval(nanoseconds: Int64(clamping: later - min(earlier, later)))
    }

    /// The challenge that waits for its hello, or a new one.
    func liveChallenge(at now: Instant, make: () -> Bytes16) -> Bytes16 {
        if let challenge, now < challenge.until { return challenge.value }
        let value = make()
        challenge = (value, now + Limits.challengeLifetime)
        return value
    }

    /// One more was answered; whether so many were, for so long, that somebody should know.
    func noteWelcome(at now: Instant) -> Bool {
        if unheeded.count == 0 { unheeded.since = now }
        unheeded.count += 1
        return unheeded.count >= Limits.unheededWelcomes
            && now - unheeded.since >= Limits.unheededTime
    }

    /// A welcome was read: a record came with its keys.
    func noteRecord() { unheeded.count = 0 }

    /// Whether to tell it: at once, then seldom.
    func isNews(_ refusal: HelloRefusal, at now: Instant) -> Bool {
        if let last = reportedAt[refusal.number], now - last < Limits.refusalSilence {
            return false
        }
        reportedAt[refusal.number] = now
        return true
    }
}

extension HelloRefusal {
    static let count = 6
    var number: Int {
        switch self {
        case .old: 0
        case .ahead: 1
        case .otherInstance: 2
        case .tooMany: 3
        case .noSession: 4
        case .unheeded: 5
        }
    }
}

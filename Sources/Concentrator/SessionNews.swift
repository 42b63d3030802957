import Measures
import Shell
import Tunnel

/// How much of what happens to sessions and paths is logged: of each user so many records in a span
/// of time.
///
/// A path's state is its proxy's to say, 200 times in a datagram; 100 of those wrote 1.1 MB of log.
/// Counted by user, so that nobody hides what is said of others.
struct SessionNews {
    /// Records of one user, and the span in which they may come: a drive through many cells has
    /// fewer.
    static let maximum = 60
    static let span = Interval.seconds(60)

    private var users: [SessionSlot: String] = [:]
    private var limits: [String: NoticeLimit] = [:]

    /// Notes whose session it is; before anything else is asked about it.
    mutating func opened(_ session: SessionSlot, of user: String) { users[session] = user }
    mutating func closed(_ session: SessionSlot) { users[session] = nil }

    /// These are all the users there are: of others nothing is remembered.
    mutating func keep(_ users: Set<String>) { limits = limits.filter { users.contains($0.key) } }

    /// Nil: keep quiet. Otherwise speak, and mention this many records that were not spoken of.
    mutating func pass(_ session: SessionSlot, at now: Instant) -> Int? {
        guard let user = users[session] else { return 0 }
        return limits[user, default: NoticeLimit(Self.maximum, in: Self.span)].pass(at: now)
    }
}

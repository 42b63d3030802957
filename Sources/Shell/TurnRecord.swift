import Measures

/// What one turn of the loop did and how long each part took: from the first handler after the wait
/// to the last hook. A turn that is too long keeps everybody waiting, so it must be told what it
/// was.
public struct TurnRecord: Sendable {
    /// What a turn's time goes to.
    public enum Part: String, Sendable { case socket, timer, signal, engine }

    /// Handlers that ran.
    public private(set) var sockets = 0, timers = 0, signals = 0
    /// Datagrams that came in, and among them those of handshakes; those that were sent.
    public var datagrams = 0, handshakes = 0, datagramsSent = 0
    /// The part that took longest.
    public private(set) var longest = (part: Part.engine, time: Interval.zero)
    private var began: Instant?
    private var reached = Instant.zero

    public init() {}

    /// When the last part had ended.
    var ended: Instant { reached }
    /// All parts together; zero where nothing ran.
    public var duration: Interval { began.map { reached - $0 } ?? .zero }
    /// Whether a part has begun in this turn, so that `reached` is when the last one ended.
    var hasBegun: Bool { began != nil }

    mutating func begin(at now: Instant) {
        began = now
        reached = now
    }

    /// A part that began when the last one had ended is over.
    mutating func end(_ part: Part, at now: Instant) {
        let time = now - reached
        reached = now
        if time > longest.time { longest = (part, time) }
        switch part {
        case .socket: sockets += 1
        case .timer: timers += 1
        case .signal: signals += 1
        case .engine: break
        }
    }
}

/// The longest turn of the present minute and of the one before: whoever asks once a minute misses
/// none.
struct LongestTurn {
    private static let span = Interval.seconds(60)
    private var present = Interval.zero, before = Interval.zero
    private var end = Instant.zero

    /// A turn that ended at `now`.
    @inline(__always) mutating func note(_ duration: Interval, at now: Instant) {
        if now >= end { begin(at: now) }
        if duration > present { present = duration }
    }

    private mutating func begin(at now: Instant) {
        before = now - end < Self.span ? present : .zero
        present = .zero
        end = now + Self.span
    }

    /// Of one to two minutes.
    func value(at now: Instant) -> Interval {
        if now - end >= Self.span { return .zero }
        return now >= end ? present : max(present, before)
    }
}

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

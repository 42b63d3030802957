import Measures

/// How somebody uses what an application asks for, one thing after the other.
public enum Pace: Hashable, Sendable {
    /// Each thing is waited for; then it is read for so long.
    case reading(Interval)
    /// Each is so much of a film, which plays as far as it is there; asked for while less than
    /// `ahead` is.
    case playing(segment: Interval, ahead: Interval)
}

/// What somebody in front of a screen waited.
public struct Waiting: Hashable, Sendable {
    /// How long in all.
    public var time = Interval.zero
    /// Times without a byte of what is waited for, longer than half a second each, and the longest.
    public var pauses = 0
    /// The longest of those pauses.
    public var longest = Interval.zero

    /// Shorter ones are not noticed as such.
    public static let minimumPause = Interval.milliseconds(500)

    /// Nothing yet.
    public init() {}

    mutating func note(pause: Interval) {
        longest = max(longest, pause)
        if pause > Self.minimumPause { pauses += 1 }
    }

    static func += (a: inout Waiting, b: Waiting) {
        a.time += b.time
        a.pauses += b.pauses
        a.longest = max(a.longest, b.longest)
    }
}

/// An application with somebody in front of it, who waits for what it asks for.
final class WaitingEnd: StreamEnd {
    private let pace: Pace
    private let responseSize: Int
    private let requestSize: Int
    private let count: Int
    /// So far.
    private(set) var waiting = Waiting()
    /// For each thing that was there, from asking to its end; of a film each time that it stood.
    private(set) var waits: [Interval] = []
    private var asked = 0
    private var answered = 0
    private var askedAt = Instant.zero
    private var resumesAt = Instant.zero
    private var turnedAt = Instant.zero
    /// When the last byte came, or was asked for.
    private var movedAt = Instant.zero
    private var seen = 0
    /// Where the film is: `played` at `playedAt`, and on from there as far as there is something.
    private var played = Interval.zero
    private var playedAt: Instant?

    init(
        outgoing: StreamPattern, incoming: StreamPattern, supply: Supply, expected: Int, pace: Pace
    ) {
        guard case .requests(let count, let size, let responseSize) = supply else {
            preconditionFailure("what is waited for is asked for")
        }
        self.pace = pace
        self.count = count
        self.responseSize = responseSize
        requestSize = size
        super.init(
            outgoing: outgoing, incoming: incoming, supply: supply, expected: expected,
            reader: .eager)
    }

    /// What was waited until `end`, also for what has not come.
    func waited(until end: Instant) -> Waiting {
        var all = waiting
        guard began != nil, answered < count, asked > answered, case .reading = pace else {
            return all
        }
        all.time += max(.zero, end - askedAt)
        all.note(pause: end - movedAt)
        return all
    }

    override func turn(_ connection: any ApplicationStream, at now: Instant) -> Bool {
        let didSomething = super.turn(connection, at: now)
        // Behind the last request nothing is produced any more, and its answer still counts.
        if began != nil { _ = produced(at: now) }
        return didSomething
    }

    override func produced(at now: Instant) -> Int {
        turnedAt = now
        let complete = read / responseSize
        switch pace {
        case .reading(let time): take(complete, reading: time, at: now)
        case .playing(let segment, let ahead): take(complete, segment, ahead, at: now)
        }
        return asked * requestSize
    }

    private func take(_ complete: Int, reading time: Interval, at now: Instant) {
        if read > seen {
            if asked > answered { waiting.note(pause: now - movedAt) }
            seen = read
            movedAt = now
        }
        if complete > answered {
            answered = complete
            waiting.time += now - askedAt
            waits.append(now - askedAt)
            resumesAt = now + time
        }
        if asked == answered, asked < count, now >= resumesAt {
            asked += 1
            askedAt = now
            movedAt = now
        }
    }

    private func take(
        _ complete: Int, _ segment: Interval, _ ahead: Interval, at now: Instant
    ) {
        if asked == 0 {
            asked = 1
            askedAt = now
        }
        let there = segment * Int64(answered)
        if complete > answered {
            answered = complete
            if let since = playedAt {
                let stalledAt = since + (there - played)
                if stalledAt < now {
                    waiting.time += now - stalledAt
                    waits.append(now - stalledAt)
                    waiting.note(pause: now - stalledAt)
                    played = there
                    playedAt = now
                }
            } else {
                waiting.time += now - askedAt
                waits.append(now - askedAt)
                waiting.note(pause: now - askedAt)
                playedAt = now
            }
        }
        if asked == answered, asked < count, now >= nextAsk(segment, ahead) { asked += 1 }
    }

    /// When so little is left to play that more is asked for.
    private func nextAsk(_ segment: Interval, _ ahead: Interval) -> Instant {
        guard let playedAt else { return .zero }
        return playedAt + (segment * Int64(answered) - played) - (ahead - segment)
    }

    override var deadline: Instant {
        guard !isFinished, failure == nil, began != nil, asked == answered, asked < count else {
            return .distantFuture
        }
        let due =
            switch pace {
            case .reading: resumesAt
            case .playing(let segment, let ahead): nextAsk(segment, ahead)
            }
        return due > turnedAt ? due : .distantFuture
    }
}

import Measures
import Shell

/// How little a client would be missed that has to make room for another: the least first.
struct Standing: Comparable {
    enum Stage: Int {
        /// Its dialogue is not over, or it has got its last answer.
        case undecided
        /// Nothing has come back for it yet, or it is between two requests.
        case unanswered
        case served
    }
    let stage: Stage
    /// When something moved last.
    let since: Instant

    static func < (a: Standing, b: Standing) -> Bool {
        (a.stage.rawValue, a.since) < (b.stage.rawValue, b.since)
    }
}

extension Pump {
    var standing: Standing {
        Standing(stage: bytesToSocket == 0 ? .unanswered : .served, since: movedAt)
    }
}

/// Whom a proxy that serves as many clients as it can closes for the next one: of the source that
/// has most of them who is missed least. So no application that opens connections without end, and
/// no host, keeps others out, and what carries something is not touched for it.
struct Displacement<Client: AnyObject> {
    /// A served client is not displaced before it was idle for so long.
    static var minimumIdleTime: Interval { .seconds(10) }
    /// Looking through all takes milliseconds where they are 20,000: those found serve many comers.
    /// Where nobody was found it is not tried again for a while.
    private static var maximumFound: Int { 256 }
    private static var part: Int { 16 }
    private static var pause: Interval { .milliseconds(100) }

    /// Found in the last look, with their standing at that time; the next one last.
    private var found: [(client: Client, standing: Standing)] = []
    private var pausedUntil = Instant.zero

    /// `all` names every client with its source; `standing` is nil for one that has left.
    mutating func next(
        of all: () -> [(client: Client, source: Source)], standing: (Client) -> Standing?,
        at now: Instant
    ) -> Client? {
        if let client = takeFound(standing) { return client }
        guard now >= pausedUntil else { return nil }
        look(through: all(), standing, at: now)
        guard let client = takeFound(standing) else {
            pausedUntil = now + Self.pause
            return nil
        }
        return client
    }

    /// Those that have moved since are left alone.
    private mutating func takeFound(_ standing: (Client) -> Standing?) -> Client? {
        while let last = found.popLast() {
            if standing(last.client) == last.standing { return last.client }
        }
        return nil
    }

    private mutating func look(
        through all: [(client: Client, source: Source)], _ standing: (Client) -> Standing?,
        at now: Instant
    ) {
        var counts: [Source: Int] = [:]
        for item in all { counts[item.source, default: 0] += 1 }
        guard let largest = counts.max(by: { $0.value < $1.value })?.key else { return }
        for item in all where item.source == largest {
            guard let standing = standing(item.client),
                standing.stage != .served || now - standing.since >= Self.minimumIdleTime
            else { continue }
            found.append((item.client, standing))
        }
        found.sort { $1.standing < $0.standing }
        // Of the largest source only a part: by then another one may be the largest.
        let kept = max(1, min(Self.maximumFound, all.count / Self.part))
        found.removeFirst(max(0, found.count - kept))
    }
}

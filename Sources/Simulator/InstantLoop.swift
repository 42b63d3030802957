import Measures

/// What every world does with time: all there is to do at one instant, then a jump to the next.
protocol InstantLoop: AnyObject {
    var now: Instant { get set }
    /// The first thing that went wrong; ends the run.
    var failure: String? { get set }
    /// Everything is done, nothing more is awaited.
    var isFinished: Bool { get }
    /// When anything is next to be done.
    var nextEvent: Instant { get }
    /// The engines' part of that: one that is due and does nothing spins.
    var engineDeadline: Instant { get }
    /// Does everything that is due once; whether anything was.
    func turn() -> Bool
    /// Where the run stands, for its failure.
    func describe() -> String
}

extension InstantLoop {
    /// Runs until `isFinished`, a failure or `end`; reaching that is a failure unless `mayStop`.
    func runInstants(until end: Instant, mayStop: Bool) {
        var idle = IdleInstants()
        while failure == nil {
            if idle.note(isBusy: runInstant(), at: now) {
                failure = "spins: due again and again with nothing done; " + describe()
            }
            if failure != nil || isFinished { break }
            let next = nextEvent
            if next > end {
                if !mayStop {
                    failure = "stuck at \(end.nanoseconds / 1_000_000) ms: " + describe()
                }
                now = end
                break
            }
            now = max(now, next)
        }
    }

    /// Whether anything was done.
    @discardableResult func runInstant() -> Bool {
        // No engine needs more turns at one instant, nor as many in which nothing leaves it: of a
        // thousand connections some hear of a path's change in each.
        let maximumTurns = 5_000, maximumIdleTurns = 500
        var turns = 0, idleTurns = 0, wasBusy = false
        while failure == nil {
            let isBusy = turn()
            turns += 1
            if isBusy {
                idleTurns = 0
                wasBusy = true
            } else {
                if engineDeadline > now { break }
                idleTurns += 1
                if idleTurns > maximumIdleTurns {
                    failure = "spins: nothing done, deadline \(engineDeadline); " + describe()
                }
            }
            if turns > maximumTurns { failure = "more than \(turns) turns at one instant" }
        }
        if let text = failure { failure = "\(text) [at \(now.nanoseconds / 1000) us]" }
        return wasBusy
    }
}

/// Instants in a row at which an engine was due and nothing was done: one that puts its deadline
/// off by a little each time spins, too.
private struct IdleInstants {
    private static let maximum = 1_000
    private var count = 0
    private var since = Instant.zero

    /// Another instant; true where there are too many within a second.
    mutating func note(isBusy: Bool, at now: Instant) -> Bool {
        guard !isBusy, count > 0, now - since < .seconds(1) else {
            count = isBusy ? 0 : 1
            since = now
            return false
        }
        count += 1
        return count > Self.maximum
    }
}

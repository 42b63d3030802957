import Measures

/// When a session says its signals (what becomes of paths and addresses): at once on every path
/// that lives, and again on a doubling timer, until the peer has echoed all of them.
///
/// While any is unechoed, whatever leaves with space takes it along. What is said is the
/// `PathStatement` of each path, and the concentrator's announcements.
struct ReliableSignals {
    private var again = Repeater()

    /// One of them waits for its echo.
    var isRunning: Bool { again.isRunning }
    /// When they are to be said again by themselves; `.distantFuture` where nothing waits.
    var dueAt: Instant { again.at }

    /// What their owner is to do.
    enum Action: Equatable {
        case none
        /// Say them on every open path now, and ask again at this time.
        case say(again: Instant)
    }

    /// What is known around them.
    struct Circumstances {
        /// One of them was not echoed yet.
        var isPending: Bool
        /// Within this time a probe on the quickest open path should be answered; nil where none is
        /// open.
        var shortestTimeout: Interval?
    }

    /// There is something new to say.
    mutating func raised(_ circumstances: Circumstances, at now: Instant) -> Action {
        again.renew()
        return due(circumstances, at: now)
    }

    /// Their time has come.
    mutating func due(_ circumstances: Circumstances, at now: Instant) -> Action {
        guard circumstances.isPending else {
            again.stop()
            return .none
        }
        let timeout = circumstances.shortestTimeout ?? Limits.initialTimeout
        again.sent(
            at: now, first: max(timeout, Limits.minimumSignalInterval),
            maximum: Limits.maximumSignalInterval)
        return .say(again: again.at)
    }

    /// One of them was echoed; `isPending`: another was not.
    mutating func echoed(isPending: Bool) {
        if !isPending { again.stop() }
    }

    /// They are said no more (the keys are gone, or each is said once: `Signaling.once`).
    mutating func stop() { again.stop() }
}

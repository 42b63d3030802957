import Measures
import Multipath

/// What a stream waits for beside its connection. A new timer is a new case, which
/// `StreamHandle.deadline` covers by itself; the compiler asks what happens then (`Session.fire`).
enum StreamTimer: Int, CaseIterable {
    /// Subflows are looked for though no path has changed.
    case join
    /// Listener: a connection without subflows is given up.
    case orphan
    /// Concentrator: its target must be there by then.
    case preface

    static let all = Array(allCases)
}

extension StreamHandle {
    /// When the session is to look at it, be it for its connection or for itself.
    var deadline: Instant {
        min(connection.deadline, min(timers.next, joining.request.at))
    }

    /// Joins are not looked for until a path changes, or it is asked for.
    func stopJoining() {
        timers.clear(.join)
        joining.isDue = false
    }
}

extension Session {
    /// A connection's time has come, or that of its stream.
    func advance(_ stream: StreamHandle, to now: Instant) {
        withConnection(of: stream, at: now) { connection in
            connection.advance(to: now)
            checkForBlackHole(stream, at: now)
            for timer in StreamTimer.all where stream.timers[timer] <= now {
                fire(timer, of: stream, at: now)
            }
        }
    }

    private func fire(_ timer: StreamTimer, of stream: StreamHandle, at now: Instant) {
        switch timer {
        case .join:
            // With the visit that follows (`manageSubflows`), or a later one.
            stream.timers.clear(.join)
            stream.joining.isDue = true
        case .orphan: giveUpOrphan(stream, at: now)
        case .preface: giveUpHalfOpen(stream, at: now)
        }
    }
}

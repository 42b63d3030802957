import Measures
import Multipath

/// Whether a path is there, and whether it works.
enum PathState: Equatable {
    /// Not opened, or closed again: nothing is sent on it.
    case closed
    /// Opened, and no probe has gone unanswered since: single mode takes its chance with it.
    /// `hasAnswered`: a probe was answered, though full datagrams have yet to show that they pass.
    case untried(hasAnswered: Bool)
    /// Silent.
    case suspect(Suspicion)
    /// It carries data.
    case usable

    /// As connections and reports see it.
    var health: PathHealth {
        switch self {
        case .closed: .lost
        case .untried, .suspect: .suspect
        case .usable: .usable
        }
    }
}

/// What is known of a silent path.
enum Suspicion: Equatable {
    /// No probe was answered since it was opened.
    case unanswered
    /// It was answered before it fell silent.
    case answered
    /// And the peer was told that nothing is heard here (proxy).
    case reported
}

/// The state of a path and since when it has its present health.
struct PathLifecycle {
    private(set) var state = PathState.closed
    private(set) var since = Instant.zero

    /// What follows from a change for others.
    struct Change: Equatable {
        let health: PathHealth
        /// The peer believes that the path is silent, and is to hear otherwise.
        let endsReport: Bool
        /// The path was opened just now: that it may not work is no news.
        let isOpening: Bool
    }

    @inline(__always) var health: PathHealth { state.health }
    @inline(__always) var isOpen: Bool {
        if case .closed = state { false } else { true }
    }
    var isUntried: Bool {
        if case .untried = state { true } else { false }
    }
    var isReportedSilent: Bool { state == .suspect(.reported) }
    /// A probe was answered since the path was opened.
    var hasAnswered: Bool {
        switch state {
        case .closed: false
        case .untried(let hasAnswered): hasAnswered
        case .suspect(let suspicion): suspicion != .unanswered
        case .usable: true
        }
    }

    /// The path goes to another state; nil where its health stays what it was.
    mutating func enter(_ next: PathState, at now: Instant) -> Change? {
        guard next.health != health else { return nil }
        let endsReport = isReportedSilent && next == .usable
        state = next
        since = now
        return Change(health: next.health, endsReport: endsReport, isOpening: isUntried)
    }

    /// A probe was answered.
    mutating func answered() {
        switch state {
        case .untried: state = .untried(hasAnswered: true)
        case .suspect(.unanswered): state = .suspect(.answered)
        case .closed, .suspect, .usable: break
        }
    }

    /// A probe went unanswered: it is no longer taken on trust. False where it was not.
    mutating func expireTrial() -> Bool {
        guard case .untried(let hasAnswered) = state else { return false }
        state = .suspect(hasAnswered ? .answered : .unanswered)
        return true
    }

    /// The peer is told that nothing is heard here.
    mutating func report() {
        if case .suspect(.answered) = state { state = .suspect(.reported) }
    }
}

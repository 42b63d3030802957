import Measures

/// The probes of a path: which one is awaited, when its answer is overdue, and what that means.
///
/// Its owner sends the frames and does what a verdict calls for.
struct PathProber {
    /// What brought a probe.
    enum Reason {
        /// Round trips are to be known, or a NAT is to remember: one missing answer means little.
        case routine
        /// Silence, which is one sign already: one missing answer is enough.
        case silence
        /// The same, where data broke off in the middle: a late answer tells something, too.
        case interruption

        var isSilence: Bool { self != .routine }
        /// Probes without an answer that make a path suspect.
        fileprivate var needed: Int { isSilence ? 1 : 2 }
    }

    private enum State {
        case idle
        /// An answer is to come until then; so many probes have gone without one. `reason`: what
        /// brought the first that silence called for, or else the first.
        case awaiting(until: Instant, unanswered: Int, reason: Reason)
    }

    /// What is known of the path when an answer is overdue.
    struct Circumstances {
        /// It carries data so far; else it is suspect already.
        var isUsable: Bool
        /// A missing answer makes it suspect (`EndpointConfiguration.signaling`).
        var mayBecomeSuspect = true
        /// When something last came on it: it may be dead in our direction only.
        var lastArrival: Instant
        /// Probes without an answer that make it suspect though it is heard.
        var neededWhileHearing: Int
        /// Of a suspect path: the longest wait between probes, and whether waits double or grow by
        /// half.
        var maximumWait: Interval
        var waitsDouble = false
    }

    enum Verdict: Equatable {
        /// Another probe is to be sent.
        case askAgain
        /// It does not work any more; another probe is to be sent.
        case silent
    }

    private var state = State.idle
    /// Of the latest probe.
    private(set) var count: UInt16 = 0
    private(set) var sentAt = Instant.zero
    private(set) var lastAnswer = Instant.zero
    /// When the latest of the probes that were answered had left; zero before.
    private(set) var lastAnswered = Instant.zero
    /// How long the next answer of a suspect path is awaited: grown from the last wait, which may
    /// have been cut short by what is known of the path, so no `Backoff`.
    private(set) var wait = Limits.suspectProbe

    /// An answer is awaited.
    var isOutstanding: Bool {
        if case .awaiting = state { true } else { false }
    }
    /// When the answer is overdue; `.distantFuture` where none is awaited.
    var deadline: Instant {
        if case .awaiting(let until, _, _) = state { until } else { .distantFuture }
    }
    /// A probe that silence called for has no answer yet.
    var isAskingAboutSilence: Bool {
        if case .awaiting(_, _, let reason) = state { reason.isSilence } else { false }
    }

    /// The number of a probe that is about to be sent.
    mutating func next() -> UInt16 {
        count &+= 1
        return count
    }

    /// What the answers that are awaited say something about, where one more probe leaves for
    /// `reason`: silence that was asked about counts until something has been answered.
    func awaited(with reason: Reason) -> Reason {
        if case .awaiting(_, _, let earlier) = state, earlier.isSilence { earlier } else { reason }
    }

    /// A probe leaves, whose answer should be here within `timeout`; when it is overdue.
    mutating func sent(because reason: Reason, timeout: Interval, at now: Instant) -> Instant {
        sentAt = now
        let reason = awaited(with: reason)
        var before = 0
        if case .awaiting(_, let unanswered, _) = state { before = unanswered }
        state = .awaiting(until: now + timeout, unanswered: before, reason: reason)
        return now + timeout
    }

    /// There was no space for a probe; when to try again.
    mutating func postponed(at now: Instant) -> Instant {
        let until = now + Limits.suspectProbe
        if case .awaiting(_, let unanswered, let reason) = state {
            state = .awaiting(until: until, unanswered: unanswered, reason: reason)
        }
        return until
    }

    /// A probe was answered, whichever. `sentAt`: when that had left; nil where it can't be told.
    mutating func answered(sentAt: Instant?, at now: Instant) {
        lastAnswer = now
        if let sentAt { lastAnswered = max(lastAnswered, sentAt) }
    }

    /// The path works: nothing is awaited.
    mutating func succeeded() {
        state = .idle
        wait = Limits.suspectProbe
    }

    /// Nothing is awaited any more.
    mutating func cancel() { state = .idle }

    /// The next answer of a suspect path is awaited so long.
    mutating func restart(wait: Interval = Limits.suspectProbe) { self.wait = wait }

    /// The answer is overdue.
    mutating func timedOut(_ path: Circumstances) -> Verdict {
        guard case .awaiting(let until, let before, let reason) = state else { return .askAgain }
        let unanswered = before + 1
        state = .awaiting(until: until, unanswered: unanswered, reason: reason)
        guard path.isUsable else {
            wait =
                path.waitsDouble
                ? min(wait * 2, path.maximumWait) : min(wait * 3 / 2, path.maximumWait)
            return .askAgain
        }
        let isHeard = path.lastArrival >= sentAt
        guard path.mayBecomeSuspect,
            unanswered >= (isHeard ? path.neededWhileHearing : reason.needed)
        else { return .askAgain }
        wait = Limits.suspectProbe
        return .silent
    }
}

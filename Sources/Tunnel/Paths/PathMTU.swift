import Measures

/// How long a path's datagrams may be in our direction, found by probes of their own (RFC 8899,
/// DPLPMTUD).
///
/// Sizes are bytes of UDP payload. A path begins with datagrams of the base size, which must show
/// that they pass; longer ones are tried with probe datagrams whose loss means nothing else. Where
/// full datagrams go unanswered while short ones are, a probe of the size in use tells whether it
/// is a black hole.
///
/// The owner says what happened and when, sends a probe of each size that `takeProbe` names, and
/// does what the returned change calls for.
struct PathMTU {
    enum Change: Equatable {
        case none
        /// Full datagrams are longer from now on.
        case grew
        /// Full datagrams are shorter: what was sent longer may be lost. The base size must prove
        /// itself anew.
        case shrank
    }

    private enum State: Equatable {
        /// Nothing of the base size was answered yet (RFC 8899 section 5.2: BASE).
        case unconfirmed
        /// SEARCHING: a size is being tried, for the `tries`th time, until `verdictAt`.
        case trying(size: Int, tries: Int, sentAt: Instant, verdictAt: Instant)
        /// SEARCH_COMPLETE, until it is worth looking again.
        case complete(until: Instant)
        /// Full datagrams went unanswered: are it those of this size? `isAnswered`: the short one
        /// was that left with the full ones.
        case verifying(tries: Int, sentAt: Instant, verdictAt: Instant, isAnswered: Bool)
    }

    /// RFC 8899 section 5.1.2, MAX_PROBES; sizes between two known ones are given up sooner.
    static let maximumTries = 3, maximumSearchTries = 2
    /// The search ends when the size is known to so many bytes.
    static let precision = 8
    /// PMTU_RAISE_TIMER (section 5.1.1): a route may have become wider.
    static let raiseInterval = Interval.seconds(600)
    /// After a black hole, doubled from one to the next up to `raiseInterval`.
    static let firstRetry = Interval.seconds(2)
    /// After `maximumTries` the base size is asked for this long after the last time, doubled from
    /// one to the next.
    static let firstBaseWait = Interval.milliseconds(50), maximumBaseWait = firstBaseWait * 128
    /// Answers are taken for so long.
    static let latest = Interval.seconds(10)
    /// Nothing at all was heard during a search: it is begun again after this.
    static let silentRetry = Interval.seconds(5)
    /// A short probe was answered: a full one sent before it has so much time left at least.
    static let minimumGrace = Interval.milliseconds(10)

    /// Of full datagrams.
    private(set) var current: Int
    private(set) var base: Int
    /// What the interface takes, or an Ethernet's worth.
    private(set) var ceiling: Int
    private var state = State.unconfirmed
    /// The smallest size known not to pass.
    private var tooLong: Int
    private var blackHoles = Backoff()
    /// Sizes of probes that wait for the next flush: a size, and how often.
    private var due: (size: Int, count: Int) = (0, 0)
    /// A short probe goes along with the last try of a size, so that silence tells something of it.
    private var wantsShort = false
    /// When a full datagram last left, and when one was last known to pass.
    private var lastFull = Instant.zero
    private var lastVerified = Instant.zero
    // How often the base size was asked for, and when it may be again though short answers come.
    private var baseAsked = 0
    private var baseAt = Instant.zero

    init(base: Int, ceiling: Int) {
        self.base = min(base, ceiling)
        self.ceiling = ceiling
        current = self.base
        tooLong = ceiling + 1
    }

    /// Datagrams of the base size are known to pass.
    var isBaseConfirmed: Bool { state != .unconfirmed }
    var hasProbe: Bool { due.count > 0 }

    var deadline: Instant {
        switch state {
        case .unconfirmed: .distantFuture
        case .trying(_, _, _, let at), .verifying(_, _, let at, _): at
        case .complete(let until): until
        }
    }

    // MARK: The base size

    /// Whether a probe of the path's life should be as long as the base size: at first, and later
    /// where short ones are answered, ever more rarely.
    func asksBase(at now: Instant) -> Bool {
        !isBaseConfirmed && (baseAsked < Self.maximumTries || now >= baseAt)
    }

    mutating func askedBase(at now: Instant) {
        baseAsked += 1
        baseAt =
            now
            + Self.firstBaseWait.doubled(
                baseAsked - Self.maximumTries, maximum: Self.maximumBaseWait)
    }

    /// A datagram of the base size was answered.
    mutating func basePassed(at now: Instant, timeout: Interval) {
        guard state == .unconfirmed else { return }
        baseAsked = 0
        lastVerified = now
        if tooLong <= ceiling {
            // A black hole was found: what lies above is looked at later.
            let retry = blackHoles.wait(Self.firstRetry, maximum: Self.raiseInterval)
            state = .complete(until: now + retry)
        } else {
            tryNext(at: now, timeout: timeout)
        }
    }

    /// The path leads somewhere else, or begins anew: nothing is known.
    mutating func restart(base: Int, ceiling: Int) -> Change {
        let before = current
        self = PathMTU(base: base, ceiling: ceiling)
        return before > current ? .shrank : .none
    }

    // MARK: Probes

    /// The size of a probe that is to be sent now.
    mutating func takeProbe() -> Int? {
        guard due.count > 0 else { return nil }
        due.count -= 1
        return due.size
    }

    /// A probe of `size`, sent at `sentAt`, was answered.
    mutating func answered(size: Int, sentAt: Instant, at now: Instant, timeout: Interval) -> Change
    {
        switch state {
        case .trying(let tried, _, _, _) where tried == size:
            current = size
            blackHoles.reset()
            tryNext(at: now, timeout: timeout)
            return .grew
        case .trying, .complete:
            // Late, behind a queue longer than was thought: it passes all the same.
            guard size > current, size <= ceiling, sentAt <= now, now - sentAt < Self.latest else {
                return .none
            }
            current = size
            if tooLong <= size { tooLong = ceiling + 1 }
            tryNext(at: now, timeout: timeout)
            return .grew
        case .verifying(_, let asked, _, _) where size == current && sentAt >= asked:
            fullPassed(at: now, timeout: timeout)
            return .none
        default: return .none
        }
    }

    /// A short probe that left at `askedAt` was answered: those that left before it should be, too,
    /// within `margin`. An answer to what was asked earlier tells nothing of them.
    mutating func shortAnswered(sentAt askedAt: Instant, at now: Instant, margin: Interval) {
        guard case .verifying(let tries, let sentAt, let at, let wasAnswered) = state,
            sentAt <= askedAt
        else { return }
        let verdict = now + max(margin, Self.minimumGrace)
        // The one that left with them may be late itself. What was asked later may have passed
        // behind the end of an outage in which they were lost.
        let isTheirs = askedAt == sentAt
        if verdict < at || isTheirs {
            state = .verifying(
                tries: tries, sentAt: sentAt, verdictAt: verdict,
                isAnswered: wasAnswered || isTheirs)
        }
    }

    /// When the full datagrams left whose answers the verdict on a black hole waits for.
    var verifiesSince: Instant? {
        guard case .verifying(_, let sentAt, _, _) = state else { return nil }
        return sentAt
    }

    /// Full datagrams that left since then have arrived, whatever became of the probes: there is no
    /// black hole.
    mutating func fullPassed(at now: Instant, timeout: Interval) {
        guard case .verifying = state else { return }
        lastVerified = now
        due = (0, 0)
        search(at: now, timeout: timeout)
    }

    /// Time passes. `answered`: when the latest short probe left that was answered. `heard`: the
    /// latest moment of which it is known that what left then could arrive. `isWanted`: something
    /// is being transferred.
    mutating func advance(
        to now: Instant, timeout: Interval, answered: Instant, heard: Instant,
        isWanted: Bool
    ) -> Change {
        guard deadline <= now else { return .none }
        switch state {
        case .unconfirmed: return .none
        case .complete:
            guard isWanted else { state = .complete(until: now + .seconds(60)); return .none }
            tooLong = ceiling + 1
            tryNext(at: now, timeout: timeout)
            return .none
        case .trying(let size, let tries, let sentAt, _):
            let maximum = size == ceiling ? Self.maximumTries : Self.maximumSearchTries
            if tries < maximum {
                probe(size, count: 1)
                wantsShort = tries + 1 == maximum
                state = .trying(size: size, tries: tries + 1, sentAt: now, verdictAt: now + timeout)
            } else if max(heard, answered) >= sentAt {
                tooLong = min(tooLong, size)
                tryNext(at: now, timeout: timeout)
            } else {
                state = .complete(until: now + Self.silentRetry)  // silence tells nothing of sizes
            }
            return .none
        case .verifying(let tries, _, _, let isAnswered):
            if isAnswered { return blackHole(at: now) }
            // Silence tells of the path, not of its datagrams; so does what was asked later.
            guard tries < Self.maximumTries else { search(at: now, timeout: timeout); return .none }
            probe(current, count: 2)
            wantsShort = true
            state = .verifying(
                tries: tries + 1, sentAt: now, verdictAt: now + timeout, isAnswered: false)
            return .none
        }
    }

    /// Whether a short probe is to go with the next one.
    mutating func takesShort() -> Bool {
        defer { wantsShort = false }
        return wantsShort
    }

    private mutating func probe(_ size: Int, count: Int) { due = (size, count) }

    /// The next size to try: the longest possible one first, which most paths take, then by halves.
    private mutating func tryNext(at now: Instant, timeout: Interval) {
        let size = tooLong > ceiling ? ceiling : current + (tooLong - current) / 2
        guard tooLong - current > Self.precision || size == ceiling, size > current else {
            state = .complete(until: now + Self.raiseInterval)
            return
        }
        probe(size, count: 1)
        state = .trying(size: size, tries: 1, sentAt: now, verdictAt: now + timeout)
    }

    private mutating func search(at now: Instant, timeout: Interval) {
        if tooLong > ceiling, current < ceiling {
            tryNext(at: now, timeout: timeout)
        } else {
            state = .complete(until: now + Self.raiseInterval)
        }
    }

    // MARK: Black holes

    /// A full datagram left.
    @inline(__always) mutating func sent(_ size: Int, at now: Instant) {
        if size >= base { lastFull = now }
    }

    /// Data went unanswered for longer than a round trip: it may be the length of its datagrams.
    /// True where a probe is due, and a short one with it.
    mutating func checkForBlackHole(at now: Instant, timeout: Interval) -> Bool {
        guard lastFull > lastVerified else { return false }
        switch state {
        case .unconfirmed, .verifying: return false
        case .trying, .complete: break
        }
        if current == base { return withdrawBase() }
        // Two at once: one of them may be lost for another reason.
        probe(current, count: 2)
        state = .verifying(
            tries: 1, sentAt: now, verdictAt: now + timeout, isAnswered: false)
        return true
    }

    /// The peer's full datagrams don't arrive: both directions must show again that the base size
    /// passes. False where that is under way.
    mutating func withdrawBase() -> Bool {
        guard isBaseConfirmed else { return false }
        current = base
        baseAsked = 0
        due = (0, 0)
        state = .unconfirmed
        return true
    }

    /// The system refused a datagram of `size` bytes: longer than the interface takes.
    mutating func refused(_ size: Int, at now: Instant, timeout: Interval) -> Change {
        guard size > base else { return .none }
        tooLong = min(tooLong, size)
        if size <= current { return blackHole(at: now) }
        if case .trying(let tried, _, _, _) = state, tried >= size {
            tryNext(at: now, timeout: timeout)
        }
        return .none
    }

    private mutating func blackHole(at now: Instant) -> Change {
        tooLong = min(tooLong, current)
        current = base
        due = (0, 0)
        baseAsked = 0
        baseAt = now
        blackHoles.failed()
        state = .unconfirmed
        return .shrank
    }
}

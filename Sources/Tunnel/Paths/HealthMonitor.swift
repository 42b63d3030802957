import Measures
import Multipath
import Subflow
import Wire

/// A path's health: when silence is worth a probe, when an unanswered probe makes the path suspect,
/// and how a suspect path is found again.
///
/// Awaited answers that don't come within a probe time-out bring a probe; unanswered past another
/// one they bring suspicion, and unacknowledged data is reinjected elsewhere at once (design: path
/// health). Its inputs are what happens on the path; each returns what is to be done about it,
/// which the session does.
struct HealthMonitor {
    private(set) var lifecycle = PathLifecycle()
    /// As probes, and the handshake, measured it.
    private(set) var roundTrip = PathRoundTrip()
    private(set) var silence = SilenceDetector()
    private(set) var probe = PathProber()
    var doubt = PathDoubt()
    /// When something authentic last came; zero before.
    private(set) var lastArrival = Instant.zero

    @inline(__always) var health: PathHealth { lifecycle.health }
    @inline(__always) var isOpen: Bool { lifecycle.isOpen }

    // MARK: What the traffic tells

    /// An authentic datagram came. True where a probe is to be sent: a silent path is heard again.
    @inline(__always) mutating func arrived(at now: Instant) -> Bool {
        lastArrival = now
        doubt.cancel()
        silence.heard(shortestRTT: roundTrip.minimum, at: now)
        return health == .suspect && !probe.isOutstanding
    }

    /// Payload came: a streak whose end tells something (the sender of a download is far away).
    /// `length`: its bytes of a stream, 0 of a datagram. When the path wants to be looked at, where
    /// that has changed.
    @inline(__always) mutating func receivedData(_ length: Int, at now: Instant) -> Instant? {
        silence.receivedData(length, at: now)
    }

    /// An acknowledgement without data, while we send: the other half of such a streak. The same.
    @inline(__always) mutating func receivedAcknowledgement(at now: Instant) -> Instant? {
        silence.receivedAcknowledgement(at: now)
    }

    /// Something that must be answered leaves. True where nothing was awaited until now.
    @inline(__always) mutating func sentEliciting(at now: Instant) -> Bool {
        silence.sentEliciting(at: now)
    }

    // MARK: Probes

    /// The next probe. `isLong`: it is to show that datagrams of the base size pass; `isNarrow`: it
    /// says that the peer's don't arrive here.
    mutating func nextProbe(isLong: Bool, isNarrow: Bool, at now: Instant) -> ProbeFrame {
        let purpose: ProbeFrame.Purpose = isLong ? .long : isNarrow ? .narrow : .life
        return ProbeFrame(
            isAnswer: false, identifier: ProbeFrame.identifier(count: probe.next(), purpose),
            sentAt: now.nanoseconds)
    }

    /// That probe leaves; when its answer is overdue, or there is doubt. `bound`: how long one may
    /// take on a path that works.
    mutating func probeSent(
        because reason: PathProber.Reason, bound: Interval, at now: Instant
    ) -> Instant {
        let isSilence = probe.awaited(with: reason).isSilence
        let timeout = health != .usable ? probe.wait : isSilence ? shortened(bound) : bound
        let due = probe.sent(because: reason, timeout: timeout, at: now)
        guard health == .usable, reason == .interruption, silence.streak.wasSteady,
            let usual = usualAnswer,
            now + usual < due
        else { return due }
        doubt.awaits(by: now + usual)
        return doubt.dueAt
    }

    /// How long the answer to a probe usually takes at most, where arrivals one upon another have
    /// broken off: what our own traffic put into the queue has drained by then, and what the path
    /// delays by turns is in the arrivals' distances. Nil while too little was measured.
    private var usualAnswer: Interval? {
        guard let shortest = roundTrip.recentMinimum else { return nil }
        let margin = min(
            max(roundTrip.minimum / 8, Limits.minimumDoubtMargin), Limits.maximumDoubtMargin)
        return shortest + max(margin, silence.streak.maximum)
    }

    /// There was no space for it; when to try again.
    mutating func probePostponed(at now: Instant) -> Instant { probe.postponed(at: now) }

    /// How long the answer to a probe may take that silence has called for already: two signs
    /// need a shorter time-out than one.
    private func shortened(_ bound: Interval) -> Interval {
        guard roundTrip.isKnown else { return bound }
        let minimum = min(
            max(roundTrip.minimum / 4, Limits.minimumProbeVariation), Limits.minimumVariation)
        return min(bound, roundTrip.bound(multiple: 2, minimumVariation: minimum))
    }

    /// A probe is to tell something else than whether the path lives, such as a size. True where it
    /// may be sent now.
    var takesRoutineProbe: Bool { health == .usable && !probe.isOutstanding }

    /// No answer is waited for any more.
    mutating func cancelProbe() { probe.cancel() }

    /// A suspect path is worth asking about soon.
    mutating func probeSoon() { probe.restart() }

    // MARK: Answers

    /// What a peer's question calls for, besides an answer.
    struct Request: Equatable {
        /// Full datagrams don't reach the peer: the base size has to be proven again, which asks by
        /// itself.
        var withdrawsBase = false
        /// Who asks on a path that was taken for dead is alive: it is asked back.
        var asksBack = false
    }

    /// The peer asks. `isBaseConfirmed`: full datagrams are taken to pass; `isInitiator`: the
    /// proxy's end.
    func asked(
        _ purpose: ProbeFrame.Purpose, isInitiator: Bool, isBaseConfirmed: Bool, at now: Instant
    ) -> Request {
        guard isOpen else { return Request() }
        if isInitiator, purpose == .narrow, isBaseConfirmed { return Request(withdrawsBase: true) }
        return Request(
            asksBack: health == .suspect && now - probe.sentAt >= Limits.suspectProbe)
    }

    /// What an answer means.
    enum Answer: Equatable {
        /// Nothing: the path is closed, or the answer is to nothing we asked.
        case none
        /// It lives, but full datagrams have yet to show that they pass. `asksAgain`: a probe that
        /// is as long is due.
        case lives(asksAgain: Bool)
        /// It carries data from now on, or still.
        case works
    }

    /// What is known of full datagrams when a short one is answered.
    struct Sizes {
        /// They are known to pass.
        var isBaseConfirmed: Bool
        /// One may be asked for now.
        var mayAsk: Bool
    }

    /// A probe's answer came, `sample` after it was asked for; nil where that can't be told.
    mutating func answered(_ sample: Interval?, _ sizes: Sizes, at now: Instant) -> Answer {
        guard isOpen else { return .none }
        if let sample, sample < .zero || sample >= Limits.maximumSample { return .none }
        measure(sample, at: now)
        probe.answered(sentAt: sample.map { now - $0 }, at: now)
        lifecycle.answered()
        // An answer to a probe that was under way is not what a later, full one waits for.
        let isEarlier =
            probe.isOutstanding && sample.map { $0 > .zero && now - $0 < probe.sentAt } ?? false
        guard sizes.isBaseConfirmed || health == .usable && !isEarlier else {
            return .lives(
                asksAgain: sizes.mayAsk && now - probe.sentAt >= Limits.minimumVariation)
        }
        probe.succeeded()
        return .works
    }

    /// An answer that ends a silence measures that (a link that stalled hands over what waited in
    /// it): believed for its whole length, the next silence would be awaited for minutes as long. A
    /// round trip that has really become so long shows again, and counts for twice as much each
    /// time. What was asked during the silence, and is answered behind the answer that ended it,
    /// measures nothing.
    func believes(_ sample: Interval?, at now: Instant) -> Interval? {
        guard let sample else { return nil }
        let isOld =
            health == .usable && lifecycle.since > .zero && now - sample < lifecycle.since
        guard sample > .zero, !isOld || !roundTrip.isKnown else { return nil }
        return health == .usable
            ? sample : min(sample, max(Limits.maximumStallSample, roundTrip.probeTimeout * 2))
    }

    private mutating func measure(_ sample: Interval?, at now: Instant) {
        if let believed = believes(sample, at: now) { roundTrip.add(believed, at: now) }
    }

    /// The welcome of a handshake came by this path, `sample` after its hello: as good as an
    /// answer.
    mutating func welcomed(_ sample: Interval, at now: Instant) {
        roundTrip.add(sample, at: now)
        lifecycle.answered()
    }

    // MARK: Time

    /// What time has brought about.
    enum Due: Equatable {
        case nothing
        /// A probe: since the path is silent (data may be too long for it, too), or so that the
        /// round trip stays known, or a NAT remembers.
        case probe(PathProber.Reason)
        /// An answer is late that may still come, and data broke off in the middle.
        case doubt
        /// An answer is overdue: `answerOverdue`.
        case answerOverdue
    }

    /// When `advance` may have something; `.distantFuture` where never. `timeout`: how long an
    /// answer may take before a probe asks. `warmAt`: when a probe is due though nothing is wrong.
    func deadline(
        timeout: @autoclosure () -> Interval, warmAt: @autoclosure () -> Instant?
    ) -> Instant {
        guard isOpen else { return .distantFuture }
        if probe.isOutstanding { return min(probe.deadline, doubt.dueAt) }
        return min(silence.deadline(timeout: timeout()), warmAt() ?? .distantFuture)
    }

    /// Time passes. The same arguments, which don't count while an answer is awaited.
    mutating func advance(to now: Instant, timeout: Interval, warmAt: Instant?) -> Due {
        guard isOpen else { return .nothing }
        if probe.isOutstanding {
            if probe.deadline <= now { return .answerOverdue }
            return doubt.takeDue(at: now) ? .doubt : .nothing
        }
        let endsStreak = silence.streak.silentAt <= now
        if silence.isOverdue(timeout: timeout, at: now) {
            return .probe(
                endsStreak && silence.expectsMore(at: now) ? .interruption : .silence)
        }
        guard let warmAt, warmAt <= now else { return .nothing }
        return .probe(.routine)
    }

    /// When the path is to be probed though nothing is wrong. `isBusy`: something is being
    /// transferred that may use it, and its round trip should be known; `keptSince`: from then on
    /// NATs should not forget it. Nil where it need not.
    func warmAt(isBusy: Bool, keptSince: Instant?) -> Instant? {
        let last = max(probe.lastAnswer, probe.sentAt)
        if isBusy { return last + Limits.warmProbe }
        return keptSince.map { max(max(last, lastArrival), $0) + Limits.keepalive }
    }

    /// A path that was used before its first answer, and none came: it is taken on trust no longer.
    /// False where it was not.
    mutating func expireTrial() -> Bool { lifecycle.expireTrial() }

    /// What a suspect path is worth, and what makes one suspect.
    struct Circumstances {
        /// A missing answer makes it suspect (`EndpointConfiguration.signaling`).
        var mayBecomeSuspect: Bool
        /// Full datagrams are known to pass.
        var isBaseConfirmed: Bool
        /// Something waits for it.
        var isWanted: Bool
        /// Its uplink does not reach its address, as far as is known.
        var isFutile: Bool
    }

    /// An answer is overdue. `.silent`: the path does not work any more (`fallSilent`); either way
    /// another probe is to be sent.
    mutating func answerOverdue(_ path: Circumstances, at now: Instant) -> PathProber.Verdict {
        let isFresh = now - lifecycle.since < Limits.freshSuspicion
        let usualWait = isFresh ? Limits.freshSuspectProbe : Limits.maximumSuspectProbe
        return probe.timedOut(
            PathProber.Circumstances(
                isUsable: health == .usable,
                mayBecomeSuspect: path.mayBecomeSuspect,
                lastArrival: lastArrival,
                neededWhileHearing: path.isBaseConfirmed
                    ? Limits.unansweredWhileHearing : PathMTU.maximumTries,
                maximumWait: path.isFutile
                    ? Limits.maximumFutileProbe
                    : path.isWanted ? usualWait : Limits.maximumIdleProbe,
                waitsDouble: path.isFutile))
    }

    // MARK: Changes

    /// What follows for others from a change of health.
    struct Change: Equatable {
        let health: PathHealth
        let wasUsable: Bool
        /// The peer believes that the path is silent, and is to hear otherwise.
        let endsReport: Bool
        /// Whoever watches is to hear of it: a path that was just opened is not yet known to work,
        /// which is no news to anybody.
        let isNews: Bool
    }

    /// The path goes to another state; nil where its health is the same.
    mutating func enter(_ state: PathState, at now: Instant) -> Change? {
        let wasUsable = health == .usable
        guard let change = lifecycle.enter(state, at: now) else { return nil }
        silence.restart()
        doubt.end()
        let isNew = change.isOpening || lastArrival == .zero
        return Change(
            health: change.health, wasUsable: wasUsable, endsReport: change.endsReport,
            isNews: change.health != .suspect || !isNew)
    }

    /// A path that worked does not any more.
    mutating func fallSilent(at now: Instant) -> Change? {
        enter(.suspect(.answered), at: now)
    }

    /// The peer is told that nothing is heard here.
    mutating func report() { lifecycle.report() }

    /// It is about to be opened (again): `enter` follows.
    mutating func prepareOpening() {
        probe.cancel()
        probe.restart(wait: roundTrip.probeTimeout)
    }

    /// It is about to be closed: what was asked is forgotten.
    mutating func prepareClosing() { probe = PathProber() }

    /// The path leads somewhere else: what was measured means nothing there.
    mutating func forgetRoundTrip(at now: Instant) { roundTrip.forget(at: now) }

    /// What a subflow that begins now should expect; nil while nothing was measured.
    mutating func estimate(at now: Instant) -> PathEstimate? { roundTrip.estimate(at: now) }
}

import Measures
import Multipath
import Testing

@testable import Tunnel
@testable import Wire

/// A path's health by itself: what happens on it goes in, what is to be done comes out.
@Suite struct HealthMonitorTests {
    private let start = Instant.zero + .seconds(100)
    private let bound = Interval.milliseconds(80)

    private func circumstances(
        judges: Bool = true, isWanted: Bool = true, isFutile: Bool = false
    ) -> HealthMonitor.Circumstances {
        .init(
            mayBecomeSuspect: judges, isBaseConfirmed: true, isWanted: isWanted, isFutile: isFutile)
    }

    /// Opened and answered at `start`, 40 ms after it was asked.
    private func usable() -> HealthMonitor {
        var path = HealthMonitor()
        let asked = start - .milliseconds(40)
        path.prepareOpening()
        _ = path.enter(.untried(hasAnswered: false), at: asked)
        _ = path.nextProbe(isLong: false, isNarrow: false, at: asked)
        _ = path.probeSent(because: .routine, bound: bound, at: asked)
        _ = path.arrived(at: start)
        _ = path.answered(
            .milliseconds(40), .init(isBaseConfirmed: true, mayAsk: false), at: start)
        _ = path.enter(.usable, at: start)
        return path
    }

    /// Asks, and lets the time go by until the answer is overdue.
    private func missAnswer(
        _ path: inout HealthMonitor, _ now: inout Instant,
        _ around: HealthMonitor.Circumstances, because reason: PathProber.Reason = .routine
    ) -> PathProber.Verdict {
        _ = path.nextProbe(isLong: false, isNarrow: false, at: now)
        now = path.probeSent(because: reason, bound: bound, at: now)
        let due = path.advance(to: now, timeout: bound, warmAt: nil)
        #expect(due == .answerOverdue)
        return path.answerOverdue(around, at: now)
    }

    @Test func aPathThatIsOpenedAndAnsweredWorks() {
        var path = HealthMonitor()
        #expect(
            path.health == .lost && path.deadline(timeout: bound, warmAt: nil) == .distantFuture)
        path.prepareOpening()
        let opens = path.enter(.untried(hasAnswered: false), at: start)
        #expect(opens?.health == .suspect && opens?.isNews == false, "it has not been tried yet")
        let frame = path.nextProbe(isLong: true, isNarrow: true, at: start)
        #expect(frame.purpose == .long && frame.sentAt == start.nanoseconds && !frame.isAnswer)
        let due = path.probeSent(because: .routine, bound: bound, at: start)
        #expect(due == start + Limits.initialTimeout, "nothing is known of it")
        let now = start + .milliseconds(30)
        let asks = path.arrived(at: now)
        #expect(!asks, "an answer is awaited already")
        let means = path.answered(
            .milliseconds(30), .init(isBaseConfirmed: true, mayAsk: false), at: now)
        #expect(means == .works && path.roundTrip.smoothed == .milliseconds(30))
        let works = path.enter(.usable, at: now)
        #expect(works?.health == .usable && works?.isNews == true && works?.wasUsable == false)
        let again = path.enter(.usable, at: now)
        #expect(again == nil)
    }

    /// Short answers show that it lives; data needs the base size.
    @Test func withoutFullDatagramsItOnlyLives() {
        var path = HealthMonitor()
        path.prepareOpening()
        _ = path.enter(.untried(hasAnswered: false), at: start)
        _ = path.probeSent(because: .routine, bound: bound, at: start)
        let now = start + .milliseconds(30)
        let asks = path.answered(
            .milliseconds(30), .init(isBaseConfirmed: false, mayAsk: true), at: now)
        #expect(asks == .lives(asksAgain: true) && path.lifecycle.hasAnswered)
        let waits = path.answered(
            .milliseconds(30), .init(isBaseConfirmed: false, mayAsk: false), at: now)
        #expect(waits == .lives(asksAgain: false))
        _ = path.enter(.closed, at: now)
        let late = path.answered(
            .milliseconds(30), .init(isBaseConfirmed: true, mayAsk: false), at: now)
        #expect(late == .none, "it is closed")
    }

    @Test func silenceAsksAndThenSuspects() {
        var path = usable(), now = start
        let begins = path.sentEliciting(at: now), again = path.sentEliciting(at: now)
        #expect(begins && !again)
        #expect(path.deadline(timeout: bound, warmAt: nil) == now + bound)
        let early = path.advance(to: now + .milliseconds(79), timeout: bound, warmAt: nil)
        #expect(early == .nothing)
        now = now + bound
        let due = path.advance(to: now, timeout: bound, warmAt: nil)
        #expect(due == .probe(.silence))
        // Two signs: silence has called for this probe.
        let verdict = missAnswer(&path, &now, circumstances(), because: .silence)
        #expect(verdict == .silent)
        let change = path.fallSilent(at: now)
        #expect(change?.health == .suspect && change?.wasUsable == true && change?.isNews == true)
        path.report()
        #expect(path.lifecycle.isReportedSilent)
        let works = path.enter(.usable, at: now)
        #expect(works?.endsReport == true)
    }

    /// Round trips of a transfer vary by the queue that it fills. Where data breaks off in the middle
    /// that has drained, and a late answer raises doubt before it is overdue; not where the last
    /// segment was not full, nor before enough was measured or data has come for a second, nor once
    /// something has come.
    @Test(arguments: [
        (1_400, 7, 600, true), (1_380, 7, 600, true), (1_000, 7, 600, false),
        (1_400, 2, 600, false), (1_400, 7, 200, false)
    ])
    func dataThatBreaksOffRaisesDoubt(last: Int, samples: Int, arrivals: Int, doubts: Bool) {
        var path = usable(), now = start
        for sample in [60, 35, 65, 40, 70, 32, 55].suffix(samples) as ArraySlice<Int64> {
            now = now + .seconds(1)
            _ = path.answered(
                .milliseconds(sample), .init(isBaseConfirmed: true, mayAsk: false), at: now)
        }
        for i in 0..<arrivals {
            now = now + .milliseconds(2)
            _ = path.arrived(at: now)
            _ = path.receivedData(i < arrivals - 1 ? 1_400 : last, at: now)
        }
        now = path.deadline(timeout: bound, warmAt: nil)
        let asks = path.advance(to: now, timeout: bound, warmAt: nil)
        guard case .probe(let reason) = asks else { Issue.record("\(asks)"); return }
        #expect(reason.isSilence)
        _ = path.nextProbe(isLong: false, isNarrow: false, at: now)
        let next = path.probeSent(because: reason, bound: .seconds(1), at: now)
        let usual = now + .milliseconds(32) + Limits.minimumDoubtMargin
        #expect((next == usual) == doubts, "\((next - now).milliseconds)")
        #expect(next == path.deadline(timeout: bound, warmAt: nil))
        var answered = path
        let due = path.advance(to: next, timeout: bound, warmAt: nil)
        #expect(due == (doubts ? .doubt : .answerOverdue))
        if doubts {
            let until = path.deadline(timeout: bound, warmAt: nil)
            #expect(until > usual + .milliseconds(10))
            let again = path.advance(to: until - .milliseconds(1), timeout: bound, warmAt: nil)
            #expect(again == .nothing, "once")
            _ = answered.arrived(at: next - .milliseconds(1))
            let calm = answered.advance(to: next, timeout: bound, warmAt: nil)
            #expect(calm == .nothing)
        }
    }

    @Test func aRoutineProbeNeedsTwoMissingAnswers() {
        var path = usable(), now = start
        let warm = path.warmAt(isBusy: true, keptSince: .zero)
        #expect(warm == start + Limits.warmProbe)
        #expect(path.warmAt(isBusy: false, keptSince: .zero) == start + Limits.keepalive)
        let later = start + .seconds(3)
        #expect(path.warmAt(isBusy: false, keptSince: later) == later + Limits.keepalive)
        #expect(path.warmAt(isBusy: false, keptSince: nil) == nil)
        now = start + Limits.warmProbe
        let due = path.advance(to: now, timeout: bound, warmAt: warm)
        #expect(due == .probe(.routine))
        let first = missAnswer(&path, &now, circumstances())
        let second = missAnswer(&path, &now, circumstances())
        #expect(first == .askAgain && second == .silent)
    }

    @Test func whoMayNotJudgeNeverSuspects() {
        var path = usable(), now = start
        for _ in 0..<9 {
            let verdict = missAnswer(&path, &now, circumstances(judges: false))
            #expect(verdict == .askAgain)
        }
    }

    @Test func aProbeThatSilenceCalledForIsAwaitedLessLong() {
        var path = usable()
        _ = path.sentEliciting(at: start)
        let now = start + bound
        let due = path.advance(to: now, timeout: bound, warmAt: nil)
        #expect(due == .probe(.silence))
        var other = path
        let wait = path.probeSent(because: .silence, bound: .seconds(1), at: now) - now
        #expect(wait < .milliseconds(200) && wait > .milliseconds(40))
        // while another one is awaited, too
        let next = path.probeSent(because: .routine, bound: .seconds(1), at: now) - now
        #expect(next == wait)
        let usual = other.probeSent(because: .routine, bound: .seconds(1), at: now) - now
        #expect(usual == .seconds(1))
    }

    /// A silence that has ended well is no sign against what is asked later.
    @Test func aSilenceThatEndedSaysNothingOfTheNextProbe() {
        var path = usable(), now = start
        _ = path.probeSent(because: .silence, bound: bound, at: now)
        now = now + .milliseconds(40)
        _ = path.answered(.milliseconds(40), .init(isBaseConfirmed: true, mayAsk: false), at: now)
        let once = missAnswer(&path, &now, circumstances())
        #expect(once == .askAgain)
    }

    @Test func theAnswerThatEndsAStallIsBelievedInPart() {
        var path = usable()
        #expect(
            path.believes(.seconds(20), at: start + .seconds(30)) == .seconds(20), "while it works")
        #expect(path.believes(.zero, at: start) == nil)
        _ = path.fallSilent(at: start + .seconds(1))
        let end = start + .seconds(30)
        #expect(path.believes(.seconds(29), at: end) == Limits.maximumStallSample)
        _ = path.enter(.usable, at: end)
        #expect(
            path.believes(.seconds(5), at: end + .milliseconds(1)) == nil,
            "asked during the silence, answered behind its end")
    }

    @Test func whoAsksOnADeadPathIsAskedBack() {
        var path = usable()
        let now = start + .seconds(2)
        #expect(path.asked(.life, isInitiator: false, isBaseConfirmed: true, at: now) == .init())
        #expect(
            path.asked(.narrow, isInitiator: true, isBaseConfirmed: true, at: now)
                == .init(withdrawsBase: true))
        #expect(
            path.asked(.narrow, isInitiator: true, isBaseConfirmed: false, at: now) == .init(),
            "it is being proven")
        #expect(path.asked(.narrow, isInitiator: false, isBaseConfirmed: true, at: now) == .init())
        _ = path.fallSilent(at: now)
        #expect(
            path.asked(.life, isInitiator: false, isBaseConfirmed: true, at: now)
                == .init(asksBack: true))
        _ = path.probeSent(because: .routine, bound: bound, at: now)
        #expect(
            path.asked(.life, isInitiator: false, isBaseConfirmed: true, at: now) == .init(),
            "it was asked a moment ago")
        let isHeard = path.arrived(at: now)
        #expect(!isHeard)
        path.cancelProbe()
        let isHeardAgain = path.arrived(at: now)
        #expect(isHeardAgain, "a silent path is heard")
        _ = path.enter(.closed, at: now)
        #expect(path.asked(.life, isInitiator: true, isBaseConfirmed: true, at: now) == .init())
    }

    @Test func aSuspectPathIsAskedRarelyWhereNobodyWaits() {
        func waits(_ around: HealthMonitor.Circumstances) -> Interval {
            var path = usable(), now = start
            _ = path.fallSilent(at: now)
            for _ in 0..<30 { _ = missAnswer(&path, &now, around) }
            return path.probe.wait
        }
        #expect(waits(circumstances(isWanted: true)) == Limits.freshSuspectProbe)
        #expect(waits(circumstances(isWanted: false)) == Limits.maximumIdleProbe)
        #expect(waits(circumstances(isFutile: true)) == Limits.maximumFutileProbe)
    }

    @Test func aSizeIsAskedForOnlyWhereNothingElseIs() {
        var path = usable()
        #expect(path.takesRoutineProbe)
        _ = path.probeSent(because: .routine, bound: bound, at: start)
        #expect(!path.takesRoutineProbe)
        path.prepareClosing()
        _ = path.enter(.closed, at: start)
        #expect(!path.takesRoutineProbe)
    }
}

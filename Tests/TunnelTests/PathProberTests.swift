import Measures
import Testing

@testable import Tunnel

/// The probes of a path, by themselves.
@Suite struct PathProberTests {
    private let start = Instant.zero + .seconds(100)
    private let timeout = Interval.milliseconds(80)

    private func circumstances(
        usable: Bool = true, heardAt: Instant = .zero, judges: Bool = true, futile: Bool = false
    ) -> PathProber.Circumstances {
        PathProber.Circumstances(
            isUsable: usable, mayBecomeSuspect: judges, lastArrival: heardAt,
            neededWhileHearing: 3, maximumWait: .milliseconds(200), waitsDouble: futile)
    }

    @Test func twoMissingAnswersMakeAPathSilent() {
        var prober = PathProber()
        #expect(!prober.isOutstanding && prober.deadline == .distantFuture)
        let first = prober.sent(because: .routine, timeout: timeout, at: start)
        #expect(first == start + timeout && prober.deadline == first && prober.isOutstanding)
        let once = prober.timedOut(circumstances())
        #expect(once == .askAgain)
        _ = prober.sent(because: .routine, timeout: timeout, at: first)
        let twice = prober.timedOut(circumstances())
        #expect(twice == .silent)
    }

    @Test func behindASilenceOneIsEnough() {
        var prober = PathProber()
        #expect(!prober.isAskingAboutSilence)
        _ = prober.sent(because: .silence, timeout: timeout, at: start)
        #expect(prober.isAskingAboutSilence)
        let once = prober.timedOut(circumstances())
        #expect(once == .silent)
    }

    @Test func aPathThatIsHeardIsGivenMoreTime() {
        var prober = PathProber()
        var verdicts: [PathProber.Verdict] = []
        for i in 0..<3 {
            let now = start + .milliseconds(100 * Int64(i))
            _ = prober.sent(because: .silence, timeout: timeout, at: now)
            verdicts.append(prober.timedOut(circumstances(heardAt: now)))
        }
        #expect(verdicts == [.askAgain, .askAgain, .silent])
    }

    /// A probe that asks something else meanwhile takes nothing back; an answer does.
    @Test func silenceThatWasAskedAboutCountsUntilAnAnswer() {
        var prober = PathProber()
        _ = prober.sent(because: .silence, timeout: timeout, at: start)
        _ = prober.sent(because: .routine, timeout: timeout, at: start + .milliseconds(1))
        #expect(prober.isAskingAboutSilence)
        let once = prober.timedOut(circumstances())
        #expect(once == .silent)
        for (name, ends) in [
            ("answered", { (prober: inout PathProber) in prober.succeeded() }),
            ("cancelled", { $0.cancel() })
        ] {
            ends(&prober)
            #expect(!prober.isAskingAboutSilence, "\(name)")
            _ = prober.sent(because: .routine, timeout: timeout, at: start + timeout)
            #expect(!prober.isAskingAboutSilence, "\(name)")
            let first = prober.timedOut(circumstances())
            #expect(
                first == .askAgain, "\(name): a missing answer to another question means little")
        }
    }

    @Test func anAnswerBeginsTheCountAnew() {
        var prober = PathProber()
        _ = prober.sent(because: .routine, timeout: timeout, at: start)
        _ = prober.timedOut(circumstances())
        prober.answered(sentAt: nil, at: start + timeout)
        prober.succeeded()
        #expect(!prober.isOutstanding && prober.lastAnswer == start + timeout)
        _ = prober.sent(because: .routine, timeout: timeout, at: start + timeout)
        let once = prober.timedOut(circumstances())
        #expect(once == .askAgain)
    }

    @Test func anExperimentWithoutThisHelpNeverSuspects() {
        var prober = PathProber()
        for _ in 0..<9 {
            _ = prober.sent(because: .routine, timeout: timeout, at: start)
            let verdict = prober.timedOut(circumstances(judges: false))
            #expect(verdict == .askAgain)
        }
    }

    @Test func aSuspectPathIsAskedEverMoreRarely() {
        func waits(futile: Bool) -> [Int64] {
            var prober = PathProber(), waits: [Int64] = []
            for _ in 0..<7 {
                _ = prober.sent(because: .routine, timeout: prober.wait, at: start)
                waits.append(prober.wait.nanoseconds / 1_000_000)
                _ = prober.timedOut(circumstances(usable: false, futile: futile))
            }
            return waits
        }
        #expect(waits(futile: false) == [30, 45, 67, 101, 151, 200, 200])
        #expect(waits(futile: true) == [30, 60, 120, 200, 200, 200, 200])
    }

    @Test func withoutSpaceItIsTriedAgainAndCountsAsBefore() {
        var prober = PathProber()
        let idle = prober.postponed(at: start)
        #expect(idle == start + Limits.suspectProbe && !prober.isOutstanding)
        _ = prober.sent(because: .routine, timeout: timeout, at: start)
        let later = prober.postponed(at: start + .milliseconds(70))
        #expect(prober.deadline == later && later > start + timeout)
    }
}

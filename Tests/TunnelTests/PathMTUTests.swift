import Measures
import Testing

@testable import Tunnel

/// The search for a path's datagram size, one input after the other.
@Suite struct PathMTUTests {
    private static let bound = Interval.milliseconds(100)
    private var now = Instant.zero + .seconds(1)
    private var mtu = PathMTU(base: 1252, ceiling: 1472)

    /// A path that takes `size` bytes: probes are answered after 40 ms, or run into their verdict.
    /// The number sent.
    private mutating func settle(_ size: Int, until limit: Int = 100) -> Int {
        var sent = 0
        while sent < limit {
            if let probe = mtu.takeProbe() {
                sent += 1
                let asked = now
                if probe <= size {
                    now += .milliseconds(40)
                    _ = mtu.answered(size: probe, sentAt: asked, at: now, timeout: Self.bound)
                }
            } else if mtu.deadline < now + .seconds(1) {
                now = max(now, mtu.deadline)
                _ = mtu.advance(
                    to: now, timeout: Self.bound, answered: now, heard: now, isWanted: true)
            } else {
                return sent
            }
        }
        return sent
    }

    /// A path that takes 1,472 bytes is suspected of being a black hole; when.
    private mutating func suspect() -> Instant {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1472)
        now += .seconds(1)
        mtu.sent(1472, at: now)
        let isSuspected = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(isSuspected)
        return now
    }

    @Test mutating func theBaseSizeIsAskedThreeTimesThenEverMoreRarely() {
        #expect(mtu.current == 1252 && !mtu.isBaseConfirmed)
        var asked: [Int64] = []
        for _ in 0..<4_000 {
            if mtu.asksBase(at: now) {
                mtu.askedBase(at: now)
                asked.append((now.nanoseconds - 1_000_000_000) / 1_000_000)
            }
            now += .milliseconds(10)
        }
        #expect(asked.prefix(3) == [0, 10, 20])
        #expect(asked.count < 20 && asked.last! > 25_000)
    }

    /// Both probes are late, and the short one is answered: what was sent later has arrived.
    @Test mutating func fullDataThatArrivesIsNoBlackHole() {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1472)
        now += .seconds(1)
        mtu.sent(1472, at: now)
        #expect(mtu.verifiesSince == nil)
        let isDue = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(isDue && mtu.verifiesSince == now)
        now += .milliseconds(90)
        mtu.fullPassed(at: now, timeout: Self.bound)
        #expect(mtu.verifiesSince == nil && mtu.current == 1472 && !mtu.hasProbe)
        // Nothing that left later has gone unanswered.
        let isDueAgain = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(!isDueAgain)
        now += .seconds(2)
        _ = mtu.advance(to: now, timeout: Self.bound, answered: now, heard: now, isWanted: true)
        #expect(mtu.current == 1472)
    }

    @Test mutating func mostPathsTakeTheLongestAtOnce() {
        mtu.basePassed(at: now, timeout: Self.bound)
        #expect(mtu.isBaseConfirmed && settle(1472) == 1 && mtu.current == 1472)
        #expect(mtu.deadline > now + .seconds(500))
    }

    @Test(arguments: [1252, 1260, 1300, 1372, 1392, 1412, 1464, 1471])
    mutating func theSearchEndsJustBelowWhatPasses(size: Int) {
        mtu.basePassed(at: now, timeout: Self.bound)
        let probes = settle(size)
        #expect(
            probes <= 20 && mtu.current <= size && mtu.current > size - PathMTU.precision - 1,
            "\(mtu.current) after \(probes)")
    }

    @Test mutating func silenceTellsNothingOfSizes() {
        mtu.basePassed(at: now, timeout: Self.bound)
        while mtu.deadline < now + .seconds(1) {
            _ = mtu.takeProbe()
            now = mtu.deadline
            _ = mtu.advance(
                to: now, timeout: Self.bound, answered: .zero, heard: .zero, isWanted: true)
        }
        // The path is back, and takes everything.
        now = mtu.deadline
        _ = mtu.advance(to: now, timeout: Self.bound, answered: now, heard: now, isWanted: true)
        #expect(settle(1472) == 1 && mtu.current == 1472)
    }

    /// Behind a queue that is longer than was thought.
    @Test mutating func aLateAnswerCounts() {
        mtu.basePassed(at: now, timeout: Self.bound)
        let asked = now
        while mtu.takeProbe() == 1472 || mtu.deadline < now + .milliseconds(150) {
            now += Self.bound
            _ = mtu.advance(to: now, timeout: Self.bound, answered: now, heard: now, isWanted: true)
            if now > asked + .milliseconds(400) { break }
        }
        #expect(
            mtu.answered(size: 1472, sentAt: asked, at: now, timeout: Self.bound) == .grew
                && mtu.current == 1472)
        let never = mtu.answered(size: 1900, sentAt: asked, at: now, timeout: Self.bound)
        #expect(never == .none && mtu.current == 1472)
    }

    @Test mutating func aBlackHoleIsFoundWhileShortOnesAreAnswered() {
        let began = suspect()
        #expect(mtu.takeProbe() == 1472 && mtu.takeProbe() == 1472 && mtu.takeProbe() == nil)
        now += .milliseconds(40)
        mtu.shortAnswered(sentAt: began, at: now, margin: .milliseconds(10))
        now = mtu.deadline
        #expect(now - began <= .milliseconds(60))
        let change = mtu.advance(
            to: now, timeout: Self.bound, answered: began, heard: now, isWanted: true)
        #expect(change == .shrank && mtu.current == 1252 && !mtu.isBaseConfirmed)
        // The base size shows that it passes, and after a while what lies above is tried again.
        mtu.basePassed(at: now, timeout: Self.bound)
        #expect(!mtu.hasProbe && mtu.deadline >= now + PathMTU.firstRetry)
        now = mtu.deadline
        _ = mtu.advance(to: now, timeout: Self.bound, answered: now, heard: now, isWanted: true)
        _ = settle(1380)
        #expect(mtu.current > 1370 && mtu.current <= 1380)
    }

    /// A question was under way when the suspicion came: its answer came a few milliseconds later,
    /// and the path's datagrams were cut short though all of them arrived.
    @Test mutating func theAnswerToAnEarlierQuestionTellsNothing() {
        let began = suspect()
        now += .milliseconds(8)
        let earlier = began - .milliseconds(32)
        mtu.shortAnswered(sentAt: earlier, at: now, margin: .milliseconds(10))
        #expect(mtu.deadline == began + Self.bound)
        now = mtu.deadline
        let change = mtu.advance(
            to: now, timeout: Self.bound, answered: earlier, heard: now, isWanted: true)
        #expect(change == .none && mtu.current == 1472)
        // Both are asked again, and a short probe with them.
        let isAsked = mtu.takesShort()
        #expect(isAsked && mtu.takeProbe() == 1472 && mtu.takeProbe() == 1472)
    }

    /// The suspicion came in an outage of 300 ms: what was asked when it was over is answered, what
    /// was asked in it is not, whatever its size.
    @Test mutating func whatWasAskedLaterTellsNothing() {
        let began = suspect()
        _ = (mtu.takeProbe(), mtu.takeProbe())
        let later = began + .milliseconds(30)
        now = later + .milliseconds(40)
        mtu.shortAnswered(sentAt: later, at: now, margin: .milliseconds(10))
        now = mtu.deadline
        let change = mtu.advance(
            to: now, timeout: Self.bound, answered: later, heard: now, isWanted: true)
        #expect(change == .none && mtu.current == 1472)
        // Asked again, both kinds at once, they do.
        let isAsked = mtu.takesShort(), again = now
        #expect(isAsked && mtu.takeProbe() == 1472 && mtu.takeProbe() == 1472)
        now += .milliseconds(40)
        mtu.shortAnswered(sentAt: again, at: now, margin: .milliseconds(10))
        now = mtu.deadline
        let verdict = mtu.advance(
            to: now, timeout: Self.bound, answered: again, heard: now, isWanted: true)
        #expect(verdict == .shrank && mtu.current == 1252)
    }

    /// Where the short probe's answer comes just in time, the full ones' may come a little later.
    @Test mutating func aLateShortAnswerGivesTheFullOnesTime() {
        let began = suspect()
        now += Self.bound - .milliseconds(1)
        mtu.shortAnswered(sentAt: began, at: now, margin: .milliseconds(25))
        #expect(mtu.deadline == now + .milliseconds(25))
        // A later one only brings it forward.
        mtu.shortAnswered(
            sentAt: began + .milliseconds(5), at: now + .milliseconds(5), margin: .milliseconds(25))
        #expect(mtu.deadline == now + .milliseconds(25))
    }

    @Test mutating func aProbeThatIsAnsweredEndsTheSuspicion() {
        let asked = suspect()
        now += .milliseconds(40)
        let change = mtu.answered(size: 1472, sentAt: asked, at: now, timeout: Self.bound)
        let again = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(change == .none && mtu.current == 1472 && !again, "nothing full left since")
    }

    @Test mutating func anOutageIsNoBlackHole() {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1472)
        let answered = now
        now += .seconds(1)
        mtu.sent(1472, at: now)
        _ = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        for _ in 0..<10 where mtu.deadline < now + .seconds(1) {
            now = mtu.deadline
            let change = mtu.advance(
                to: now, timeout: Self.bound, answered: answered, heard: answered, isWanted: true)
            #expect(change == .none)
        }
        #expect(mtu.current == 1472)
    }

    @Test mutating func shortDatagramsAreNeverSuspected() {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1472)
        now += .seconds(1)
        mtu.sent(300, at: now)
        let isSuspected = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(!isSuspected)
    }

    @Test mutating func theBaseSizeIsSuspectedToo() {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1252)
        now += .seconds(1)
        mtu.sent(1252, at: now)
        let isSuspected = mtu.checkForBlackHole(at: now, timeout: Self.bound)
        #expect(isSuspected && !mtu.isBaseConfirmed && mtu.asksBase(at: now))
    }

    @Test mutating func whatTheInterfaceRefusesShrinksAtOnce() {
        mtu.basePassed(at: now, timeout: Self.bound)
        _ = settle(1472)
        #expect(mtu.refused(1000, at: now, timeout: Self.bound) == .none)
        #expect(mtu.refused(1472, at: now, timeout: Self.bound) == .shrank && mtu.current == 1252)
    }
}

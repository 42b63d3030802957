import Measures
import Testing

@testable import Tunnel

/// The values of which a path is made, each by itself.
@Suite struct PathValueTests {
    let start = Instant.zero + .seconds(100)

    // MARK: Lifecycle

    @Test func aPathThatIsOpenedAndAnswersIsUsable() {
        var path = PathLifecycle()
        #expect(!path.isOpen && path.health == .lost)
        let opening = path.enter(.untried(hasAnswered: false), at: start)
        #expect(opening == .init(health: .suspect, endsReport: false, isOpening: true))
        #expect(path.isOpen && path.isUntried && !path.hasAnswered)
        path.answered()
        #expect(path.isUntried && path.hasAnswered)
        let works = path.enter(.usable, at: start + .seconds(1))
        #expect(works == .init(health: .usable, endsReport: false, isOpening: false))
        #expect(path.since == start + .seconds(1) && !path.isUntried && path.hasAnswered)
    }

    @Test func theSameHealthIsNoChange() {
        var path = PathLifecycle()
        let closing = path.enter(.closed, at: start)
        #expect(closing == nil)
        _ = path.enter(.untried(hasAnswered: false), at: start)
        let again = path.enter(.suspect(.reported), at: start)
        #expect(again == nil)
        #expect(path.isUntried, "nothing was entered")
    }

    @Test func trustEndsOnceAndKeepsWhatWasAnswered() {
        var path = PathLifecycle()
        _ = path.enter(.untried(hasAnswered: false), at: start)
        path.answered()
        let ends = path.expireTrial()
        #expect(ends && path.state == .suspect(.answered))
        let endsAgain = path.expireTrial()
        #expect(!endsAgain)
    }

    @Test func aReportedSilenceEndsWithWork() {
        var path = PathLifecycle()
        _ = path.enter(.usable, at: start)
        path.report()
        #expect(!path.isReportedSilent, "a path that works is not silent")
        _ = path.enter(.suspect(.answered), at: start)
        path.report()
        #expect(path.isReportedSilent)
        path.answered()
        #expect(path.isReportedSilent, "an answer alone is not heard of at the peer")
        let works = path.enter(.usable, at: start)
        #expect(works?.endsReport == true)
        #expect(!path.isReportedSilent)
    }

    @Test func whatIsClosedIsNotReported() {
        var path = PathLifecycle()
        _ = path.enter(.usable, at: start)
        _ = path.enter(.suspect(.answered), at: start)
        path.report()
        let closing = path.enter(.closed, at: start)
        #expect(closing?.endsReport == false)
        #expect(!path.isReportedSilent && !path.hasAnswered)
        path.answered()
        path.report()
        #expect(path.state == .closed)
    }

    // MARK: Silence

    @Test func anAnswerIsOverdueAfterItsTimeout() {
        var silence = SilenceDetector()
        let timeout = Interval.milliseconds(80)
        #expect(silence.deadline(timeout: timeout) == .distantFuture)
        let first = silence.sentEliciting(at: start)
        let second = silence.sentEliciting(at: start + .milliseconds(50))
        #expect(first && !second, "it is awaited since the first")
        #expect(silence.deadline(timeout: timeout) == start + timeout)
        let early = silence.isOverdue(timeout: timeout, at: start + .milliseconds(79))
        let late = silence.isOverdue(timeout: timeout, at: start + timeout)
        #expect(!early && late)
    }

    @Test func whatWasSentAMomentAgoIsAwaitedAnew() {
        var silence = SilenceDetector()
        _ = silence.sentEliciting(at: start)
        silence.heard(shortestRTT: .milliseconds(20), at: start + .milliseconds(10))
        #expect(silence.awaitingSince == start + .milliseconds(10))
        silence.heard(shortestRTT: .milliseconds(20), at: start + .milliseconds(20))
        #expect(silence.awaitingSince == .distantFuture, "what came may be the answer")
    }

    /// The silence that is worth a probe, behind arrivals at these distances, in milliseconds.
    private func silence(after distances: [Int64]) -> Interval {
        var streak = ArrivalStreak(), now = start
        _ = streak.extend(at: now)
        for distance in distances {
            now = now + .milliseconds(distance)
            _ = streak.extend(at: now)
        }
        return streak.silentAt - now
    }

    @Test func aSilenceIsLongerThanThePausesOfLate() {
        let voice = silence(after: Array(repeating: 20, count: 50))
        #expect((.milliseconds(45))...(.milliseconds(50)) ~= voice, "not for one that is lost")
        #expect(silence(after: Array(repeating: 1, count: 50)) == Limits.minimumStreakSilence)
        // Bursts: fifteen at once every 15 ms.
        let burst = [Int64](repeating: 0, count: 14) + [15]
        let bursts = [[Int64]](repeating: burst, count: 20).flatMap { $0 }
        #expect(silence(after: bursts) > .milliseconds(20))
        // A stall is remembered for a while, but nothing makes detection slower than it was.
        let stall = [Int64](repeating: 1, count: 20) + [100]
        let after = stall + [Int64](repeating: 1, count: 30)
        #expect(silence(after: after) == Limits.maximumStreakSilence)
        #expect(
            silence(after: after + [Int64](repeating: 1, count: 300)) == Limits.minimumStreakSilence
        )
    }

    /// Data every millisecond: after eight arrivals their end is noticed, within 15 ms.
    @Test func aStreakOfDataThatEndsIsOverdue() {
        var silence = SilenceDetector()
        var now = start
        _ = silence.receivedData(1_400, at: now)
        for i in 1...8 {
            #expect(silence.streak.silentAt == .distantFuture, "\(i)")
            now = now + .milliseconds(1)
            _ = silence.receivedData(1_400, at: now)
        }
        #expect(silence.streak.silentAt == now + Limits.minimumStreakSilence)
        let isOverdue = silence.isOverdue(
            timeout: .seconds(9), at: now + Limits.minimumStreakSilence)
        #expect(isOverdue)
        #expect(silence.streak.silentAt == .distantFuture && silence.streak.count == 0, "once")
    }

    /// Acknowledgements end where nothing is left to acknowledge.
    @Test func aStreakOfAcknowledgementsMayEnd() {
        var silence = SilenceDetector()
        var now = start
        _ = silence.sentEliciting(at: now)
        for _ in 0...8 {
            now = now + .milliseconds(1)
            silence.heard(shortestRTT: .zero, at: now)
            _ = silence.receivedAcknowledgement(at: now)
        }
        #expect(silence.streak.silentAt < .distantFuture)
        let isOverdue = silence.isOverdue(timeout: .seconds(9), at: silence.streak.silentAt)
        #expect(!isOverdue)
    }

    @Test func aPauseBreaksAStreak() {
        var streak = ArrivalStreak()
        var now = start
        for _ in 0...8 {
            _ = streak.extend(at: now)
            now = now + .milliseconds(1)
        }
        #expect(streak.silentAt < .distantFuture)
        _ = streak.extend(at: now + Limits.streakBreak)
        #expect(streak.silentAt == .distantFuture && streak.count == 0)
    }

    // MARK: Frames that wait

    @Test func framesWaitOneBehindAnother() {
        let waiting = WaitingFrames()
        waiting.append(3, work: 100).copyMemory(from: [UInt8](1...3), byteCount: 3)
        waiting.append(2, work: 50).copyMemory(from: [UInt8](4...5), byteCount: 2)
        #expect(waiting.count == 5 && waiting.work == 150)
        #expect(Array(waiting.take()) == [1, 2, 3, 4, 5])
        #expect(waiting.count == 0 && waiting.work == 0 && waiting.take().isEmpty)
    }
}

/// A process that stood still measures a round trip of minutes.
@Test func noRoundTripMakesAPathsTimeOutLongerThanTenSeconds() {
    var path = PathRoundTrip()
    path.add(.milliseconds(30), at: .zero)
    #expect(path.probeTimeout < .milliseconds(120))
    path.add(.seconds(534), at: .zero)
    #expect(path.probeTimeout == .seconds(10))
}

/// Loss by the packet numbers that arrived.
@Suite struct LossMeterTests {
    /// Numbers from 1 on, of which every `n`th is lost.
    private func feed(_ meter: inout LossMeter, upTo last: UInt64, losing n: UInt64) {
        for number in 1...last where !number.isMultiple(of: n) { meter.note(highest: number) }
    }

    /// A measurement ends with the first number that lies 256 behind where it began, and counts for
    /// a quarter.
    @Test(
        arguments: [(256, 0), (257, 0.125), (258, 0.125), (514, 0.125), (515, 0.21875)]
            as [(UInt64, Double)])
    func theShareFollowsInQuarters(last: UInt64, share: Double) {
        var meter = LossMeter()
        feed(&meter, upTo: last, losing: 2)
        #expect(abs(meter.share - share) < 0.002)
    }

    @Test func whatComesOutOfOrderIsNotLost() {
        var meter = LossMeter()
        var highest: UInt64 = 0
        for number in (2...601 as ClosedRange<UInt64>).map({ $0 ^ 1 }) {
            highest = max(highest, number)
            meter.note(highest: highest)
        }
        #expect(meter.share < 0.005)
    }

    /// With new keys the numbers begin again at 1: what lies between is no loss.
    @Test func newKeysAreNoLoss() {
        var meter = LossMeter()
        feed(&meter, upTo: 300, losing: 2)
        let before = meter.share
        #expect(before > 0.1)
        meter.restart()
        for number in 1...256 as ClosedRange<UInt64> { meter.note(highest: number) }
        #expect(meter.share == before, "what was measured stays")
        meter.note(highest: 257)
        #expect(abs(meter.share - before * 3 / 4) < 1e-9)
    }
}

/// Which of a session's connections hear of a change: all of them, each once.
@Suite struct PathChangesTests {
    private func heard(_ changes: inout PathChanges, of count: Int, steps: Int = .max) -> [Int] {
        var places: [Int] = []
        while places.count < steps, let place = changes.next(of: count) { places.append(place) }
        return places
    }

    @Test func eachHearsOnce() {
        var changes = PathChanges()
        #expect(!changes.isPending)
        let first = changes.note(5)
        #expect(changes.isPending && changes.latest == first)
        #expect(heard(&changes, of: 5) == [0, 1, 2, 3, 4])
        #expect(!changes.isPending)
        #expect(heard(&changes, of: 5).isEmpty)
    }

    /// Another change in the middle: all of them, from where the first had come to.
    @Test func aFurtherChangeConcernsAllOfThem() {
        var changes = PathChanges()
        let first = changes.note(5)
        #expect(heard(&changes, of: 5, steps: 3) == [0, 1, 2])
        let second = changes.note(5)
        #expect(second > first)
        #expect(heard(&changes, of: 5) == [3, 4, 0, 1, 2])
    }

    /// The list grows and shrinks under the cursor: no place that isn't there, and an end.
    @Test(
        arguments: [
            (3, 5, [3, 4]), (3, 2, [0, 1]), (3, 1, [0, 0]), (3, 0, []), (4, 9, [4]),
            (0, 9, [0, 1, 2, 3, 4])
        ] as [(Int, Int, [Int])])
    func theListMayChangeMeanwhile(after steps: Int, count: Int, places: [Int]) {
        var changes = PathChanges()
        _ = changes.note(5)
        _ = heard(&changes, of: 5, steps: steps)
        let rest = heard(&changes, of: count)
        #expect(rest == places && !changes.isPending)
    }
}

import Testing

@testable import Measures

struct TimerTests {
    private enum Name: Int, CaseIterable { case first, second, third }
    private func at(_ n: Int64) -> Instant { Instant(nanoseconds: n) }

    @Test func nextIsTheEarliestOfAll() {
        var timers = TimerTable<Name>()
        #expect(timers.next == .distantFuture)
        timers[.second] = at(20)
        timers[.first] = at(30)
        #expect(timers.next == at(20))
        timers[.second] = at(40)
        #expect(timers.next == at(30))
        timers.clear(.first)
        #expect(timers.next == at(40) && !timers.isSet(.first) && timers.isSet(.second))
        timers.bringForward(.third, to: at(35))
        timers.bringForward(.third, to: at(50))
        #expect(timers[.third] == at(35) && timers.next == at(35))
        timers.clearAll()
        #expect(timers.next == .distantFuture)
    }

    @Test func whatIsDueIsGivenOnceInTheOrderOfNames() {
        var timers = TimerTable<Name>()
        timers[.third] = at(10)
        timers[.first] = at(20)
        timers[.second] = at(30)
        let early = timers.takeDue(at: at(9))
        #expect(early == nil)
        var taken: [Name] = []
        while let name = timers.takeDue(at: at(20)) { taken.append(name) }
        #expect(taken == [.first, .third])
        let before = timers.takeIfDue(.second, at: at(29))
        let then = timers.takeIfDue(.second, at: at(30))
        let unset = timers.takeIfDue(.second, at: .distantFuture)
        #expect(!before && then && !unset, "what is not set is never due")
        let none = timers.takeDue(at: .distantFuture)
        #expect(none == nil)
    }

    /// An owner that goes through what is due once is not held by a timer that is always due.
    @Test func whatIsSetAgainMeanwhileWaitsForTheNextRound() {
        var timers = TimerTable<Name>()
        for name in Name.allCases { timers[name] = at(10) }
        var taken: [Name] = [], last: Name?
        while let name = timers.takeDue(at: at(10), after: last, where: { $0 != .second }) {
            taken.append(name)
            timers[name] = at(10)
            last = name
        }
        #expect(taken == [.first, .third], "each once, and those that are wanted")
        #expect(timers.next == at(10) && timers.isSet(.second))
        let again = timers.takeDue(at: at(10), after: .first)
        #expect(again == .second)
    }

    /// Against a plain search, over many random steps.
    @Test func keptMinimumIsTheMinimum() {
        var random = SeededRandom(seed: 7), timers = TimerTable<Name>()
        var model = [Instant](repeating: .distantFuture, count: 3)
        for _ in 0..<10_000 {
            let name = Name.allCases.randomElement(using: &random)!
            let new =
                random.chance(0.3) ? .distantFuture : at(Int64.random(in: 0..<50, using: &random))
            timers[name] = new
            model[name.rawValue] = new
            #expect(timers.next == model.min()!)
        }
    }
}

struct RTTEstimatorTests {
    private func ms(_ n: Int64) -> Interval { .milliseconds(n) }

    /// RFC 6298 sections 2.2 and 2.3.
    @Test func firstSampleAndAverage() {
        var rtt = RTTEstimator(minimumLifetime: .seconds(30), at: .zero)
        #expect(!rtt.isKnown && rtt.minimum == .max)
        rtt.add(ms(80), at: .zero)
        #expect(rtt.smoothed == ms(80) && rtt.variation == ms(40) && rtt.minimum == ms(80))
        rtt.add(ms(160), at: .zero)
        #expect(rtt.smoothed == ms(90) && rtt.variation == ms(50) && rtt.minimum == ms(80))
        #expect(rtt.bound(multiple: 4, minimumVariation: .zero) == ms(290))
        #expect(rtt.bound(multiple: 0, minimumVariation: ms(5)) == ms(95))
    }

    @Test func minimumIsOfTheLastTwoLifetimes() {
        var rtt = RTTEstimator(minimumLifetime: .seconds(30), at: .zero)
        rtt.add(ms(10), at: .zero)
        rtt.add(ms(50), at: .zero + .seconds(31))
        #expect(rtt.minimum == ms(10))
        rtt.add(ms(60), at: .zero + .seconds(62))
        #expect(rtt.minimum == ms(50))
    }

    @Test func expectationIsNoSampleAndIsForgotten() {
        var rtt = RTTEstimator(minimumLifetime: .seconds(30), at: .zero)
        rtt.expect(smoothed: ms(80), variation: ms(8), minimum: ms(70))
        #expect(rtt.isKnown && !rtt.hasSample && rtt.minimum == ms(70))
        rtt.add(ms(160), at: .zero)
        #expect(rtt.smoothed == ms(90) && rtt.hasSample)
        rtt.forget(at: .zero)
        #expect(!rtt.isKnown && !rtt.hasSample && rtt.minimum == .max)
        rtt.add(.zero, at: .zero)
        #expect(rtt.smoothed == RTTEstimator.granularity, "never zero once known")
    }
}

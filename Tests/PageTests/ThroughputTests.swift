import Measures
import Testing

@testable import Page

/// The five minutes that the page draws: what belongs to which second, and how many carriers there
/// may be.
@Suite struct ThroughputTests {
    private func reading(
        _ key: Int, _ series: String, _ up: Int, _ down: Int, rtt: Interval? = nil
    ) -> Throughput.Reading {
        .init(key: key, series: series, up: up, down: down, rtt: rtt)
    }

    @Test func aSecondHasWhatMovedInIt() {
        var throughput = Throughput()
        throughput.take([reading(0, "wifi", 1_000, 5_000)], elapsed: .seconds(1))
        // What moved before anybody looked is in no second.
        #expect(throughput.latest(of: 0) == .init(up: 0, down: 0))
        throughput.take(
            [reading(0, "wifi", 1_500, 7_000, rtt: .milliseconds(30))], elapsed: .seconds(1))
        #expect(throughput.latest(of: 0) == .init(up: 500, down: 2_000, rtt: .milliseconds(30)))
        // Late, so that it is a rate.
        throughput.take([reading(0, "wifi", 2_500, 7_000)], elapsed: .milliseconds(1_250))
        #expect(throughput.latest(of: 0)?.up == 800)
        #expect(throughput.seconds(of: 0).count == Throughput.seconds)
        #expect(throughput.seconds(of: 0).suffix(3).map { $0?.up } == [0, 500, 800])
        #expect(throughput.seconds(of: 0).dropLast(3).allSatisfy { $0 == nil })
    }

    @Test func pathsOfOneUplinkAreOneSeries() {
        var throughput = Throughput()
        for second in 1...2 {
            throughput.take(
                [
                    reading(0, "wifi", second * 100, 0, rtt: .milliseconds(40)),
                    reading(1, "wifi", second * 10, second * 7, rtt: .milliseconds(20))
                ], elapsed: .seconds(1))
        }
        #expect(throughput.series.map(\.name) == ["wifi"])
        #expect(throughput.latest(of: 0) == .init(up: 110, down: 7, rtt: .milliseconds(20)))
    }

    @Test func totalsMayBeginAnew() {
        var throughput = Throughput()
        throughput.take([reading(3, "wifi", 9_000, 9_000)], elapsed: .seconds(1))
        throughput.take([reading(3, "wifi", 40, 50)], elapsed: .seconds(1))
        #expect(throughput.latest(of: 0) == .init(up: 40, down: 50))
        throughput.take([], elapsed: .seconds(1))
        #expect(throughput.latest(of: 0) == nil)
    }

    @Test func secondsThatWereMissedAreUnknown() {
        var throughput = Throughput()
        throughput.take([reading(0, "wifi", 0, 0)], elapsed: .seconds(1))
        throughput.take([reading(0, "wifi", 400, 0)], elapsed: .seconds(4))
        #expect(throughput.seconds(of: 0).suffix(5).map { $0?.up } == [0, nil, nil, nil, 100])
        // A night's sleep.
        throughput.take([reading(0, "wifi", 400, 0)], elapsed: .seconds(40_000))
        #expect(throughput.seconds(of: 0).dropLast().allSatisfy { $0 == nil })
        throughput.take([reading(0, "wifi", 400, 0)], elapsed: .zero)
        throughput.take([reading(0, "wifi", 500, 0)], elapsed: .seconds(-5))
    }

    @Test func carriersAreBounded() {
        var throughput = Throughput()
        let users = (0..<1_000).map { reading($0, "user\($0)", 0, 0) }
        throughput.take(users, elapsed: .seconds(1))
        throughput.take(
            users.map { reading($0.key, $0.series, 10, 1) }, elapsed: .seconds(1))
        #expect(throughput.series.count == Throughput.maximumSeries + 1)
        #expect(throughput.series.last?.name == Throughput.others)
        #expect(throughput.latest(of: Throughput.maximumSeries)?.up == 9_920)
        // Whoever is gone for five minutes makes room.
        for _ in 0..<Throughput.seconds {
            throughput.take([reading(999, "user999", 10, 1)], elapsed: .seconds(1))
        }
        throughput.take([reading(999, "user999", 30, 1)], elapsed: .seconds(1))
        #expect(throughput.series.contains { $0.name == "user999" })
        #expect(throughput.series.count == Throughput.maximumSeries + 1)
    }
}

import Measures
import Testing

@testable import Simulator

/// The checker that streams get what their paths carry, fed by hand: down only, 1,000,000 bytes/s.
@Suite struct RateCheckerTests {
    private let rate = Rate(bytesPerSecond: 1_000_000)

    /// What the checker says after `seconds`, of which `bytesPerSecond` gives the arrivals.
    private func failure(
        after seconds: Int, share: Double = RateChecker.share, disturbedAt: Int? = nil,
        isDue: (Int) -> Bool = { _ in true }, bytesPerSecond: (Int) -> Int
    ) -> String? {
        var checker = RateChecker(), arrived = 0
        for tenth in 0..<(seconds * 10) {
            arrived += bytesPerSecond(tenth / 10) / 10
            if disturbedAt == tenth / 10 { checker.disturbed() }
            checker.look(at: .zero + .milliseconds(Int64(tenth + 1) * 100)) {
                [
                    .init(arrived: arrived, rate: isDue(tenth / 10) ? rate : nil, share: share),
                    .init(arrived: 0)
                ]
            }
        }
        return checker.failure
    }

    @Test func aQuarterOfTheRateIsTooLittle() {
        #expect(failure(after: 20) { $0 < 10 ? 950_000 : 250_000 } != nil)
        #expect(failure(after: 20) { _ in 950_000 } == nil)
    }

    @Test func nothingIsAskedSoonAfterAFault() {
        #expect(failure(after: 6, disturbedAt: 0) { _ in 0 } == nil)
        #expect(failure(after: 16, disturbedAt: 9) { $0 < 9 ? 950_000 : 0 } == nil)
        #expect(failure(after: 18, disturbedAt: 9) { $0 < 9 ? 950_000 : 0 } != nil)
    }

    @Test func nothingIsAskedWhereNothingIsToBeSent() {
        #expect(failure(after: 30, isDue: { $0 % 6 > 0 }, bytesPerSecond: { _ in 0 }) == nil)
    }

    @Test func lessIsAskedWhereBothDirectionsAreFilled() {
        #expect(failure(after: 20, share: RateChecker.shareBothWays) { _ in 250_000 } == nil)
    }
}

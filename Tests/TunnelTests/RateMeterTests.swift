import Measures
import Testing

@testable import Tunnel

@Suite struct RateMeterTests {
    @Test func whatMovedIsForgottenWhenNothingMoves() {
        var meter = RateMeter()
        let start = Instant.zero + .seconds(100)
        for i in 0..<100 { meter.add(10_000, at: start + .milliseconds(10 * Int64(i))) }
        let end = start + .milliseconds(990)
        #expect(meter.value(at: end) > Rate(bytesPerSecond: 500_000))
        for seconds in [3, 8, 600] as [Int64] {
            #expect(meter.value(at: end + .seconds(seconds)) == .zero)
        }
    }
}

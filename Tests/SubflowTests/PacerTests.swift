import Measures
import Testing

@testable import Subflow

@Suite struct PacerTests {
    @Test func aDebtCountedAtASlowerPaceIsForgotten() {
        var pacer = Pacer()
        let start = Instant(nanoseconds: 1_000_000_000)
        pacer.setRate(25e-9, segmentSize: 1436)  // 25 bytes a second
        pacer.sent(2872, at: start)
        #expect(pacer.release > start + .seconds(60))
        pacer.setRate(1e-3, segmentSize: 1436)  // 1 MB a second
        #expect(pacer.release < start + .milliseconds(10))
        #expect(pacer.room(at: start + .milliseconds(10)) > 0)
    }

    // Measurements may say anything: the first rate of a burst that was acknowledged at once, a
    // path of minutes.
    @Test(arguments: [1e-300, 1e-12, 1, 9.3e9, 1e300, .infinity] as [Double])
    func noRateLeavesItsType(_ rate: Double) {
        var pacer = Pacer(), now = Instant(nanoseconds: 1_000_000_000)
        for other in [rate, 1e-300, rate, 1e300, rate] {
            pacer.setRate(other, segmentSize: 1436)
            for _ in 0..<4 {
                _ = pacer.room(at: now)
                pacer.sent(65_535, at: now)
                now += .seconds(100)
            }
            #expect(pacer.rate > .zero)
        }
    }

    @Test func noProductLeavesItsType() {
        let fast = Rate(bytes: .max, in: .nanoseconds(1))
        #expect(
            fast.scaled(by: 2.885).bytesPerSecond == .max && fast.product(2, .seconds(60)) == .max)
        #expect(Rate(bytesPerSecond: 1000).product(2, .milliseconds(100)) == 200)
    }

    // What a first answer of one byte says about the rate is nothing.
    @Test func bbrStartsAtThePaceOfItsInitialWindow() {
        let bbr = BBR(segmentSize: 1436, initialWindow: 14_360)
        var sample = AcknowledgementSample()
        sample.now = Instant(nanoseconds: 40_000_000)
        sample.bytes = 1
        sample.rtt = .milliseconds(40)
        sample.minimumRTT = .milliseconds(40)
        sample.deliveryRate = Rate(bytesPerSecond: 25)
        sample.isApplicationLimited = true
        sample.startsRound = true
        bbr.acknowledged(sample)
        #expect(bbr.pacingRate >= Rate(bytes: 14_360, in: .milliseconds(40)))
    }
}

import Measures
import Testing

@testable import Subflow

@Suite struct BBRTests {
    private var now = Instant.zero + .seconds(1)
    private let bbr = BBR(segmentSize: 1436, initialWindow: 14_360)

    /// One acknowledgement begins a round.
    private mutating func round(
        _ roundTrip: Interval, _ rate: Int64, inFlight: Int, isApplicationLimited: Bool,
        after pause: Interval
    ) {
        now += pause
        var sample = AcknowledgementSample()
        sample.now = now
        sample.bytes = isApplicationLimited ? 100 : 14_360
        sample.priorInFlight = inFlight + sample.bytes
        sample.inFlight = inFlight
        sample.rtt = roundTrip
        sample.minimumRTT = roundTrip
        sample.deliveryRate = Rate(bytesPerSecond: rate)
        sample.startsRound = true
        sample.isApplicationLimited = isApplicationLimited
        sample.isWindowLimited = !isApplicationLimited
        bbr.acknowledged(sample)
    }

    /// A download, then somebody types over the same connection: what the keys need tells nothing
    /// of the line, however their round trips vary.
    @Test mutating func whoTypesDoesNotMakeTheLineSlow() {
        for _ in 0..<30 {
            round(
                .milliseconds(40), 1_600_000, inFlight: 40_000, isApplicationLimited: false,
                after: .milliseconds(40))
        }
        #expect(bbr.phase == .probeBandwidth && bbr.estimate.bytesPerSecond == 1_600_000)
        // The radio sleeps between the keys, and later does not.
        for milliseconds in [130, 130, 130, 130, 40, 40, 70, 40] as [Int64] {
            round(
                .milliseconds(milliseconds), 100_000 / milliseconds, inFlight: 0,
                isApplicationLimited: true, after: .milliseconds(300))
            #expect(bbr.estimate.bytesPerSecond == 1_600_000, "\(milliseconds) ms")
        }
    }
}

import Measures
import Multipath
import Simulator
import Testing

/// An upload's path ends, and the proxy is told: what it had sent is lost with the interface, or
/// arrives from wherever it was.
@Suite struct VisibleLossTests {
    @Test(arguments: HandoverTrial.UnderWay.allCases, [HandoverMode.backup, .single])
    func anUploadGoesOn(underWay: HandoverTrial.UnderWay, mode: HandoverMode) {
        var trial = HandoverTrial(.upload, mode, .visible, seed: 3)
        trial.underWay = underWay
        trial.lossAfter = .seconds(2)
        trial.tail = .seconds(2)
        let record = trial.run()
        #expect(record.failure == nil)
        #expect(record.longestGap < .milliseconds(100), "\(underWay), \(mode)")
    }

    /// An interface closes before anybody hears of it: what leaves in that time is lost, though all
    /// before it arrives.
    @Test(arguments: 2...4 as ClosedRange<UInt64>, [HandoverMode.backup, .single])
    func whatFoundTheInterfaceClosedIsNotWaitedFor(seed: UInt64, mode: HandoverMode) {
        var trial = HandoverTrial(.upload, mode, .visible, seed: seed)
        trial.underWay = .arrives
        trial.closing = .microseconds(seed % 2 == 0 ? 1_500 : 3_000)
        trial.lossAfter = .seconds(2)
        trial.tail = .seconds(2)
        let record = trial.run()
        #expect(record.failure == nil)
        #expect(record.longestGap < .milliseconds(105), "\(mode)")
    }

    /// The two worlds are two: on the way up all that was sent still comes.
    @Test func whatWasSentArrives() {
        func last(_ underWay: HandoverTrial.UnderWay) -> Instant? {
            var trial = HandoverTrial(.upload, .single, .visible, seed: 3)
            trial.underWay = underWay
            trial.lossAfter = .seconds(2)
            trial.tail = .milliseconds(40)
            return trial.run().received.arrivals.last?.at
        }
        #expect(last(.arrives)! >= last(.lost)! + .milliseconds(10))
    }
}

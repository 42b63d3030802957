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

import Measures
import Simulator
import Testing

/// An upload's path ends, and the proxy is told: what it had sent is lost with the interface, or
/// arrives from wherever it was.
@Suite struct VisibleLossTests {
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

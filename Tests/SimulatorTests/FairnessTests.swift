import Measures
import Multipath
import Subflow
import Testing

@testable import Simulator

/// What coupled congestion control is for, on lines of 4 Mbit/s; `braid figures` looks for longer.
@Suite struct FairnessTests {
    private func run(
        _ topology: FairnessTrial.Topology, _ congestion: CongestionAlgorithm
    )
        -> FairnessTrial.Outcome
    {
        var trial = FairnessTrial(topology, congestion, rate: .megabitsPerSecond(4), seed: 1)
        trial.settling = .seconds(8)
        trial.measured = .seconds(topology == .separate ? 4 : 40)
        return trial.run()
    }

    /// Uncoupled, two of three subflows take two thirds: 1.33 times a fair share.
    @Test func throughOneLine() {
        let coupled = run(.shared, .lia), uncoupled = run(.shared, .newReno)
        #expect(coupled.failure == nil && uncoupled.failure == nil)
        #expect(uncoupled.overFairShare > 1.2, "\(uncoupled.overFairShare)")
        #expect(coupled.overFairShare < 1.15, "\(coupled.overFairShare)")
        #expect(coupled.overFairShare > 0.6, "\(coupled.overFairShare)")
    }

    @Test(arguments: [CongestionAlgorithm.lia, .olia, .balia])
    func twoLinesAreBothUsed(_ congestion: CongestionAlgorithm) {
        let outcome = run(.separate, congestion)
        #expect(outcome.failure == nil)
        #expect(outcome.multipath > 0.9 * 8e6, "\(outcome.multipath)")
        #expect(outcome.subflows.allSatisfy { $0 > 0.85 * 4e6 }, "\(outcome.subflows)")
    }
}

/// A minute and a half of a commute in each mode.
@Suite struct CommuteTests {
    @Test(arguments: HandoverMode.allCases) func everyByteArrives(_ mode: HandoverMode) throws {
        let radios = try ["wifi-n950", "3g-n950"].map { try #require(RadioProfile.named($0)) }
        var commute = Commute(seed: 2, mode: mode, radios: radios)
        commute.length = .seconds(90)
        let outcome = commute.run()
        #expect(outcome.failure == nil)
        // What there was to hear, less what is still missing at the end.
        let all = 89 * 50 * commute.chunk
        let read = outcome.log.arrivals.last?.total ?? 0
        #expect(read > all / 2 && read <= all + commute.chunk, "\(read) of \(all)")
        #expect(outcome.energies.allSatisfy { $0.joules > 0 })
        #expect(outcome.waited <= commute.length)
    }
}

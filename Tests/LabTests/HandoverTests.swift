import Measures
import Multipath
import Simulator
import Testing

@testable import Lab

@Suite struct HandoverTests {
    @Test func theMedianLeavesOutWhatNeverHappened() throws {
        let spread = try #require(HandoverReport.Spread([3, nil, 1, 2]))
        #expect(spread.median == 2 && spread.minimum == 1 && spread.maximum == 3)
        #expect(HandoverReport.Spread([4, 1])?.median == 2.5)
        #expect(HandoverReport.Spread([nil]) == nil)
    }

    @Test func aThirdIsTheLimitOfAgreement() {
        func figure(_ measured: [Double?], _ simulated: [Double?]) -> HandoverReport.Figure {
            .init(
                name: .longestGap, unit: "ms", bar: 150, measured: .init(measured),
                simulated: .init(simulated),
                measuredValues: measured, simulatedValues: simulated)
        }
        #expect(!figure([130], [100]).disagrees)
        #expect(figure([151], [100]).disagrees)
        #expect(figure([100], [151]).disagrees)
        #expect(!figure([0], [0]).disagrees)
        #expect(figure([nil], [100]).disagrees)
        #expect(figure([151], []).line.contains("misses the bar"))
        #expect(!figure([150], []).line.contains("misses the bar"))
        #expect(figure([nil, 90], [100]).line.contains("never 1 times"))
    }

    @Test func scenariosHaveNamesAndFiguresOfTheirOwn() {
        let names = HandoverScenario.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(HandoverScenario.all.allSatisfy { !$0.figures.isEmpty })
        let single = HandoverScenario(.download, .single)
        #expect(
            single.figures.contains(.sleepingPackets)
                && HandoverFigure.sleepingPackets.bar(single) == 0)
    }

    /// A call in the modes that copy nothing: what it misses is what it may.
    @Test(
        arguments: [HandoverScenario.Application.udpVoice, .udpVideo], [HandoverMode.full, .single])
    func aCallMissesNoMoreThanItMay(
        _ application: HandoverScenario.Application, _ mode: HandoverMode
    ) throws {
        for loss in HandoverTrial.Loss.allCases {
            let scenario = HandoverScenario(application, mode, loss)
            let values = try scenario.simulate(seed: 2)
            for (figure, value) in zip(scenario.figures, values) {
                let most = try #require(figure.bar(scenario))
                #expect(try #require(value) <= most, "\(scenario.name), \(figure.label)")
            }
        }
    }

    /// The simulated half of a scenario, with values that can be.
    @Test func theSimulatorGivesEveryFigure() throws {
        let scenario = HandoverScenario(.stream, .backup)
        let values = try scenario.simulate(seed: 1)
        #expect(values.count == scenario.figures.count)
        let before = try #require(values[0]), extra = try #require(values[1])
        #expect((15...20).contains(before) && (50...300).contains(extra))
    }
}

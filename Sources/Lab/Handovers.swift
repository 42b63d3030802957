import CLab
import Glibc
import Measures
import Simulator

/// `braid handovers`: handovers of the real programs over emulated links, beside the same in the
/// simulator.
public struct Handovers {
    /// What `braid handovers` can be asked for.
    public struct Options: Sendable {
        /// All of them: about twenty minutes.
        public var scenarios = HandoverScenario.all
        /// On sockets, each.
        public var repetitions = 3
        /// Simulated beside them, each of another seed; 0 for none.
        public var seeds = 9
        /// Where each repetition's logs, configuration and captures stay; nil: nowhere.
        public var folder: String?
        /// The programs, too, go before others: on a machine that is busy with something else.
        public var hurriesPrograms = false
        public init() {}
    }

    private let options: Options
    /// Nothing is built before `run`.
    public init(_ options: Options) { self.options = options }

    /// Runs everything and hands out the table's lines as they come; nil where it was interrupted.
    /// Throws
    /// `LabError` where no lab can be built.
    public func run(_ print: (String) -> Void) throws -> HandoverReport? {
        let signals = try checked(braid_lab_signals(), "a signal descriptor")
        defer { close(signals) }
        _ = try Lab([.wifi()])  // says why there can be none, before anything else
        if let folder = options.folder, mkdir(folder, 0o700) != 0, errno != EEXIST {
            throw LabError("\(folder): \(String(cString: strerror(errno)))")
        }
        // The application's clock must not wait for a time slice; children inherit only niceness.
        if options.hurriesPrograms {
            setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -15)
        } else {
            braid_lab_hurry()
        }
        var report = HandoverReport(repetitions: options.repetitions)
        print(HandoverReport.Figure.head)
        do {
            for scenario in options.scenarios {
                let result = try run(scenario, signals)
                result.lines.forEach(print)
                report.scenarios.append(result)
            }
        } catch is LabInterruption { return nil }
        return report
    }

    private func run(
        _ scenario: HandoverScenario, _ signals: Int32
    ) throws -> HandoverReport.Scenario {
        var failures: [String] = []
        func values(
            _ count: Int, _ what: String, _ one: (UInt64) throws -> [Double?]
        ) throws -> [[Double?]] {
            try (0..<count).compactMap { number in
                do { return try one(UInt64(number) + 1) } catch let error as LabError {
                    failures.append("\(what) \(number + 1): \(error)")
                    return nil
                }
            }
        }
        let measured = try values(options.repetitions, "repetition") { seed in
            let folder = options.folder.map { "\($0)/\(scenario.fileName)-\(seed)" }
            return try scenario.measure(seed: seed, folder: folder, signals: signals)
        }
        let simulated = try values(options.seeds, "seed") { try scenario.simulate(seed: $0) }
        let figures = scenario.figures.enumerated().map { i, figure in
            let there = measured.map { $0[i] }, here = simulated.map { $0[i] }
            return HandoverReport.Figure(
                name: figure, unit: figure.unit, bar: figure.bar(scenario), measured: .init(there),
                simulated: .init(here), measuredValues: there, simulatedValues: here)
        }
        return HandoverReport.Scenario(
            name: scenario.name, application: scenario.application.rawValue,
            mode: scenario.trial.mode.rawValue, loss: scenario.trial.loss.rawValue,
            lost: "\(scenario.trial.lost)", figures: figures,
            failures: failures)
    }
}

extension HandoverScenario {
    /// Its name without what a shell would take apart.
    var fileName: String { String(name.replacing(", ", with: "-").replacing(" ", with: "-")) }
}

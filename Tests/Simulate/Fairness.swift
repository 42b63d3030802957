import Measures
import Simulator
import Subflow

/// `simulate fairness`: two subflows beside plain TCPs, by algorithm, topology and rate. What a
/// plain TCP would have taken is seen by one in their place, with the same seeds.
struct Fairness {
    private let arguments: Simulate.Arguments

    static func run(_ arguments: Simulate.Arguments) {
        let fairness = Fairness(arguments: arguments)
        let topologies = arguments.topology.map { [$0] } ?? FairnessTrial.Topology.allCases
        for topology in topologies {
            for rate in arguments.rates { fairness.compare(topology, rate) }
        }
    }

    private func compare(_ topology: FairnessTrial.Topology, _ rate: Double) {
        if topology == .shared { print(line("TCP", of: shares(plain(rate)))) }
        for algorithm in arguments.congestion.map({ [$0] }) ?? CongestionAlgorithm.allCases {
            let trials = trials(topology, algorithm, rate)
            if topology == .shared {
                print(line(algorithm.rawValue, of: shares(trials)))
                continue
            }
            print("\(topology) \(algorithm.rawValue) \(rate) Mbit/s:", terminator: "")
            for trial in trials { print("  \(described(trial.run(), rate))", terminator: "") }
            print()
        }
        func line(_ name: String, of shares: [Double]) -> String {
            "shared \(name) \(rate) Mbit/s: fair share times \(summary(shares))"
        }
    }

    private func trials(
        _ topology: FairnessTrial.Topology, _ algorithm: CongestionAlgorithm, _ rate: Double
    ) -> [FairnessTrial] {
        arguments.seeds.map { seed in
            var trial = FairnessTrial(
                topology, algorithm, rate: .megabitsPerSecond(rate), seed: seed)
            if topology == .separate { trial.measured = .seconds(20) }
            trial.queue = arguments.queue ?? trial.queue
            trial.measured = arguments.measured ?? trial.measured
            // The plain TCP is one in the place of the better subflow.
            if let trips = arguments.roundTrips, let least = trips.min() {
                trial.roundTrips = trips
                trial.plainRoundTrip = least
            }
            return trial
        }
    }

    private func plain(_ rate: Double) -> [FairnessTrial] {
        trials(.shared, .newReno, rate).map {
            var trial = $0
            trial.roundTrips = [trial.plainRoundTrip]
            return trial
        }
    }

    private func shares(_ trials: [FairnessTrial]) -> [Double] {
        trials.map { trial in
            let outcome = trial.run()
            if let wrong = outcome.failure { print("seed \(trial.seed): FAILED \(wrong)") }
            return outcome.overFairShare
        }
    }

    /// Mean, its standard error, and the ends.
    private func summary(_ values: [Double]) -> String {
        let count = Double(values.count), mean = values.reduce(0, +) / count
        let spread = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let error = count > 1 ? (spread / (count - 1) / count).squareRoot() : 0
        func show(_ x: Double) -> String { "\((x * 1000).rounded() / 1000)" }
        return "\(show(mean)) +- \(show(error)) (\(show(values.min() ?? 0)) to "
            + "\(show(values.max() ?? 0)), \(values.count) seeds)"
    }

    /// Thousandths of a line's rate: each subflow, each plain TCP, all.
    private func described(_ outcome: FairnessTrial.Outcome, _ rate: Double) -> String {
        func show(_ x: Double) -> String { String(Int(x / (rate * 1e6) * 1000 + 0.5)) }
        let whole = outcome.multipath + outcome.plain.reduce(0, +)
        return outcome.subflows.map(show).joined(separator: "+")
            + (outcome.plain.isEmpty
                ? "" : " / " + outcome.plain.map(show).joined(separator: ","))
            + " of \(show(whole))" + (outcome.failure.map { " FAILED \($0)" } ?? "")
    }
}

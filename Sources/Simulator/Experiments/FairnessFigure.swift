import Measures
import Subflow

/// What coupled congestion control is for (the paper's section 2 rests on it): two subflows through
/// one bottleneck take what one TCP would, and two lines of their own they fill both.
extension Figures {
    /// What is compared, the uncoupled first.
    private static let algorithms: [(CongestionAlgorithm, String)] = [
        (.newReno, "#8a5aa8"), (.lia, "#0072b2"), (.olia, "#009e73"), (.balia, "#d55e00")
    ]
    private static let rates = [1.0, 2, 4, 8]

    /// One algorithm on lines of each rate: means over the seeds.
    private struct Fairness {
        var name: String
        var color: String
        /// Of the connection over half of the line, through which a plain TCP goes, too.
        var shared: [Double] = []
        /// The connection's share of two lines of its own.
        var separate: [Double] = []
    }

    func fairness(_ summary: inout Summary) throws -> [FigureFile] {
        let curves = try Self.algorithms.map { try fairness($0.0, color: $0.1) }
        var table = CommaTable(
            ["Mbit/s of a line"]
                + curves.flatMap {
                    [
                        "\($0.name): over a fair share of one line",
                        "\($0.name): share of two lines of its own"
                    ]
                })
        for (i, rate) in Self.rates.enumerated() {
            table.row(
                [rate.short(1)]
                    + curves.flatMap { [$0.shared[i].fixed(3), $0.separate[i].fixed(3)] })
        }
        summary.congestion(curves.map { ($0.name, $0.shared, $0.separate) })
        func panel(
            _ title: String, _ label: String, _ top: Double, _ value: (Fairness) -> [Double]
        )
            -> Chart.Panel
        {
            Chart.Panel(
                title: title, yLabel: label, y: 0...top,
                series: curves.map {
                    Chart.Series(
                        name: $0.name, color: $0.color, style: .marked,
                        points: Array(zip(Self.rates, value($0))))
                }, height: 170)
        }
        let chart = Chart(
            title: "Two subflows beside plain TCP",
            subtitle: "Goodput over 100 s, mean of \(fairnessRuns) runs",
            xLabel: "rate of a line, Mbit/s", x: 0...(Self.rates.last! + 1),
            panels: [
                panel(
                    "both subflows and one TCP through one line", "over a fair share", 2, \.shared),
                panel("a line for each subflow, nobody else", "of both lines", 1, \.separate)
            ], note: "Round trips of 40 ms and a queue of 60 ms, drop-tail; plain TCP is NewReno.")
        return [
            table.file("congestion.csv"), FigureFile(name: "congestion.svg", text: chart.svg())
        ]
    }

    private var fairnessRuns: Int { max(1, runs / 6) }

    private func fairness(_ algorithm: CongestionAlgorithm, color: String) throws -> Fairness {
        var curve = Fairness(
            name: algorithm == .newReno ? "uncoupled" : algorithm.rawValue.uppercased(),
            color: color)
        for rate in Self.rates {
            func mean(
                _ topology: FairnessTrial.Topology, _ value: (FairnessTrial.Outcome) -> Double
            ) throws -> Double {
                var sum = 0.0
                for run in 0..<fairnessRuns {
                    var trial = FairnessTrial(
                        topology, algorithm, rate: .megabitsPerSecond(rate),
                        seed: seed &* 10_007 &+ UInt64(run))
                    // Who is alone has no others' losses to wait for.
                    if topology == .separate { trial.measured = .seconds(20) }
                    let outcome = trial.run()
                    if let wrong = outcome.failure {
                        throw Failure(description: "congestion, run \(trial.seed): \(wrong)")
                    }
                    sum += value(outcome)
                }
                return sum / Double(fairnessRuns)
            }
            curve.shared.append(try mean(.shared) { $0.overFairShare })
            curve.separate.append(try mean(.separate) { $0.multipath / (2e6 * rate) })
        }
        return curve
    }
}

extension Summary {
    mutating func congestion(_ rows: [(name: String, shared: [Double], separate: [Double])]) {
        func range(_ values: [Double]) -> String {
            "\((values.min() ?? 0).fixed(2)) to \((values.max() ?? 0).fixed(2))"
        }
        for row in rows {
            self.row(
                "Coupling, \(row.name): over a fair share of one line; of two lines of its own",
                full: "\(range(row.shared)); \(range(row.separate))")
        }
    }
}

import Measures
import Simulator
import Subflow

/// `simulate fairness`: two subflows beside plain TCPs, by algorithm, topology and rate.
enum Fairness {
    static func run(_ arguments: Simulate.Arguments) {
        let algorithms = arguments.congestion.map { [$0] } ?? CongestionAlgorithm.allCases
        for (name, topology) in [
            ("shared", FairnessTrial.Topology.shared), ("separate", .separate),
            ("contended", .contended)
        ] {
            for algorithm in algorithms {
                for rate in [1.0, 2, 5, 10, 20] {
                    var line = "\(name) \(algorithm.rawValue) \(rate) Mbit/s:"
                    var shares = 0.0
                    for seed in arguments.seeds {
                        var trial = FairnessTrial(
                            topology, algorithm, rate: .megabitsPerSecond(rate), seed: seed)
                        if topology == .separate { trial.measured = .seconds(20) }
                        // The plain TCP is one in the place of the better subflow.
                        if let trips = arguments.roundTrips, let least = trips.min() {
                            trial.roundTrips = trips
                            trial.plainRoundTrip = least
                        }
                        let o = trial.run()
                        shares += o.overFairShare
                        let whole = o.multipath + o.plain.reduce(0, +)
                        func show(_ x: Double) -> String {
                            String(Int(x / (rate * 1e6) * 1000 + 0.5))
                        }
                        line +=
                            "  \(o.subflows.map(show).joined(separator: "+"))"
                            + (o.plain.isEmpty
                                ? "" : " / " + o.plain.map(show).joined(separator: ","))
                            + " of \(show(whole))" + (o.failure.map { " FAILED \($0)" } ?? "")
                    }
                    if topology == .shared {
                        line += "  fair share times \(shares / Double(arguments.seeds.count))"
                    }
                    print(line)
                }
            }
        }
    }
}

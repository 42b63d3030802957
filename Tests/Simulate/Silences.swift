import Measures
import Multipath
import Simulator

/// `simulate silences [--seeds A..B] [--trace]`: downloads whose WiFi goes silent, in sessions of
/// every age.
enum Silences {
    static func run(_ arguments: Simulate.Arguments) -> Bool {
        var failed = 0, shares: [Double] = []
        for seed in arguments.seeds {
            let trial = SilentLossTrial(seed: seed)
            if arguments.trace { Simulate.describe(trial.scenario) }
            let outcome = trial.run { world in
                guard arguments.trace else { return }
                Simulate.traceDatagrams(
                    world, from: trial.lossAt - .milliseconds(200),
                    to: trial.lossAt + .seconds(12))
            }
            shares.append(outcome.minimumShare)
            let minimum = (outcome.minimumShare * 1000).rounded() / 1000,
                share = (outcome.share * 1000).rounded() / 1000
            if outcome.failure != nil || outcome.minimumShare < 0.8 * 0.957 || arguments.trace {
                failed += 1
                print(
                    "seed \(seed): \(trial.mode) loss at \(Simulate.stamp(trial.lossAt)), share \(share), minimum \(minimum)"
                        + " at \(Simulate.stamp(outcome.minimumAt)), gap \(outcome.longestGap.milliseconds) ms"
                        + (outcome.isAsleep ? ", radio sleeps" : "")
                        + (outcome.failure.map { ": \($0)" } ?? ""))
            }
        }
        shares.sort()
        print(
            "\(arguments.seeds.count - failed) passed, \(failed) failed; minimum share of three seconds: "
                + "\(shares.first ?? 0), median \(shares[shares.count / 2])")
        return failed == 0
    }
}

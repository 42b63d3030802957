import Measures
import Simulator

/// `simulate signals [--seeds A..B]`: the news of a lost uplink is lost itself, in a world for
/// every seed.
enum Signals {
    static func run(_ arguments: Simulate.Arguments) -> Bool {
        var passed = 0, failed = 0, lost = 0, bytes = 0
        var untilSignal: [Interval] = [], untilOff: [Interval] = []
        for seed in arguments.seeds {
            let trial = SignalTrial(seed: seed)
            if arguments.trace { describe(trial) }
            let result = trial.run { if arguments.trace { Simulate.traceDatagrams($0) } }
            var failure = result.failure
            if failure == nil, arguments.twice, trial.run().trace != result.trace {
                failure = "not the same trace again"
            }
            if let failure {
                failed += 1
                print("seed \(seed): \(failure)")
            } else {
                passed += 1
            }
            lost += trial.losses
            bytes += result.bytes
            if let interval = result.untilSignal { untilSignal.append(interval) }
            if let interval = result.untilOff { untilOff.append(interval) }
        }
        func show(_ values: [Interval]) -> String {
            let sorted = values.sorted()
            guard let last = sorted.last else { return "never" }
            return
                "\(Int(sorted[sorted.count / 2].milliseconds)) ms (at most \(Int(last.milliseconds)))"
        }
        print(
            "the first signal arrives after \(show(untilSignal)), the last datagram on the dead path "
                + "\(show(untilOff)) later; \(untilSignal.count) worlds in which it came before the uplink"
        )
        print(
            "\(passed) passed, \(failed) failed (signals: \(lost) lost by number, \(bytes) bytes checked)"
        )
        return failed == 0
    }

    static func describe(_ trial: SignalTrial) {
        Simulate.describe(trial.scenario)
        print(
            "mode \(trial.mode), signals lost \(trial.losses) times, "
                + "all until \(Simulate.stamp(trial.losesUntil))")
    }
}

import Measures
import Multipath
import Simulator

/// `simulate handovers [--seeds A..B]`: the bar's handovers, each over the seeds: median (least to
/// most).
enum Handovers {
    /// One trial, datagram by datagram from 20 ms before its loss to 600 ms after.
    static func trace(_ words: [String], seed: UInt64) {
        func has(_ word: String) -> Bool { words.contains(word) }
        let mode = HandoverMode.allCases.first { has($0.rawValue) } ?? .full
        let application =
            has("upload")
            ? HandoverTrial.Application.upload
            : has("stream") ? .paperStream : .download
        var trial = HandoverTrial(application, mode, has("silent") ? .silent : .visible, seed: seed)
        if has("asleep") {
            trial.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
        }
        if has("return") { trial.returnAfter = .seconds(3) }
        let record = trial.run { world in
            let from = (trial.returnAt ?? trial.lossAt) - .milliseconds(20), to = from + .seconds(4)
            Simulate.traceDatagrams(world, from: from, to: to)
        }
        print("loss at \(Simulate.stamp(trial.lossAt)); gap \(record.longestGap.milliseconds) ms")
    }

    struct Row {
        var name: String
        var bar: String
        var values: [Double?]
        var text: String {
            let known = values.compactMap { $0 }.sorted()
            guard !known.isEmpty else { return "\(name)  never" }
            let never = values.count - known.count
            func show(_ v: Double) -> String { "\((v * 10).rounded() / 10)" }
            return pad(name, 44) + pad(show(known[known.count / 2]), 9)
                + pad("\(show(known.first!)) to \(show(known.last!))", 20)
                + pad(bar, 8) + (never > 0 ? "never \(never) times" : "")
        }
        private func pad(_ s: String, _ n: Int) -> String {
            s + String(repeating: " ", count: max(1, n - s.count))
        }
    }

    static func run(seeds: Range<UInt64>) -> Bool {
        var failed = false
        func rows(
            _ trial: (UInt64) -> HandoverTrial,
            _ parts: [(String, String, (HandoverRecord) -> Interval?)]
        ) {
            var values = parts.map { _ in [Double?]() }
            for seed in seeds {
                let record = trial(seed).run()
                if let wrong = record.failure { print("seed \(seed): \(wrong)"); failed = true }
                for i in parts.indices {
                    values[i].append(parts[i].2(record).map { Double($0.nanoseconds) / 1e6 })
                }
            }
            for i in parts.indices {
                print(Row(name: parts[i].0, bar: parts[i].1, values: values[i]).text)
            }
        }
        for mode in HandoverMode.allCases {
            for loss in HandoverTrial.Loss.allCases {
                for (name, application) in [
                    ("download", HandoverTrial.Application.download),
                    ("upload", .upload)
                ] {
                    let label = "\(mode) \(loss) \(name)"
                    rows(
                        { HandoverTrial(application, mode, loss, seed: $0) },
                        [
                            ("\(label) gap", loss == .visible ? "150" : "300", { $0.longestGap }),
                            ("\(label) 80 %", loss == .visible ? "300" : "500", { $0.recovery })
                        ])
                    rows(
                        {
                            var t = HandoverTrial(application, mode, loss, seed: $0)
                            t.lost = .cellular
                            return t
                        }, [("\(label) gap, cellular lost", "", { $0.longestGap })])
                    rows(
                        {
                            var t = HandoverTrial(application, mode, loss, seed: $0)
                            t.returnAfter = .milliseconds(3000 + 137 * Int64($0 % 16))
                            return t
                        },
                        [
                            (
                                "\(label) WiFi back", loss == .visible ? "150" : "100",
                                { $0.timeToReturn }
                            )
                        ])
                }
                let bar = loss == .silent ? "230" : mode == .full ? "90" : "120"
                rows(
                    { HandoverTrial(.paperStream, mode, loss, seed: $0) },
                    [
                        ("\(mode) \(loss) stream delay before", "18", { $0.delayBefore }),
                        ("\(mode) \(loss) stream extra", bar, { $0.extraDelay })
                    ])
                rows(
                    {
                        var t = HandoverTrial(.paperStream, mode, loss, seed: $0)
                        t.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
                        return t
                    },
                    [
                        (
                            "\(mode) \(loss) stream extra, asleep", mode == .full ? "90" : "2200",
                            { $0.extraDelay }
                        )
                    ])
            }
        }
        return !failed
    }
}

import Measures
import Multipath
import Simulator

/// `simulate handovers [MODE] [APPLICATION] [LOSS] [--seeds A..B]`: the bar's handovers, each over
/// the seeds: median (least to most).
struct Handovers {
    /// One trial, datagram by datagram from 20 ms before its loss to 600 ms after.
    static func trace(_ words: [String], seed: UInt64) {
        func has(_ word: String) -> Bool { words.contains(word) }
        let mode = HandoverMode.allCases.first { has($0.rawValue) } ?? .full
        let application: HandoverTrial.Application =
            has("upload")
            ? .upload
            : has("stream") ? .paperStream : has("voice") || has("video") ? .nothing : .download
        var trial = HandoverTrial(application, mode, has("silent") ? .silent : .visible, seed: seed)
        if has("asleep") {
            trial.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
        }
        trial.call = has("video") ? .video : has("voice") || has("voice-download") ? .voice : nil
        if has("return") { trial.returnAfter = .seconds(3) }
        if has("arrives") { trial.underWay = .arrives }
        let record = trial.run { world in
            let from = (trial.returnAt ?? trial.lossAt) - .milliseconds(20), to = from + .seconds(4)
            Simulate.traceDatagrams(world, from: from, to: to)
        }
        print("loss at \(Simulate.stamp(trial.lossAt)); gap \(record.longestGap.milliseconds) ms")
        if let call = record.call {
            list(call.up, record.callDelay(\.up), "up", trial)
            list(call.down, record.callDelay(\.down), "down", trial)
        }
    }

    /// The datagrams of a call that were missed, by when they were due.
    private static func list(
        _ log: CallLog, _ usual: Interval?, _ name: String, _ trial: HandoverTrial
    ) {
        guard let usual else { return }
        for (number, sent) in log.delays.enumerated()
        where sent.delay.map({ $0 > usual + .milliseconds(150) }) ?? true {
            let took = sent.delay.map { "took \($0.milliseconds) ms" } ?? "never came"
            print(
                "\(name) \(number), due \((sent.due - trial.lossAt).milliseconds) ms after the loss: \(took)"
            )
        }
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

    /// Those of the words' modes, applications and losses; all where they name none.
    static func run(_ words: [String], seeds: Range<UInt64>) -> Bool {
        var table = Handovers(words: words, seeds: seeds)
        for mode in HandoverMode.allCases where table.wants(mode.rawValue, of: modes) {
            for loss in HandoverTrial.Loss.allCases where table.wants(loss.rawValue, of: losses) {
                table.bulk("download", .download, mode, loss)
                table.bulk("upload", .upload, mode, loss)
                table.stream(mode, loss)
                table.call("voice", .voice, .nothing, mode, loss)
                table.call("video", .video, .nothing, mode, loss)
                table.call("voice-download", .voice, .download, mode, loss)
            }
        }
        return !table.failed
    }

    private static let modes = HandoverMode.allCases.map(\.rawValue)
    private static let losses = HandoverTrial.Loss.allCases.map(\.rawValue)
    private static let applications = [
        "download", "upload", "stream", "voice", "video", "voice-download"
    ]
    private let words: [String]
    private let seeds: Range<UInt64>
    private var failed = false

    private init(words: [String], seeds: Range<UInt64>) {
        self.words = words
        self.seeds = seeds
    }

    private func wants(_ word: String, of alternatives: [String]) -> Bool {
        words.contains(word) || !alternatives.contains { words.contains($0) }
    }

    private mutating func rows(
        _ trial: (UInt64) -> HandoverTrial,
        _ parts: [(name: String, bar: String, value: (HandoverRecord) -> Interval?)]
    ) {
        var values = parts.map { _ in [Double?]() }
        for seed in seeds {
            let record = trial(seed).run()
            if let wrong = record.failure { print("seed \(seed): \(wrong)"); failed = true }
            for i in parts.indices {
                values[i].append(parts[i].value(record).map { Double($0.nanoseconds) / 1e6 })
            }
        }
        for i in parts.indices {
            print(Row(name: parts[i].name, bar: parts[i].bar, values: values[i]).text)
        }
    }

    private mutating func bulk(
        _ name: String, _ application: HandoverTrial.Application, _ mode: HandoverMode,
        _ loss: HandoverTrial.Loss
    ) {
        guard wants(name, of: Self.applications) else { return }
        let label = "\(mode) \(loss) \(name)"
        let gap =
            loss == .visible ? name == "upload" ? "120" : "150" : mode == .full ? "300" : "170"
        rows(
            { HandoverTrial(application, mode, loss, seed: $0) },
            [
                ("\(label) gap", gap, { $0.longestGap }),
                ("\(label) 80 %", loss == .visible ? "300" : "500", { $0.recovery })
            ])
        rows(
            {
                var t = HandoverTrial(application, mode, loss, seed: $0)
                t.lost = .cellular
                return t
            }, [("\(label) gap, cellular lost", "", { $0.longestGap })])
        if loss == .visible {
            rows(
                {
                    var t = HandoverTrial(application, mode, loss, seed: $0)
                    t.underWay = .arrives
                    return t
                },
                [
                    ("\(label) gap, sent arrives", gap, { $0.longestGap }),
                    ("\(label) 80 %, sent arrives", "300", { $0.recovery })
                ])
        }
        rows(
            {
                var t = HandoverTrial(application, mode, loss, seed: $0)
                t.returnAfter = .milliseconds(3000 + 137 * Int64($0 % 16))
                return t
            }, [("\(label) WiFi back", "100", { $0.timeToReturn })])
    }

    private mutating func stream(_ mode: HandoverMode, _ loss: HandoverTrial.Loss) {
        guard wants("stream", of: Self.applications) else { return }
        let bar =
            switch (loss, mode) {
            case (_, .full): "90"
            case (.visible, _): "120"
            case (.silent, .backup): "150"
            case (.silent, .single): "170"
            }
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

    private mutating func call(
        _ name: String, _ call: CallPlan, _ application: HandoverTrial.Application,
        _ mode: HandoverMode, _ loss: HandoverTrial.Loss
    ) {
        guard wants(name, of: Self.applications) else { return }
        let isFull = mode == .full, isSilent = loss == .silent
        let bar: String, delay: String
        switch name {
        case "voice": (bar, delay) = (isFull ? "20" : isSilent ? "200" : "60", "17")
        case "video":
            (bar, delay) = (isSilent ? isFull ? "150" : "250" : isFull ? "30" : "100", "17")
        default: (bar, delay) = ("", "25")
        }
        let label = "\(mode) \(loss) \(name)"
        rows(
            {
                var t = HandoverTrial(application, mode, loss, seed: $0)
                t.call = call
                t.returnAfter = .milliseconds(3000 + 137 * Int64($0 % 16))
                return t
            },
            [
                ("\(label) usual down", delay, { $0.callDelay(\.down) }),
                ("\(label) usual up", delay, { $0.callDelay(\.up) }),
                ("\(label) missed down", bar, { $0.missed(\.down) }),
                ("\(label) missed up", bar, { $0.missed(\.up) })
            ])
    }
}

import Measures
import Multipath

/// Figures 2a and 2b: the application delay of a 500 kbit/s stream to the client; blocks carry the
/// time they were made at, the receiver notes the time they came at.
extension Figures {
    private static let seconds: ClosedRange<Double> = -1...5

    /// The blocks of all runs of one mode, by their number relative to the first block after the
    /// loss.
    private struct Delays {
        var mode: HandoverMode
        var byBlock: [[Double]]
        var before: [Interval?] = []
        var largest: [Interval?] = []
        static let first = Int(Figures.seconds.lowerBound * 100)

        init(_ mode: HandoverMode) {
            self.mode = mode
            byBlock = Array(
                repeating: [], count: Int(Figures.seconds.upperBound * 100) - Self.first)
        }

        mutating func add(_ record: HandoverRecord) {
            let samples = record.received.delays
            guard let loss = samples.firstIndex(where: { $0.at >= record.trial.lossAt }) else {
                return
            }
            for i in byBlock.indices where samples.indices.contains(loss + Self.first + i) {
                byBlock[i].append(samples[loss + Self.first + i].delay.milliseconds)
            }
            before.append(record.delayBefore)
            largest.append(samples[max(0, loss - 100)...].map(\.delay).max())
        }

        /// Seconds since the loss and milliseconds of the median run's delay.
        var points: [(x: Double, y: Double)] {
            byBlock.indices.compactMap { i in
                byBlock[i].median.map { (Double(Self.first + i) / 100, $0) }
            }
        }
    }

    func applicationDelay(_ summary: inout Summary) throws -> [FigureFile] {
        var files: [FigureFile] = []
        for (letter, asleep) in [("a", true), ("b", false)] {
            let modes = try HandoverMode.allCases.map { try delays($0, asleep: asleep) }
            let words = asleep ? "cellular radio asleep until used" : "cellular radio awake"
            let before = modes.map { $0.before.milliseconds() }
            let largest = modes.map { $0.largest.milliseconds() }
            if !asleep {
                summary.row(
                    "Fig. 2: stream, delay before the loss, ms", full: before[0], backup: before[1],
                    single: before[2])
            }
            summary.row(
                "Fig. 2\(letter): stream, largest delay, ms, \(words)", full: largest[0],
                backup: largest[1], single: largest[2])
            files.append(table(modes, letter))
            files.append(
                FigureFile(name: "figure-2\(letter).svg", text: chart(modes, letter, words).svg()))
        }
        return files
    }

    private func delays(_ mode: HandoverMode, asleep: Bool) throws -> Delays {
        var delays = Delays(mode)
        for run in 0..<runs {
            var trial = trial(.paperStream, mode, run: run, asleep: asleep)
            // Whatever was made by the end of the picture shall have arrived.
            trial.tail = .seconds(8)
            delays.add(try checked(trial.run(), "figure 2"))
        }
        return delays
    }

    private func table(_ modes: [Delays], _ letter: String) -> FigureFile {
        let names = modes.map { Self.name($0.mode) }
        var table = CommaTable(
            ["block made at seconds since the loss"]
                + names.flatMap { ["\($0) median ms", "\($0) largest ms"] })
        for i in modes[0].byBlock.indices {
            table.row(
                [(Double(Delays.first + i) / 100).fixed(2)]
                    + modes.flatMap {
                        [$0.byBlock[i].median?.fixed(2) ?? "", $0.byBlock[i].max()?.fixed(2) ?? ""]
                    })
        }
        return table.file("figure-2\(letter).csv")
    }

    private func chart(_ modes: [Delays], _ letter: String, _ words: String) -> Chart {
        let maximum = modes.flatMap(\.points).map(\.y).max() ?? 1
        let step = Chart.step(maximum * 1.15, maximum: 8)
        let series = modes.map {
            Chart.Series(name: Self.name($0.mode), color: Self.color($0.mode), points: $0.points)
        }
        return Chart(
            title: "Application delay of a 500 kbit/s stream when WiFi is lost",
            subtitle: "Median of \(runs) runs, \(words) (figure 2\(letter) of the paper)",
            xLabel: "when the block was made, s since the loss of WiFi", x: Self.seconds,
            panels: [
                .init(
                    yLabel: "delay, ms", y: 0...((maximum * 1.15 / step).rounded(.up) * step),
                    series: series, height: 330, yStep: step)
            ],
            marks: [.init(x: 0, text: "WiFi lost")], note: Self.cellularNote)
    }
}

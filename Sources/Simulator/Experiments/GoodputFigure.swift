import Measures
import Multipath
import Subflow

/// Figure 1: goodput of a download in bins of 200 ms around the loss of WiFi, averaged over the
/// runs.
extension Figures {
    private static let binWidth = Interval.milliseconds(200)
    /// Seconds shown before and after the loss.
    private static let before = 2, after = 6
    /// A radio that sleeps is awake by then.
    private static let handoverEnds = Interval.milliseconds(2500)

    /// One curve: every run's arrivals, added up.
    private struct Curve {
        var name: String
        var color: String
        var isDashed = false
        var bits: [Double]
        var runs = 0
        var gaps: [Interval?] = []
        var recoveries: [Interval?] = []

        init(_ name: String, _ color: String, isDashed: Bool = false) {
            self.name = name
            self.color = color
            self.isDashed = isDashed
            bits = [Double](repeating: 0, count: (Figures.before + Figures.after) * 5)
        }

        mutating func add(_ log: ReceptionLog, lossAt: Instant, rate: Rate) {
            runs += 1
            let from = lossAt - .seconds(Int64(Figures.before))
            var total = 0
            for arrival in log.arrivals {
                if arrival.at >= from {
                    let bin = Int((arrival.at - from).nanoseconds / Figures.binWidth.nanoseconds)
                    if bin < bits.count { bits[bin] += Double(8 * (arrival.total - total)) }
                }
                total = arrival.total
            }
            // Later ones have other reasons.
            let gap = log.longestGap(from: lossAt, to: lossAt + Figures.handoverEnds)
            gaps.append(gap)
            recoveries.append(log.recovery(after: lossAt, gap: gap, rate: rate))
        }

        /// Seconds from the loss to the middle of each bin, and Mbit/s.
        var points: [(x: Double, y: Double)] {
            bits.indices.map { i in
                (
                    (Double(i) + 0.5) * Figures.binWidth.seconds - Double(Figures.before),
                    bits[i] / Double(max(1, runs)) / Figures.binWidth.seconds / 1e6
                )
            }
        }
    }

    func goodput(_ summary: inout Summary) throws -> [FigureFile] {
        let asleep = try curves(asleep: true), awake = try curves(asleep: false)
        var table = CommaTable(
            ["seconds since the loss"] + asleep.map { "\($0.name) radio asleep Mbit/s" }
                + awake.map { "\($0.name) radio awake Mbit/s" })
        for i in asleep[0].points.indices {
            table.row(
                [asleep[0].points[i].x.fixed(1)] + (asleep + awake).map { $0.points[i].y.fixed(4) })
        }
        for (words, curves) in [("cellular radio awake", awake), ("cellular radio asleep", asleep)]
        {
            let gaps = curves.map { $0.gaps.seconds(2) },
                rates = curves.map { $0.recoveries.seconds(2) }
            summary.row(
                "Fig. 1: download, longest time without a byte, s, \(words)", full: gaps[0],
                backup: gaps[1], single: gaps[2], application: gaps[3])
            summary.row(
                "Fig. 1: 80 % of the cellular rate again after, s, \(words)", full: rates[0],
                backup: rates[1], single: rates[2], application: rates[3])
        }
        func panel(_ title: String, _ curves: [Curve]) -> Chart.Panel {
            Chart.Panel(
                title: title, yLabel: "goodput, Mbit/s", y: 0...10,
                series: curves.map {
                    Chart.Series(
                        name: $0.name, color: $0.color, style: $0.isDashed ? .dashed : .line,
                        points: $0.points)
                }, height: 230)
        }
        let chart = Chart(
            title: "Goodput of a download when WiFi is lost",
            subtitle: "Average of \(runs) runs in bins of 200 ms (figure 1 of the paper)",
            xLabel: "time since the loss of WiFi, s",
            x: -Double(Self.before)...Double(Self.after),
            panels: [
                panel("cellular radio asleep until used, 2 s to wake", asleep),
                panel("cellular radio awake", awake)
            ],
            marks: [.init(x: 0, text: "WiFi lost")], note: Self.cellularNote)
        return [table.file("figure-1.csv"), FigureFile(name: "figure-1.svg", text: chart.svg())]
    }

    /// Full, backup, single, application-level.
    private func curves(asleep: Bool) throws -> [Curve] {
        var curves = HandoverMode.allCases.map { Curve(Self.name($0), Self.color($0)) }
        curves.append(Curve("application-level (plain TCP)", Self.plainColor, isDashed: true))
        for run in 0..<runs {
            for (i, mode) in HandoverMode.allCases.enumerated() {
                var trial = trial(.download, mode, run: run, asleep: asleep)
                trial.tail = .seconds(Int64(Self.after)) + Self.binWidth
                let record = try checked(trial.run(), "figure 1")
                curves[i].add(
                    record.received, lossAt: trial.lossAt, rate: trial.cellular.down.rate ?? .zero)
            }
            let log = try plainDownload(run: run, asleep: asleep)
            let trial = trial(.download, .full, run: run, asleep: asleep)
            curves[3].add(log, lossAt: trial.lossAt, rate: trial.cellular.down.rate ?? .zero)
        }
        return curves
    }

    /// The baseline on the same links, with the loss at the same moment.
    private func plainDownload(run: Int, asleep: Bool) throws -> ReceptionLog {
        let trial = trial(.download, .full, run: run, asleep: asleep)
        let end = trial.lossAt + .seconds(Int64(Self.after) + 1)
        let plain = PlainDownload(
            .init(
                wifi: trial.wifi, cellular: trial.cellular,
                start: HandoverTrial.start, lossAt: trial.lossAt, end: end,
                seed: trial.seed))
        plain.run()
        if let wrong = plain.failure {
            throw Failure(description: "figure 1, plain TCP, run \(trial.seed): \(wrong)")
        }
        return plain.log
    }
}

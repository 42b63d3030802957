import Measures
import Multipath
import Tunnel

/// Section 5: what it costs when the signal that an address is gone is lost, with and without the
/// echo.
///
/// The first datagrams that carry the signal vanish; how long does the stream stand still, and how
/// long does the peer go on sending into the dead link?
extension Figures {
    /// How often the signal is lost.
    private static let losses = 0...10
    /// What takes longer is "never".
    private static let horizon = Interval.seconds(20)
    /// Only the cellular rate and the moment of the loss differ from run to run, and little hangs
    /// on them.
    private var signalRuns: Int { max(1, runs / 4) }

    private struct Variant {
        var signaling: Signaling
        var mode: HandoverMode
        var name: String
        var color: String
        var style: Chart.Style
        /// By how often the signal was lost: medians, nil for never.
        var gaps: [[Interval?]] = []
        var offPath: [[Interval?]] = []
        func points(_ values: [[Interval?]]) -> [(x: Double, y: Double)] {
            values.enumerated().map { n, runs in
                (Double(n), (runs.map { $0 ?? Figures.horizon }.median ?? .zero).seconds)
            }
        }
    }

    private static func variants() -> [Variant] {
        [(HandoverMode.backup, Chart.Style.marked), (.full, .dashed)].flatMap { mode, style in
            [
                (Signaling.once, "sent once, no echo", plainColor),
                (.echoed, "echo alone", "#d55e00"),
                (.reliable, "Braid", "#0072b2")
            ].map { signaling, words, color in
                Variant(
                    signaling: signaling, mode: mode, name: "\(words), \(name(mode))", color: color,
                    style: style)
            }
        }
    }

    func lostSignals(_ summary: inout Summary) throws -> [FigureFile] {
        var variants = Self.variants()
        for i in variants.indices {
            for count in Self.losses {
                var gaps: [Interval?] = [], offPath: [Interval?] = []
                for run in 0..<signalRuns {
                    let result = try loseSignal(count, variants[i], run: run)
                    gaps.append(result.gap)
                    offPath.append(result.offPath)
                }
                variants[i].gaps.append(gaps)
                variants[i].offPath.append(offPath)
            }
        }
        sum(variants, into: &summary)
        return [table(variants), FigureFile(name: "section-5.svg", text: chart(variants).svg())]
    }

    private func loseSignal(
        _ count: Int, _ variant: Variant,
        run: Int
    ) throws -> (gap: Interval?, offPath: Interval?) {
        var trial = trial(.paperStream, variant.mode, run: run, asleep: false)
        trial.signaling = variant.signaling
        trial.lossAfter = .seconds(2)
        trial.tail = Self.horizon
        let loss = SignalLoss(count, lostUplink: 0, since: trial.lossAt)
        let record = try checked(trial.run { loss.attach(to: $0) }, "section 5")
        // Nothing came any more, or only after the horizon.
        let last = record.received.last ?? .zero
        let gap = last + .seconds(1) < trial.lossAt + trial.tail ? nil : record.longestGap
        let lastOnDead = max(loss.lastOnLost, trial.lossAt)
        let isOff = lastOnDead + .seconds(1) < trial.lossAt + trial.tail
        return (gap, isOff ? lastOnDead - trial.lossAt : nil)
    }

    private func sum(_ variants: [Variant], into summary: inout Summary) {
        for (i, words) in [(0, "sent once, no echo"), (1, "echo alone"), (2, "as Braid does")] {
            for count in i == 0 ? [0, 1] : [1, Self.losses.upperBound] {
                summary.row(
                    "Sec. 5: stream stands still, s: lost \(count) times, \(words)",
                    full: variants[i + 3].gaps[count].seconds(2),
                    backup: variants[i].gaps[count].seconds(2))
                summary.row(
                    "Sec. 5: peer on the dead path for, s: lost \(count) times, \(words)",
                    full: variants[i + 3].offPath[count].seconds(2),
                    backup: variants[i].offPath[count].seconds(2))
            }
        }
    }

    private func table(_ variants: [Variant]) -> FigureFile {
        var table = CommaTable([
            "signals lost", "variant",
            "stream stands still s median", "least", "greatest",
            "peer on dead path s median", "least", "greatest"
        ])
        func show(_ values: [Interval?]) -> [String] {
            let all = values.map { $0 ?? .max }.sorted()
            return [all[all.count / 2], all[0], all[all.count - 1]].map {
                $0 == .max ? "never" : $0.seconds.fixed(4)
            }
        }
        for variant in variants {
            for count in Self.losses {
                table.row(
                    [String(count), variant.name.split(separator: ",").joined()]
                        + show(variant.gaps[count]) + show(variant.offPath[count]))
            }
        }
        return table.file("section-5.csv")
    }

    private func chart(_ variants: [Variant]) -> Chart {
        let maximum = Self.horizon.seconds
        func panel(_ title: String, _ values: (Variant) -> [[Interval?]]) -> Chart.Panel {
            let series = variants.map {
                Chart.Series(
                    name: $0.name, color: $0.color, style: $0.style, points: $0.points(values($0)))
            }
            return Chart.Panel(
                title: title, yLabel: "time, s", y: 0.02...maximum, isLogarithmic: true,
                series: series, height: 220)
        }
        return Chart(
            title: "The signal that WiFi is gone is lost",
            subtitle: "Median of \(signalRuns) runs, 500 kbit/s stream to the client "
                + "(section 5 of the paper)",
            xLabel: "how often the signal is lost before it arrives",
            x: 0...Double(Self.losses.upperBound),
            panels: [
                panel("how long the stream stands still", \.gaps),
                panel("how long the peer goes on sending into the dead link", \.offPath)
            ],
            note: "\(maximum.short(0)) s: not until the end of the run. " + Self.cellularNote)
    }
}

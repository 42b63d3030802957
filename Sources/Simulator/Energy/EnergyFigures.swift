import Measures
import Multipath

/// Figures 4 and 5: what a bit costs a battery over WiFi, over a cellular link and over both, by
/// the links' bandwidth; and beside them what the paper did not draw: the modes, a backup path kept
/// warm, a handover, LTE.
extension Figures {
    /// A phone: names of its profiles.
    private struct Phone {
        var title: String
        var cellular: String
        var wifi: String
    }
    private static let phones = [
        Phone(title: "the paper's phone", cellular: "3g-n950", wifi: "wifi-n950"),
        Phone(title: "3G of Huang et al.", cellular: "3g-huang", wifi: "wifi-huang"),
        Phone(title: "LTE of Huang et al.", cellular: "lte-huang", wifi: "wifi-huang"),
        Phone(
            title: "3G of Balasubramanian et al.", cellular: "3g-balasubramanian",
            wifi: "wifi-balasubramanian")
    ]
    private static let bandwidths = [0.1, 0.2, 0.5, 1, 2, 3, 4, 5]

    /// What is downloaded, over and over.
    struct EnergyWork {
        var figure: String
        var title: String
        var size: Int
        var count: Int
        var pause: Interval

        static let again = EnergyWork(
            figure: "figure-4", title: "1 MB again and again (figure 4 of the paper)",
            size: 1_000_000, count: 4, pause: .zero)
        static let spaced = EnergyWork(
            figure: "figure-5", title: "100 kB with 5 s between (figure 5 of the paper)",
            size: 100_000, count: 8, pause: .seconds(5))
    }

    func energy(_ summary: inout Summary) throws -> [FigureFile] {
        var files: [FigureFile] = []
        for work in [EnergyWork.again, .spaced] { files += try bandwidth(work, &summary) }
        files += try modes(&summary)
        files += try handoverEnergy(&summary)
        return files
    }

    private static func radios(_ phone: Phone) -> [RadioProfile] {
        [phone.wifi, phone.cellular].compactMap(RadioProfile.named)
    }

    func checkedEnergy(_ trial: EnergyTrial, _ what: String) throws -> EnergyTrial.Outcome {
        let outcome = trial.run()
        if let wrong = outcome.failure {
            throw Failure(description: "\(what), \(trial.uses), run \(trial.seed): \(wrong)")
        }
        return outcome
    }

    // MARK: Figures 4 and 5

    private static let uses: [(EnergyTrial.Uses, String, String)] = [
        (.wifi, "WiFi", "#0072b2"), (.cellular, "cellular", "#d55e00"), (.both, "both", "#009e73")
    ]

    private func bandwidth(_ work: EnergyWork, _ summary: inout Summary) throws -> [FigureFile] {
        var table = CommaTable([
            "phone", "interfaces", "Mbit/s of a link", "uJ/bit", "J of WiFi", "J of cellular", "s"
        ])
        var panels: [Chart.Panel] = []
        for phone in Self.phones {
            var series: [Chart.Series] = []
            var at: [EnergyTrial.Uses: [Double]] = [:]
            for (uses, name, color) in Self.uses {
                var points: [(x: Double, y: Double)] = []
                for bandwidth in Self.bandwidths {
                    let trial = EnergyTrial(
                        uses, rate: .megabitsPerSecond(bandwidth), radios: Self.radios(phone),
                        size: work.size, count: work.count, pause: work.pause, seed: seed)
                    let outcome = try checkedEnergy(trial, work.figure)
                    points.append((bandwidth, outcome.microjoulesPerBit))
                    table.row([
                        phone.title, uses.rawValue, bandwidth.short(2),
                        outcome.microjoulesPerBit.fixed(4), outcome.energies[0].joules.fixed(3),
                        outcome.energies[1].joules.fixed(3), outcome.duration.seconds.fixed(3)
                    ])
                }
                at[uses] = points.map(\.y)
                series.append(
                    Chart.Series(name: name, color: color, style: .marked, points: points))
            }
            for (i, bandwidth) in Self.bandwidths.enumerated() where [0.1, 1, 5].contains(bandwidth)
            {
                let value = Self.uses.map { at[$0.0]?[i].fixed(2) ?? "" }
                summary.row(
                    "\(work.figure == "figure-4" ? "Fig. 4" : "Fig. 5"): \(phone.title), "
                        + "\(bandwidth.short(1)) Mbit/s a link, uJ a bit: WiFi; cellular; both",
                    full: "\(value[0]); \(value[1]); \(value[2])")
            }
            panels.append(
                Chart.Panel(
                    title: phone.title, yLabel: "uJ for a bit", y: 0.05...50, isLogarithmic: true,
                    series: series, height: 170))
        }
        let chart = Chart(
            title: "Energy of a bit by the links' bandwidth", subtitle: work.title,
            xLabel: "bandwidth of each link, Mbit/s", x: 0...5.2, panels: panels,
            note: "Both radios counted, also the one that is not used. WiFi 30 ms, cellular 100 ms."
        )
        return [
            table.file("\(work.figure).csv"),
            FigureFile(name: "\(work.figure).svg", text: chart.svg())
        ]
    }

    // MARK: Modes

    /// Modes, and the cellular path of the two that make it a backup kept warm or not.
    private static let choices: [(HandoverMode, isWarm: Bool)] = [
        (.full, false), (.backup, false), (.backup, true), (.single, false), (.single, true)
    ]

    private static func name(_ mode: HandoverMode, isWarm: Bool) -> String {
        name(mode) + (isWarm ? " warm" : "")
    }

    private func modes(_ summary: inout Summary) throws -> [FigureFile] {
        var table = CommaTable([
            "phone", "work", "mode", "uJ/bit", "J of WiFi", "J of cellular", "s",
            "cellular promotions"
        ])
        for phone in Self.phones {
            for work in [EnergyWork.again, .spaced] {
                var values: [String] = []
                for (mode, isWarm) in Self.choices {
                    var trial = EnergyTrial(
                        .both, rate: .megabitsPerSecond(2), radios: Self.radios(phone),
                        size: work.size, count: work.count, pause: work.pause, seed: seed)
                    trial.rates[0] = .megabitsPerSecond(8)
                    trial.mode = mode
                    trial.isWarm = isWarm
                    let outcome = try checkedEnergy(trial, "energy by mode")
                    values.append(outcome.microjoulesPerBit.fixed(3))
                    table.row([
                        phone.title, work.figure, Self.name(mode, isWarm: isWarm),
                        outcome.microjoulesPerBit.fixed(4), outcome.energies[0].joules.fixed(3),
                        outcome.energies[1].joules.fixed(3), outcome.duration.seconds.fixed(3),
                        "\(outcome.energies[1].promotions)"
                    ])
                }
                summary.row(
                    "\(work.figure == "figure-4" ? "Fig. 4" : "Fig. 5"): \(phone.title), 8 + 2 Mbit/s, "
                        + "uJ a bit (backup, single: not warm; warm)", full: values[0],
                    backup: "\(values[1]); \(values[2])", single: "\(values[3]); \(values[4])")
            }
        }
        return [table.file("energy-modes.csv")]
    }

    // MARK: A handover

    private func handoverEnergy(_ summary: inout Summary) throws -> [FigureFile] {
        var table = CommaTable([
            "phone", "mode", "J of cellular for a minute of readiness",
            "J of cellular in 10 s after the loss", "longest time without a byte s"
        ])
        for phone in Self.phones {
            var values: [String] = []
            for (mode, isWarm) in Self.choices {
                let (ready, after, gap) = try handoverEnergy(phone, mode, isWarm: isWarm)
                values.append("\(ready.fixed(1)); \(after.fixed(1)); \(gap.fixed(2))")
                table.row([
                    phone.title, Self.name(mode, isWarm: isWarm), ready.fixed(3), after.fixed(3),
                    gap.fixed(3)
                ])
            }
            summary.row(
                "Handover, \(phone.title): cellular J a minute before it; in 10 s after; gap s",
                full: values[0], backup: "\(values[1]) / warm \(values[2])",
                single: "\(values[3]) / warm \(values[4])")
        }
        return [table.file("energy-handover.csv")]
    }

    /// A stream of 500 kbit/s, WiFi gone after 40 s: what the cellular radio takes before and
    /// after.
    private func handoverEnergy(
        _ phone: Phone, _ mode: HandoverMode, isWarm: Bool
    ) throws -> (ready: Double, after: Double, gap: Double) {
        let radios = Self.radios(phone)
        var trial = trial(.paperStream, mode, run: 0, asleep: true)
        trial.lossAfter = .seconds(40)
        trial.tail = .seconds(10)
        trial.cellular.radio = radios[1].plan
        trial.cellular.isWarm = isWarm
        var trace = PacketTrace()
        let record = try checked(
            trial.run { $0.traceRadios { trace.note($0) } }, "energy of a handover")
        // What the session's beginning woke sleeps again after at most 12.5 s.
        let ready = trace.energies(
            radios, from: trial.lossAt - .seconds(20), to: trial.lossAt)[1].joules
        let after = trace.energies(
            radios, from: trial.lossAt, to: trial.lossAt + trial.tail)[1].joules
        return (3 * ready, after, record.longestGap.seconds)
    }
}

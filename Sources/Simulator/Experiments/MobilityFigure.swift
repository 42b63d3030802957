import Measures
import Multipath
import Tunnel

/// The paper's further work: WiFi to WiFi, cellular to WiFi, and a commute.
extension Figures {
    private static let radios = ["wifi-n950", "3g-n950"].compactMap(RadioProfile.named)

    func mobility(_ summary: inout Summary) throws -> [FigureFile] {
        try moves(&summary) + commutes(&summary)
    }

    // MARK: From one to the next

    /// What is done with the links of a stream of 500 kbit/s.
    private enum Move: Hashable {
        /// WiFi goes, and is back so much later with another address.
        case wifiToWifi(Interval)
        /// WiFi comes; the cellular link goes so much later, or sooner.
        case cellularToWifi(Interval)
        /// WiFi goes, and with it the address of the concentrator that the session began on; it has
        /// announced another one.
        case bothEnds

        var name: String {
            switch self {
            case .wifiToWifi(let gap): "WiFi to WiFi, \(gap.seconds.short(1)) s without any"
            case .cellularToWifi(let overlap) where overlap >= .zero:
                "cellular to WiFi, both for \(overlap.seconds.short(1)) s"
            case .cellularToWifi(let overlap):
                "cellular to WiFi, none for \((.zero - overlap).seconds.short(1)) s"
            case .bothEnds: "both ends: WiFi and the concentrator's address"
            }
        }
    }

    private static let moves: [Move] =
        [200, 500, 1000, 3000].map { .wifiToWifi(.milliseconds($0)) }
        + [1000, 0, -500].map { .cellularToWifi(.milliseconds($0)) } + [.bothEnds]

    private func moves(_ summary: inout Summary) throws -> [FigureFile] {
        var table = CommaTable(["move", "mode", "longest time without a byte s, median"])
        for move in Self.moves {
            var values: [String] = []
            for mode in HandoverMode.allCases {
                var gaps: [Interval?] = []
                for run in 0..<max(1, runs / 4) {
                    gaps.append(try gap(move, mode, run: run))
                }
                values.append(gaps.seconds(2))
                table.row([
                    move.name, Self.name(mode),
                    (gaps.compactMap(\.self).median ?? .zero).seconds.fixed(3)
                ])
            }
            summary.row(
                "Moves: \(move.name), longest time without a byte, s", full: values[0],
                backup: values[1], single: values[2])
        }
        return [table.file("mobility.csv")]
    }

    private func gap(_ move: Move, _ mode: HandoverMode, run: Int) throws -> Interval {
        // The trial's links and moment; its own fault is replaced.
        let trial = trial(.paperStream, mode, run: run, asleep: true)
        var scenario = trial.scenario
        let at = trial.lossAt
        var from = at
        switch move {
        case .wifiToWifi(let gap):
            scenario.faults = [
                Fault(at: at, uplink: 0, change: .removed),
                Fault(at: at + gap, uplink: 0, change: .roam),
                Fault(at: at + gap, uplink: 0, change: .returned)
            ]
        case .cellularToWifi(let overlap):
            from = min(at, at + overlap)
            scenario.faults = [
                Fault(at: .zero, uplink: 0, change: .removed),
                Fault(at: at, uplink: 0, change: .returned),
                Fault(at: at + overlap, uplink: 1, change: .removed)
            ].sorted { $0.at < $1.at }
        case .bothEnds:
            scenario.faults = [
                Fault(at: at, uplink: 0, change: .removed),
                Fault(at: at, uplink: 0, change: .firstAddress(false))
            ]
        }
        var options = World.Options()
        options.mode = mode
        if move == .bothEnds { options.second = trial.cellular.up }
        let world = World(scenario, seed: trial.seed, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        world.run(until: at + .seconds(6), mayStop: true)
        if let wrong = world.failure {
            throw Failure(description: "\(move.name), \(mode) mode, run \(trial.seed): \(wrong)")
        }
        return world.streams[0].initiator.log.longestGap(from: from, to: at + .seconds(5))
    }

    // MARK: A commute

    /// The same way in full mode with an uplink that costs something, and in the mode that follows
    /// from use.
    private func commuteChoices(_ summary: inout Summary) throws {
        var dear = Commute(seed: seed, mode: .full, radios: Self.radios)
        dear.cost = .dear
        var byUse = Commute(seed: seed, mode: .single, radios: Self.radios)
        byUse.followsUse = true
        for (name, commute) in [("full, cost: prefer-cheap", dear), ("auto", byUse)] {
            let outcome = commute.run()
            if let wrong = outcome.failure {
                throw Failure(description: "commute, \(name): \(wrong)")
            }
            summary.row(
                "Commute, \(name): time waited s; longest s; J of WiFi; of cellular; MB over "
                    + "cellular; money at 5 a GB",
                full: [
                    outcome.waited.seconds.fixed(1), outcome.longest.seconds.fixed(1),
                    outcome.energies[0].joules.fixed(0), outcome.energies[1].joules.fixed(0),
                    (Double(outcome.bytes[1]) / 1e6).fixed(1), outcome.money.fixed(3)
                ].joined(separator: "; "))
        }
    }

    private func commutes(_ summary: inout Summary) throws -> [FigureFile] {
        let outcomes = try HandoverMode.allCases.map { mode in
            let outcome = Commute(seed: seed, mode: mode, radios: Self.radios).run()
            if let wrong = outcome.failure {
                throw Failure(description: "commute, \(mode) mode: \(wrong)")
            }
            return outcome
        }
        func values(_ value: (Commute.Outcome) -> String) -> [String] { outcomes.map(value) }
        for (what, texts) in [
            ("time waited, s", values { $0.waited.seconds.fixed(1) }),
            ("longest time without a byte, s", values { $0.longest.seconds.fixed(1) }),
            ("J of WiFi", values { $0.energies[0].joules.fixed(0) }),
            ("J of cellular", values { $0.energies[1].joules.fixed(0) }),
            ("MB over cellular", values { (Double($0.bytes[1]) / 1e6).fixed(1) }),
            ("money at 5 a GB", values { $0.money.fixed(3) })
        ] {
            summary.row(
                "Commute: \(what)", full: texts[0], backup: texts[1], single: texts[2])
        }
        try commuteChoices(&summary)
        var table = CommaTable(
            ["seconds"] + HandoverMode.allCases.map { "\(Self.name($0)) Mbit/s" })
        let bins = outcomes.map(\.log.bins)
        var series = HandoverMode.allCases.map {
            Chart.Series(name: Self.name($0), color: Self.color($0), points: [])
        }
        for bin in 0..<(bins.map(\.count).min() ?? 0) {
            let rates = bins.map { Double(8 * $0[bin]) / 5e6 }
            let time = 5 * Double(bin) + 2.5
            table.row([time.fixed(1)] + rates.map { $0.fixed(4) })
            for i in series.indices { series[i].points.append((time, rates[i])) }
        }
        let chart = Chart(
            title: "A stream of 500 kbit/s on a commute",
            subtitle: "Goodput in bins of 5 s; what was missed comes at once where it can",
            xLabel: "time, s", x: 0...1200,
            panels: series.map {
                Chart.Panel(
                    title: $0.name, yLabel: "Mbit/s", y: 0...3, series: [$0], height: 110)
            }, note: "WiFi for 20 s to 2 min at a time, 10 to 90 s without; cellular with holes.")
        return [table.file("commute.csv"), FigureFile(name: "commute.svg", text: chart.svg())]
    }
}

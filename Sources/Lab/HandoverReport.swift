import Measures
import Simulator

/// What `braid handovers` found: every repetition of every scenario.
public struct HandoverReport: Codable, Sendable {
    /// Median and spread of what happened at all.
    public struct Spread: Codable, Sendable {
        /// In the figure's unit.
        public var median, minimum, maximum: Double

        // The keys of `--json` as they have always been.
        private enum CodingKeys: String, CodingKey {
            case median, minimum = "least", maximum = "most"
        }

        /// Nil where nothing happened.
        init?(_ values: [Double?]) {
            let known = values.compactMap { $0 }.sorted()
            guard let minimum = known.first, let maximum = known.last else { return nil }
            let middle = known.count / 2
            median = known.count % 2 == 1 ? known[middle] : (known[middle - 1] + known[middle]) / 2
            self.minimum = minimum
            self.maximum = maximum
        }
    }

    /// One figure of a scenario, measured and simulated.
    public struct Figure: Codable, Sendable {
        /// What it is.
        public var name: HandoverFigure
        /// `ms` or `datagrams`.
        public var unit: String
        /// What it should be at most; nil where nothing is set.
        public var bar: Double?
        /// Nil where it happened in no repetition, or in no seed.
        public var measured, simulated: Spread?
        /// Every repetition, and every simulated seed; nil where it never happened.
        public var measuredValues, simulatedValues: [Double?]
    }

    /// A scenario with all that was found of it.
    public struct Scenario: Codable, Sendable {
        /// As `braid handovers` takes them on the command line.
        public var name, application, mode, loss, lost: String
        /// In the order of the table.
        public var figures: [Figure]
        /// Why repetitions or seeds gave nothing.
        public var failures: [String]
    }

    /// On sockets, of every scenario.
    public var repetitions: Int
    /// In the order they were run in.
    public var scenarios: [Scenario] = []
    /// Repetitions and seeds that gave nothing, of all scenarios; the command fails unless it is 0.
    public var failures: Int { scenarios.reduce(0) { $0 + $1.failures.count } }
}

extension HandoverReport.Figure {
    /// Whether simulator and sockets differ by more than a third.
    var disagrees: Bool {
        guard let measured, let simulated else { return (measured == nil) != (simulated == nil) }
        let (a, b) = (measured.median, simulated.median)
        return abs(a - b) > max(abs(a), abs(b)) / 3
    }

    private var missesBar: Bool {
        guard let bar, !measuredValues.isEmpty else { return false }
        return (measured?.median ?? .infinity) > bar
    }

    /// One line of the table.
    var line: String {
        var notes: [String] = []
        let never = measuredValues.filter { $0 == nil }.count
        if never > 0 {
            notes.append(never == measuredValues.count ? "never" : "never \(never) times")
        }
        if missesBar { notes.append("misses the bar") }
        if !simulatedValues.isEmpty, disagrees {
            notes.append("differs from the simulator by more than a third")
        }
        let what = unit == "ms" ? "\(name.label), ms" : "\(name.label), \(unit)"
        return pad("  " + what, 46) + pad(measured.map { number($0.median) } ?? "-", 8)
            + pad(measured.map { "\(number($0.minimum)) to \(number($0.maximum))" } ?? "", 18)
            + pad(bar.map { "≤ \(number($0))" } ?? "", 9)
            + pad(simulated.map { number($0.median) } ?? "-", 8)
            + pad(simulated.map { "\(number($0.minimum)) to \(number($0.maximum))" } ?? "", 18)
            + notes.joined(separator: ", ")
    }

    static let head =
        pad("", 46) + pad("median", 8) + pad("min to max", 18) + pad("bar", 9)
        + pad("simulated", 26)

    private func number(_ value: Double) -> String {
        value < 100 && unit == "ms" ? oneDigit(value) : "\(Int(value.rounded()))"
    }
}

extension HandoverReport.Scenario {
    /// The scenario's part of the table.
    var lines: [String] { [name] + figures.map(\.line) + failures.map { "  ✗ " + $0 } }
}

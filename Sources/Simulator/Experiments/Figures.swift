import Measures
import Multipath

/// The experiments of *Exploring Mobile/WiFi Handover with Multipath TCP* (Paasch et al.,
/// CellNet'12) made again with this engine on virtual links; what `braid figures` writes. All
/// chance comes from `seed`, so the same seed gives the same files, bit by bit.
public struct Figures: Sendable {
    /// Every run's own seed follows from it.
    public var seed: UInt64
    /// Runs per curve, each with links and a moment of loss of its own; the paper made 20.
    public var runs: Int

    /// A run that did not end as it must: a wrong byte, a stuck stream, an engine that spins.
    public struct Failure: Error, CustomStringConvertible {
        /// Which run of which figure, and what was wrong.
        public let description: String
    }

    /// As many runs as the paper made, unless said otherwise.
    public init(seed: UInt64 = 1, runs: Int = 20) {
        self.seed = seed
        self.runs = runs
    }

    /// All files. `progress` is told of each figure before it is begun.
    public func draw(progress: (String) -> Void = { _ in }) throws -> [FigureFile] {
        var files: [FigureFile] = [], summary = Summary()
        progress("Figure 1: goodput around the loss of WiFi")
        files += try goodput(&summary)
        progress("Figure 2: delay of a 500 kbit/s stream")
        files += try applicationDelay(&summary)
        progress("Figure 3: a call")
        files += try call(&summary)
        progress("Section 5: the signal that the address is gone is lost")
        files += try lostSignals(&summary)
        progress("Figures 4 and 5: energy")
        files += try energy(&summary)
        progress("From one network to the next, and a commute")
        files += try mobility(&summary)
        progress("Coupled congestion control beside plain TCP")
        files += try fairness(&summary)
        files.append(FigureFile(name: "summary.md", text: summary.text))
        return files
    }

    // MARK: What they share

    /// A trial on the paper's links: cellular draws its rate from 1 to 2 Mbit/s by the run.
    func trial(
        _ application: HandoverTrial.Application, _ mode: HandoverMode, run: Int,
        asleep: Bool
    ) -> HandoverTrial {
        var trial = HandoverTrial(application, mode, .visible, seed: seed &* 10_007 &+ UInt64(run))
        var random = SeededRandom(seed: trial.seed ^ 0x6365_6c6c)
        let rate = Rate.megabitsPerSecond(1 + random.unit())
        trial.cellular = UplinkPlan(
            LinkConditions(rate: rate, delay: .milliseconds(50), queue: .seconds(2)),
            radio: asleep ? Self.radio : nil)
        return trial
    }

    /// Idle to active takes 2 s (the paper's section 4.2). Its time to fall asleep is shorter than
    /// a phone's, so that it sleeps when WiFi goes, which is what the paper's single-path mode met.
    static let radio = UplinkPlan.RadioPlan(sleepsAfter: .seconds(2), wakeTime: .seconds(2))

    func checked(_ record: HandoverRecord, _ what: String) throws -> HandoverRecord {
        if let wrong = record.failure {
            let trial = record.trial
            throw Failure(description: "\(what), \(trial.mode) mode, run \(trial.seed): \(wrong)")
        }
        return record
    }

    static func color(_ mode: HandoverMode) -> String {
        switch mode {
        case .full: "#0072b2"
        case .backup: "#009e73"
        case .single: "#d55e00"
        }
    }
    static let plainColor = "#8a5aa8"

    static func name(_ mode: HandoverMode) -> String {
        switch mode {
        case .full: "full"
        case .backup: "backup"
        case .single: "single"
        }
    }

    static let cellularNote =
        "WiFi 8 Mbit/s, 30 ms. Cellular 1 to 2 Mbit/s by the run, 100 ms, a queue of 2 s."
}

/// The numbers behind the figures, as one table of Markdown.
struct Summary {
    private(set) var text = """
        | what | full | backup | single | application-level |
        |---|---|---|---|---|

        """

    mutating func row(
        _ what: String, full: String = "", backup: String = "", single: String = "",
        application: String = ""
    ) {
        text += "| \(what) | \(full) | \(backup) | \(single) | \(application) |\n"
    }
}

extension Array where Element: Comparable {
    /// The middle one, the upper of two; nil for none.
    var median: Element? { isEmpty ? nil : sorted()[count / 2] }
}

extension Array where Element == Interval? {
    /// Median and extremes in seconds for a person; what never happened is later than everything.
    func seconds(_ digits: Int) -> String {
        func show(_ value: Interval) -> String {
            value == .max ? "never" : value.seconds.fixed(digits)
        }
        let all = map { $0 ?? .max }.sorted()
        guard let minimum = all.first, let maximum = all.last else { return "" }
        let middle = show(all[all.count / 2])
        return show(minimum) == show(maximum)
            ? middle : "\(middle) (\(show(minimum)) to \(show(maximum)))"
    }

    /// The same in whole milliseconds.
    func milliseconds() -> String {
        func show(_ value: Interval) -> String {
            value == .max ? "never" : value.milliseconds.fixed(0)
        }
        let all = map { $0 ?? .max }.sorted()
        guard let minimum = all.first, let maximum = all.last else { return "" }
        let middle = show(all[all.count / 2])
        return show(minimum) == show(maximum)
            ? middle : "\(middle) (\(show(minimum)) to \(show(maximum)))"
    }
}

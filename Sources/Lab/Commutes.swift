import CLab
import Glibc
import Measures
import Multipath
import Simulator

/// `braid commute`: a way on which coverage comes and goes, in each mode, on this machine's sockets
/// and in the simulator.
public struct Commutes {
    /// How the pair is set up.
    public enum Choice: String, CaseIterable, Sendable {
        case full, backup, single
        /// Full mode with a price for the cellular uplink.
        case preferCheap = "prefer-cheap"
        case auto

        /// For the proxy's file.
        var mode: String { self == .preferCheap ? "full" : rawValue }
        var cellularKeys: String { self == .preferCheap ? ", price: 5 EUR" : "" }
        var more: String { self == .preferCheap ? "cost: prefer-cheap" : "" }

        /// For the simulator.
        fileprivate func set(_ commute: inout Commute) {
            commute.mode = HandoverMode(rawValue: mode) ?? .single
            commute.followsUse = self == .auto
            commute.cost = self == .preferCheap ? .dear : .usual
        }
    }

    /// What `braid commute` can be asked for.
    public struct Options: Sendable {
        /// One way in each.
        public var choices = Choice.allCases
        /// Of the trace.
        public var seed: UInt64 = 1
        /// Of the way.
        public var length = Interval.seconds(60)
        /// On this machine's sockets, in the simulator.
        public var isMeasured = true, isSimulated = true
        /// Where each way's logs, configuration and captures stay; nil: nowhere.
        public var folder: String?
        public init() {}
    }

    /// One way to work under one mode.
    public struct Result: Codable, Sendable {
        /// `Choice` as a word, and whether it was simulated.
        public var mode: String, isSimulated: Bool
        /// Of the download.
        public var megabitsPerSecond: Double
        /// Without a byte for longer than half a second, in all, and the longest such time.
        public var waitedSeconds: Double, longestSeconds: Double
        /// Of the call, in the worse direction.
        public var missedSeconds: Double
        /// The model's, of the paper's phone.
        public var wifiJoules: Double, cellularJoules: Double
        /// With IP and UDP headers, both ways; and at 5 a GB.
        public var cellularMegabytes: Double, money: Double
        /// What went wrong; nil: nothing.
        public var failure: String?
    }

    private let options: Options
    /// Nothing is built before `run`.
    public init(_ options: Options) { self.options = options }

    /// Runs everything and hands out the table's lines as they come; nil where it was interrupted.
    /// Throws `LabError` where no lab can be built.
    public func run(_ print: (String) -> Void) throws -> [Result]? {
        let signals = try checked(braid_lab_signals(), "a signal descriptor")
        defer { close(signals) }
        if options.isMeasured {
            _ = try Lab([.wifi()])  // says why there can be none, before anything else
            braid_lab_hurry()
        }
        if let folder = options.folder, mkdir(folder, 0o700) != 0, errno != EEXIST {
            throw LabError("\(folder): \(String(cString: strerror(errno)))")
        }
        var results: [Result] = []
        print(Result.head)
        do {
            for choice in options.choices {
                for isSimulated in [false, true]
                where isSimulated ? options.isSimulated : options.isMeasured {
                    let result = try way(choice, isSimulated: isSimulated, signals)
                    print(result.line)
                    if let failure = result.failure { print("  \u{2717} \(failure)") }
                    results.append(result)
                }
            }
        } catch is LabInterruption { return nil }
        return results
    }

    /// The same trace for each choice: shorter stretches where the way is shorter, up to a tenth.
    private func commute(_ choice: Choice) -> Commute {
        var commute = Commute(
            seed: options.seed, mode: .full,
            radios: ["wifi-n950", "3g-n950"].compactMap(RadioProfile.named))
        commute.use = .downloadAndCall
        commute.pace = min(max(1, 600 / options.length.seconds), 10)
        commute.length = options.length
        choice.set(&commute)
        return commute
    }

    private func way(
        _ choice: Choice, isSimulated: Bool, _ signals: Int32
    ) throws -> Result {
        let commute = commute(choice)
        if isSimulated { return Result(choice, commute.run(), isSimulated: true) }
        let folder = options.folder.map { "\($0)/\(choice.rawValue)" }
        do {
            let run = try CommuteRun(choice, commute, folder: folder, signals: signals)
            return Result(choice, try run.run(), isSimulated: false)
        } catch let error as LabError {
            return Result(choice, nil, isSimulated: false, failure: error.description)
        }
    }
}

extension Commutes.Result {
    fileprivate init(
        _ choice: Commutes.Choice, _ outcome: Commute.Outcome?, isSimulated: Bool,
        failure: String? = nil
    ) {
        mode = choice.rawValue
        self.isSimulated = isSimulated
        megabitsPerSecond = outcome?.megabits ?? 0
        waitedSeconds = outcome?.waited.seconds ?? 0
        longestSeconds = outcome?.longest.seconds ?? 0
        missedSeconds = outcome?.missed?.seconds ?? 0
        wifiJoules = outcome?.energies[0].joules ?? 0
        cellularJoules = outcome?.energies[1].joules ?? 0
        cellularMegabytes = Double(outcome?.bytes[1] ?? 0) / 1e6
        money = outcome?.money ?? 0
        self.failure = failure ?? outcome?.failure
    }

    fileprivate static let head =
        pad("", 28) + pad("Mbit/s", 9) + pad("waited s", 10) + pad("longest s", 11)
        + pad("call missed s", 15) + pad("J WiFi", 9) + pad("J cell", 9) + pad("MB cell", 10)
        + "money at 5 a GB"

    /// One line of the table.
    fileprivate var line: String {
        pad("\(mode), \(isSimulated ? "simulated" : "on sockets")", 28)
            + pad(oneDigit(megabitsPerSecond), 9) + pad(oneDigit(waitedSeconds), 10)
            + pad(oneDigit(longestSeconds), 11) + pad(oneDigit(missedSeconds), 15)
            + pad(oneDigit(wifiJoules), 9) + pad(oneDigit(cellularJoules), 9)
            + pad(oneDigit(cellularMegabytes), 10)
            + "\((money * 1000).rounded() / 1000)"
    }
}

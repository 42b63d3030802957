import ArgumentParser
import Lab
import Multipath
import Simulator

struct HandoversCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handovers",
        abstract:
            "Measures handovers over two emulated uplinks on this machine, beside the simulator's.",
        discussion: """
            Proxy and concentrator run as processes; download, upload, stream, voice and datagrams go through the proxy; WiFi \
            (8 Mbit/s, 30 ms) or cellular (2 Mbit/s, 100 ms, a 2 s queue) is lost after 5 s, visible to the proxy or \
            silently. Options may be repeated; what is left out means all. Ends with 1 where a byte was wrong or a \
            run failed, not where a bar was missed.
            """)

    @Option(help: "Runs of each scenario on sockets.") var repetitions = 3
    @Option(help: "full, backup or single.") var mode: [HandoverMode] = []
    @Option(
        help:
            "download, upload, stream, voice, stream-asleep, first-byte, signaling, udp-voice, udp-video or udp-voice-download."
    )
    var application: [HandoverScenario.Application] = []
    @Option(help: "visible or silent.") var loss: [HandoverTrial.Loss] = []
    @Option(help: "wifi or cellular.") var lost: [HandoverTrial.Link] = []
    @Option(
        help: "What was sent before a visible loss: lost, with the interface, or arrives."
    )
    var underWay = HandoverTrial.UnderWay.lost
    @Option(
        help:
            "Write everything as JSON to this file; - for the standard output, in place of the table."
    )
    var json: String?
    @Option(help: "Simulated seeds of each scenario.") var seeds = 9
    @Flag(help: "Leave the simulator out.") var noSimulation = false
    @Flag(
        help: "Give the programs a priority, too: for a machine that is busy with something else.")
    var hurry = false
    @Flag(help: "Only say what would be run and how long it takes.") var list = false
    @Option(help: "Keep logs, configuration and captures of every run below this folder.") var keep:
        String?

    func validate() throws {
        guard (0...1000).contains(repetitions), (1...10_000).contains(seeds) else {
            throw ValidationError("--repetitions must be from 0 to 1000, --seeds from 1 to 10000")
        }
        guard repetitions > 0 || !noSimulation else {
            throw ValidationError(
                "without repetitions and without simulation nothing is left to do")
        }
        guard !scenarios.isEmpty else {
            throw ValidationError(
                "these options leave no scenario; braid handovers --list shows all")
        }
    }

    private var scenarios: [HandoverScenario] {
        HandoverScenario.all.filter { scenario in
            (mode.isEmpty || mode.contains(scenario.trial.mode))
                && (application.isEmpty || application.contains(scenario.application))
                && (loss.isEmpty || loss.contains(scenario.trial.loss))
                && (lost.isEmpty || lost.contains(scenario.trial.lost))
        }.map { $0.with(underWay) }
    }

    func run() throws {
        let chosen = scenarios
        let minutes = chosen.reduce(0) { $0 + $1.duration.seconds } * Double(repetitions) / 60
        if list {
            for scenario in chosen { Output.write(scenario.name + "\n") }
            Output.write("\(chosen.count) scenarios, about \(Int(minutes.rounded(.up))) minutes\n")
            return
        }
        var options = Handovers.Options()
        options.scenarios = chosen
        options.repetitions = repetitions
        options.seeds = noSimulation ? 0 : seeds
        options.folder = keep
        options.hurriesPrograms = hurry
        let report: HandoverReport?
        do {
            report = try Handovers(options).run { if json != "-" { Output.write($0 + "\n") } }
        } catch let error as LabError { throw Complaint.failure("\(error)") }
        guard let report else { throw ExitCode(130) }
        if let json { try Output.writeJSON(report, to: json) }
        if report.failures > 0 { throw Complaint.failure("\(report.failures) runs failed") }
    }
}

extension HandoverScenario.Application: ExpressibleByArgument {}
extension HandoverTrial.Loss: ExpressibleByArgument {}
extension HandoverTrial.UnderWay: ExpressibleByArgument {}
extension HandoverTrial.Link: ExpressibleByArgument {
    public init?(argument: String) {
        guard let found = Self.allCases.first(where: { "\($0)" == argument }) else { return nil }
        self = found
    }
    public static var allValueStrings: [String] { allCases.map { "\($0)" } }
}

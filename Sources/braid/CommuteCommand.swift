import ArgumentParser
import Lab
import Measures

struct CommuteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commute",
        abstract:
            "Measures a way on which coverage of two uplinks comes and goes, beside the simulator's.",
        discussion: """
            Proxy and concentrator run as processes between emulated uplinks; a download and a call go through them, \
            while WiFi goes and comes back with another address, and the cellular link's rate changes and has holes, by a \
            trace drawn from the seed. Energy is that of a model of the radios. Ends with 1 where a byte was wrong.
            """)

    @Option(help: "Of the trace.") var seed: UInt64 = 1
    @Option(help: "The way's length, 10 to 1200.") var seconds = 60
    @Option(help: "full, backup, single, prefer-cheap or auto; may be repeated.")
    var mode: [Commutes.Choice] = []
    @Flag(help: "Leave the simulator out.") var noSimulation = false
    @Flag(help: "Leave the sockets out.") var noSockets = false
    @Option(
        help:
            "Write everything as JSON to this file; - for the standard output, in place of the table."
    )
    var json: String?
    @Option(help: "Keep logs, configuration and captures of every way below this folder.") var keep:
        String?

    func validate() throws {
        guard (10...1200).contains(seconds) else {
            throw ValidationError("--seconds must be from 10 to 1200")
        }
        guard !noSimulation || !noSockets else {
            throw ValidationError("without sockets and without simulation nothing is left to do")
        }
    }

    func run() throws {
        var options = Commutes.Options()
        if !mode.isEmpty { options.choices = mode }
        options.seed = seed
        options.length = .seconds(Int64(seconds))
        options.isMeasured = !noSockets
        options.isSimulated = !noSimulation
        options.folder = keep
        let results: [Commutes.Result]?
        do {
            results = try Commutes(options).run { if json != "-" { Output.write($0 + "\n") } }
        } catch let error as LabError { throw Complaint.failure("\(error)") }
        guard let results else { throw ExitCode(130) }
        if let json { try Output.writeJSON(results, to: json) }
        let failed = results.count { $0.failure != nil }
        if failed > 0 { throw Complaint.failure("\(failed) ways failed") }
    }
}

extension Commutes.Choice: ExpressibleByArgument {}

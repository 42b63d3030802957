import ArgumentParser
import Lab
import Measures
import Multipath

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Two emulated uplinks on this machine: download, lose WiFi, watch the handover.",
        discussion:
            "Nothing outside this machine is used; whatever is made for it is removed again.")

    @Option(help: "How WiFi goes away: visible, silent or none.") var lose = Demo.Loss.visible
    @Option(help: "When, counted from the start of the download.") var at = Seconds(5)
    @Option(help: "How long after that WiFi comes back; left out: never.") var returnAfter: Seconds?
    @Option(help: "Megabytes to download.") var megabytes = 8
    @Option(help: "The proxy's handover mode: full, backup or single.") var mode = HandoverMode.full
    @Option(help: "WiFi as rate and round-trip time.") var wifi = LinkSpecification.wifi
    @Option(help: "Cellular as rate and round-trip time.") var cellular = LinkSpecification.cellular
    @Option(help: "Keep logs, configuration and captures of the run in this folder.") var keep:
        String?

    func validate() throws {
        guard (1...10_000).contains(megabytes) else {
            throw ValidationError("--megabytes must be from 1 to 10000")
        }
    }

    func run() throws {
        var options = Demo.Options()
        options.size = megabytes * 1_000_000
        options.loss = lose
        options.lossAt = at.interval
        options.returnAfter = returnAfter?.interval
        options.wifi = wifi
        options.cellular = cellular
        options.mode = mode.rawValue
        options.folder = keep
        let code: Int32
        do {
            code = try Demo(options).run()
        } catch let error as LabError {
            throw Complaint.failure(error.description)
        }
        if code != 0 { throw ExitCode(code) }
    }
}

/// A time on the command line: `5`, `5s`, `300ms`.
struct Seconds: ExpressibleByArgument, CustomStringConvertible {
    var interval: Interval

    init(_ seconds: Int64) { interval = .seconds(seconds) }

    init?(argument: String) {
        let isMilliseconds = argument.hasSuffix("ms")
        let number =
            isMilliseconds
            ? argument.dropLast(2) : argument.hasSuffix("s") ? argument.dropLast() : argument[...]
        guard let value = Double(number), value >= 0, value <= 3600 else { return nil }
        interval = Interval(seconds: isMilliseconds ? value / 1000 : value)
    }

    var description: String { "\(interval.seconds)s" }
    var defaultValueDescription: String {
        interval.seconds == interval.seconds.rounded() ? "\(Int(interval.seconds))s" : description
    }
}

extension Demo.Loss: ExpressibleByArgument {}
extension LinkSpecification: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

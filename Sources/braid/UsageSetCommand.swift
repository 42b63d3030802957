import ArgumentParser
import Configuration

struct UsageSetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Corrects what an uplink has used in the present period of its allowance.",
        discussion: """
            For when the provider counts otherwise: braid usage set wwan0 12.3GB. Of a running proxy.
            """)

    @Argument(help: "The uplink, as braid status calls it.") var name: String
    @Argument(help: "Such as 12.3GB; 1 GB is 10^9 bytes.") var volume: String
    @OptionGroup var control: ControlOptions

    func run() throws {
        guard let bytes = ByteVolume.read(volume) else {
            throw Complaint.input("\"\(volume)\" is no volume, such as 500MB or 12.3GB")
        }
        _ = try Control.ask("usage set \(name) \(bytes)", at: control.control)
        print("\(name) has used \(bytes) bytes")
    }
}

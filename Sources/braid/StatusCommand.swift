import ArgumentParser
import Glibc
import Multipath
import Proxy
import Shell

/// How `status` and `mode` find the process they talk to.
struct ControlOptions: ParsableArguments {
    @Option(
        help: "The control socket; left out: that of the one proxy or concentrator that runs here.")
    var control: String?
}

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows sessions, their paths and connections of a running proxy or concentrator.")

    @Flag(help: "Show it anew every second, until interrupted.") var watch = false
    @Flag(help: "Print JSON; with --watch one line a second.") var json = false
    @OptionGroup var control: ControlOptions

    func run() throws {
        repeat {
            let answer = try Control.ask("status", at: control.control)
            if json {
                let text = Printable.json(answer)
                show(watch ? text.replacing("\n", with: "") + "\n" : text)
            } else {
                let lines = StatusTable.lines(try StatusDocument(json: answer)).map(Printable.text)
                // On a terminal the new picture stands where the old one stood.
                let clear = watch && isatty(STDOUT_FILENO) != 0 ? "\u{1b}[H\u{1b}[2J" : ""
                show(clear + lines.joined(separator: "\n") + "\n")
            }
            if watch { sleep(1) }
        } while watch
    }

    /// A closed pipe (`braid status --watch | head`) ends the watching.
    private func show(_ text: String) { if !Output.write(text) { Glibc.exit(0) } }
}

struct ModeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mode",
        abstract: "Changes the handover mode of a running proxy, while its connections live.",
        discussion: """
            full: all uplinks carry data. backup: backup uplinks carry data only when no other works. \
            single: one uplink at a time.
            """)

    @Argument(help: "full, backup or single.") var mode: HandoverMode
    @OptionGroup var control: ControlOptions

    func run() throws {
        _ = try Control.ask("mode \(mode.rawValue)", at: control.control)
        print("mode is now \(mode.rawValue)")
    }
}

struct UplinkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uplink",
        abstract: "Changes the role of an uplink of a running proxy, while its connections live.",
        discussion: """
            regular: carries data in every mode. backup: in mode backup only when no regular one works. \
            off: is not used. The role lasts until the proxy ends; the configuration's is written in `uplinks`.
            """)

    @Argument(help: "The uplink, as braid status calls it.") var name: String
    @Argument(help: "regular, backup or off.") var role: UplinkRole
    @OptionGroup var control: ControlOptions

    func run() throws {
        _ = try Control.ask("uplink \(name) \(role.rawValue)", at: control.control)
        print("\(name) is now \(role.rawValue)")
    }
}

extension UplinkRole: ExpressibleByArgument {}
extension HandoverMode: ExpressibleByArgument {}

import ArgumentParser
import Glibc
import Multipath
import Proxy
import Shell
import Tunnel

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

    @Flag(help: "A screen that stays in place, until q; plain lines where there is no terminal.")
    var watch = false
    @Flag(help: "Print JSON; with --watch one line a second.") var json = false
    @OptionGroup var control: ControlOptions

    func run() throws {
        if watch, !json, Terminal.isUsable { return try StatusWatch.run(control: control.control) }
        repeat {
            let answer = try Control.ask("status", at: control.control)
            if json {
                let text = Printable.json(answer)
                show(watch ? text.replacing("\n", with: "") + "\n" : text)
            } else {
                let lines = StatusTable.lines(try StatusDocument(json: answer)).map(Printable.text)
                show(lines.joined(separator: "\n") + "\n")
            }
            if watch { sleep(1) }
        } while watch
    }

    /// A closed pipe (`braid status --watch | head`) ends the watching.
    private func show(_ text: String) { if !Output.write(text) { Output.end() } }
}

struct ModeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mode",
        abstract: "Changes the handover mode of a running proxy, while its connections live.",
        discussion: """
            full: all uplinks carry data. backup: backup uplinks carry data only when no other works. \
            single: one uplink at a time. auto: one uplink while nothing but small exchanges pass, more while \
            somebody waits (a transfer that lasts, a call, interactive traffic). What a screen knows helps it: \
            --in-use has what moves waited for sooner, --idle nothing but calls; without either it goes by \
            the traffic alone.
            """)

    @Argument(help: "full, backup, single or auto; left out with --in-use or --idle.")
    var mode: ModeChoice?
    @Flag(help: "With auto: somebody uses this machine now.") var inUse = false
    @Flag(help: "With auto: nobody does; the screen is off.") var idle = false
    @OptionGroup var control: ControlOptions

    func validate() throws {
        guard !inUse || !idle else {
            throw ValidationError("--in-use and --idle say the opposite; give one of them")
        }
        guard mode != nil || inUse || idle else {
            throw ValidationError("give a mode: full, backup, single or auto")
        }
        guard mode == nil || mode == .auto || !inUse && !idle else {
            throw ValidationError("--in-use and --idle are for the mode auto")
        }
    }

    func run() throws {
        let hint: ModeByUse.Hint = inUse ? .inUse : idle ? .idle : .unknown
        let words = mode.map { ModeWish($0, hint: hint).words } ?? hint.rawValue
        _ = try Control.ask("mode \(words)", at: control.control)
        print("mode is now \(mode == nil ? ModeWish(.auto, hint: hint).words : words)")
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
extension ModeChoice: ExpressibleByArgument {}

import ArgumentParser
import Configuration
import Glibc
import Measures
import Shell

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks what can keep a pair from working, and says how to mend it.",
        discussion: """
            Reads a configuration and looks, in this order, at the clock, the kernel's settings, each uplink, names, \
            the way to the concentrator over each uplink alone (round trip, packet size, up to 2 MB or 3 s each way for \
            rate and loss, the address that is seen of it, how long a NAT keeps a silent flow), and versions. A running \
            proxy is not disturbed. The exit code is 0 where nothing is wrong, 1 where something is, 2 where the \
            configuration can't be used.
            """)

    @Option(
        help: "The configuration; left out: the one in /etc/braid, or in ~/.config/braid.")
    var config: String?

    @Flag(help: "Leave out what moves much or takes long: rates, and the NAT's time-out.")
    var quick = false

    @Option(
        name: .customLong("nat-timeout"),
        help: "Seconds of silence after which uplinks must still hear, 2 to 600.")
    var natTimeout = 25

    func validate() throws {
        guard (2...600).contains(natTimeout) else {
            throw ValidationError("--nat-timeout \(natTimeout): 2 to 600 seconds are possible")
        }
    }

    func run() throws {
        Privileges.forbidDumps()
        // As the program itself does it.
        DescriptorLimit.raise()
        LogSetup.bootstrap(level: .critical)
        let file = try config ?? onlyConfiguration()
        let configuration = try complaining { () throws(ConfigurationErrors) in
            try Configuration.check(file: file)
        }
        let findings = Findings()
        findings.ok("\(Printable.text(file)) has nothing wrong; this is braid \(Braid.version)")
        MachineChecks(findings).run()
        switch configuration {
        case .proxy(let proxy):
            let silence = quick ? nil : Interval.seconds(Int64(natTimeout))
            ProxyChecks(proxy, findings, silence: silence).run()
        case .concentrator(let concentrator): ConcentratorChecks(concentrator, findings).run()
        }
        findings.close()
        if findings.wrong > 0 { throw ExitCode(1) }
    }

    /// The one that `braid setup` or `braid join` has made here.
    private func onlyConfiguration() throws -> String {
        let folders = [SetupPlan.defaultFolder, SetupPlan.ownFolder]
        let files = folders.flatMap { folder in
            ["\(folder)/proxy.yaml", "\(folder)/concentrator.yaml"]
        }
        let found = files.filter { file in access(file, F_OK) == 0 }
        guard found.count < 2 else {
            throw Complaint.input(
                "there are several configurations, choose one with --config: "
                    + found.joined(separator: " or "))
        }
        guard let file = found.first else {
            throw Complaint.input(
                "no configuration in \(folders.joined(separator: " or ")); name one with --config")
        }
        return file
    }
}

/// What was found, told as it is found.
final class Findings {
    private(set) var wrong = 0
    private var doubtful = 0

    func ok(_ text: String) { tell("ok   ", text) }

    /// Works, and may be better.
    func warning(_ text: String, mend: String) {
        doubtful += 1
        tell("warn ", text, mend)
    }

    /// Keeps the pair, or an uplink of it, from working.
    func wrong(_ text: String, mend: String) {
        wrong += 1
        tell("WRONG", text, mend)
    }

    /// The status of the program of that role that runs here, where one does, and of which version
    /// it is. `control`: where it listens.
    func running(_ role: String, control: String?) -> StatusDocument? {
        let answer = try? Control.ask("status", at: control)
        guard let document = answer.flatMap({ try? StatusDocument(json: $0) }),
            document.status.role == role
        else {
            warning(
                "no \(role) of this user runs here",
                mend: "start it: braid \(role) --config FILE, or its unit")
            return nil
        }
        if document.version == Braid.version {
            ok("a \(role) runs here, since \(Int(document.status.uptimeSeconds)) s")
        } else {
            warning(
                "the \(role) that runs here is of version \(Printable.text(document.version))",
                mend: "braid upgrade has this version take its place")
        }
        return document
    }

    func close() {
        let text =
            wrong > 0
            ? "\(StatusTable.counted(wrong, "thing")) to mend"
            : doubtful > 0
                ? "works; \(StatusTable.counted(doubtful, "thing")) may be better" : "all well"
        Output.write("\(text)\n")
    }

    private func tell(_ word: String, _ text: String, _ mend: String? = nil) {
        Output.write("\(word) \(text)\n" + (mend.map { "      \($0)\n" } ?? ""))
    }
}

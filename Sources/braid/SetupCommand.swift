import ArgumentParser
import Configuration
import Crypto
import Glibc
import Shell
import Wire

struct SetupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup",
        abstract: "Makes what a side needs: key, configuration, service.",
        subcommands: [SetupConcentratorCommand.self])
}

/// Where files are made, and whether anything is done at all.
struct SetupOptions: ParsableArguments {
    @Option(help: "The folder of key and configuration.") var folder: String?
    @Flag(help: "Show what would be done, and do nothing.") var print = false
    @Flag(help: "Make no service of systemd's, and start nothing.") var noService = false

    @Option(help: "The user that the service runs as; made where it is missing.") var runAs =
        Privileges.dedicatedUser

    /// The service's user; nil where who runs the command runs the program, too.
    var user: String? { geteuid() == 0 ? runAs : nil }

    var path: String {
        if let folder { return folder.hasSuffix("/") ? String(folder.dropLast()) : folder }
        if geteuid() == 0 || print { return SetupPlan.defaultFolder }
        return SetupPlan.ownFolder
    }

    /// Whether a service is made: only for files in the folder that its unit names.
    var hasService: Bool {
        !noService && path == SetupPlan.defaultFolder && Command.hasSystemd
    }
}

struct SetupConcentratorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "concentrator",
        abstract: "Makes a concentrator of this machine, and an invitation to it.",
        discussion: """
            Makes a key, a configuration and a service, starts it, and prints a link for braid join on the other \
            machine. What is there already is left as it is.
            """)
    @Option(help: "The UDP port.") var port: UInt16 = Defaults.concentratorPort
    @Option(help: "The name or address by which proxies reach this machine.") var name: String?
    @Option(help: "Who is invited.") var user = "first"
    @Option(help: "Where users are kept.") var state: String?
    @OptionGroup var options: SetupOptions

    func run() throws {
        let name = try name.map { text -> Target in
            guard port > 0, let target = Target(hostAndPort: text, defaultPort: port) else {
                throw Complaint.input("\"\(Printable.text(text))\" is no name or address")
            }
            return target
        }
        guard port > 0 else { throw Complaint.input("port 0 is no port") }
        _ = try checked(user)
        let plan = plan(name)
        if options.print {
            Swift.print(plan.text)
            Swift.print("then: an invitation for \(user), as braid user invite \(user) makes it")
            return
        }
        let file = "\(options.path)/concentrator.yaml"
        let isThere = access(file, F_OK) == 0
        try plan.perform { Swift.print($0) }
        // Behind the code, which fills a screen.
        defer { if !options.hasService { sayStart(file, isThere) } }
        guard !UserDirectory("\(stateFolder)/users").isTaken(user) else {
            Swift.print(
                "\(user) is invited or in already. Another link: braid user invite NAME; in"
                    + " the place of the one that was printed, first: braid user remove \(user)")
            return
        }
        let invite = try UserInviteCommand.parse([user, "--config", file])
        try invite.run()
    }

    /// What is left to do where no service starts it; `isThere`: an earlier setup made `file`.
    private func sayStart(_ file: String, _ isThere: Bool) {
        if isThere,
            let options = try? ConcentratorOptions.parse(["--config", file]),
            let path = (try? options.read()).flatMap(options.controlPath), Control.answers(path)
        {
            Swift.print("A concentrator runs here already: it answers at \(path).")
        } else {
            Swift.print("Start it with: braid concentrator --config \(file)")
        }
    }

    private var stateFolder: String {
        let folder =
            state ?? (geteuid() == 0 || options.print ? SetupPlan.defaultState : options.path)
        // What a configuration names is looked for beside it.
        return folder.hasPrefix("/") ? folder : "\(SetupPlan.workingFolder)/\(folder)"
    }

    private func plan(_ name: Target?) -> SetupPlan {
        var plan = SetupPlan()
        let folder = options.path, owner = options.user
        let mode: mode_t = owner == nil ? 0o600 : 0o640
        if let owner { plan.add(.user(owner)) }
        plan.add(.folder(folder, mode: owner == nil ? 0o700 : 0o750, owner: nil, group: owner))
        plan.add(
            .file(
                "\(folder)/concentrator.key", text: SystemRandom.key().base64 + "\n", mode: mode,
                group: owner, isSecret: true))
        plan.add(
            .folder("\(stateFolder)", mode: 0o700, owner: owner, group: owner))
        plan.add(.folder("\(stateFolder)/users", mode: 0o700, owner: owner, group: owner))
        plan.add(
            .file(
                "\(folder)/concentrator.yaml", text: text(name, folder), mode: mode, group: owner))
        guard options.hasService else { return plan }
        plan.addService(
            "braid-concentrator", text: Units.concentrator(for: options.runAs))
        return plan
    }

    private func text(_ name: Target?, _ folder: String) -> String {
        """
        # Made by braid setup concentrator. All keys are explained in docs/operations.md; after a change:
        # braid reload
        listen: ["0.0.0.0:\(port)"]
        private_key_file: concentrator.key
        users_directory: \(SetupPlan.quoted("\(stateFolder)/users"))
        \(name.map { "public_address: [\"\($0)\"]\n" } ?? "")
        """
    }
}

/// The units of deploy/systemd, which the program has inside.
enum Units {
    static func concentrator(for user: String) -> String {
        unit(PackageResources.braid_concentrator_service, user)
    }
    static func proxy(for user: String) -> String {
        unit(PackageResources.braid_proxy_service, user)
    }

    private static func unit(_ bytes: [UInt8], _ user: String) -> String {
        String(decoding: bytes, as: UTF8.self)
            .replacing("User=braid\nGroup=braid\n", with: "User=\(user)\n")
            .replacing("/usr/local/bin/braid", with: Successor.program ?? "/usr/local/bin/braid")
    }
}

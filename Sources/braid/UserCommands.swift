import ArgumentParser
import Concentrator
import Configuration
import Crypto
import Glibc
import Shell
import Wire

struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Who may use a concentrator: add, invite, list, remove, at once.",
        discussion: """
            Users that are written in the configuration itself are left alone; those of these commands have a \
            file each in its users_directory. A running concentrator is told, and goes on with its connections.
            """,
        subcommands: [
            UserAddCommand.self, UserInviteCommand.self, UserListCommand.self,
            UserRemoveCommand.self
        ])
}

/// How the commands find the concentrator whose users they change.
struct ConcentratorOptions: ParsableArguments {
    @Option(help: "The concentrator's configuration.") var config =
        "\(SetupPlan.defaultFolder)/concentrator.yaml"
    @OptionGroup var control: ControlOptions

    func read() throws -> ConcentratorConfiguration {
        guard
            case .concentrator(let found) = try complaining({
                () throws(ConfigurationErrors) in try Configuration.check(file: config)
            })
        else {
            throw Complaint.input(
                "\(config) is a proxy's configuration; users are the concentrator's")
        }
        return found
    }

    func directory(of configuration: ConcentratorConfiguration) throws -> UserDirectory {
        if let directory = configuration.usersDirectory { return directory }
        throw Complaint.input(
            "\(config) has no folder for users; add the line users_directory: users.d, make that folder,"
                + " and say braid reload")
    }

    /// Where a concentrator with `configuration` is asked, if one has been here.
    func controlPath(_ configuration: ConcentratorConfiguration) -> String? {
        control.control ?? configuration.program.control
            ?? ControlPath.places(ConfigurationKind.concentrator.rawValue)
            .first(where: { access($0, F_OK) == 0 })
    }

    /// Has a running concentrator read its users anew; says in a sentence where that is not so.
    func takeEffect(_ configuration: ConcentratorConfiguration) throws -> String {
        guard let path = controlPath(configuration) else {
            return "no concentrator runs here: it holds from its next start on"
        }
        do {
            _ = try Control.ask("reload", at: path)
            return "in effect"
        } catch let complaint as Complaint where complaint.exitCode == 1 {
            return "no concentrator runs here: it holds from its next start on"
        } catch let complaint as Complaint {
            throw Complaint(
                sentences: ["written, but the concentrator does not take it over:"]
                    + complaint.sentences,
                exitCode: 1)
        }
    }
}

extension ConcentratorOptions {
    /// Says what of a new user is another's already.
    fileprivate func refuse(
        _ name: String, _ key: Key32, _ configuration: ConcentratorConfiguration
    ) throws {
        let settings = configuration.settings
        if settings.users.contains(where: {
            $0.name == name || $0.name == ConcentratorSettings.Invitation.prefix + name
        }) {
            throw Complaint.input(
                "there is a user \(name) already, or somebody invited by that name")
        }
        if let other = settings.users.first(where: { $0.publicKey == key }) {
            throw Complaint.input("\(other.name) has that public key; every user has its own")
        }
        if key == settings.identity.publicKey {
            throw Complaint.input(
                "that is this concentrator's own public key; give the one of the user's proxy")
        }
    }
}

/// A file of the users' directory can be called so.
func checked(_ name: String) throws -> String {
    guard UserDirectory.isName(name) else {
        throw Complaint.input(
            "\"\(Printable.text(name))\" can't be a user's name here; take 1 to 64 of A-Z a-z 0-9 . _ -"
        )
    }
    return name
}

/// What `body` can't do is a sentence for a person.
func writing<R>(_ body: () throws(UserDirectory.Failure) -> R) throws -> R {
    do { return try body() } catch { throw Complaint.failure("\(error)") }
}

/// As a file's first line has it.
var today: String { String(UniversalTime.text(UniversalTime.now).prefix(10)) }

struct UserAddCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Lets the proxy with a public key in.")
    @Argument(help: "The user's name.") var name: String
    @Argument(help: "What braid keygen printed for the user's proxy.") var publicKey: String
    @OptionGroup var concentrator: ConcentratorOptions

    func run() throws {
        let name = try checked(name), configuration = try concentrator.read()
        guard let key = Key32(base64: publicKey), key != .zero else {
            throw Complaint.input("\"\(Printable.text(publicKey))\" is no public key")
        }
        try concentrator.refuse(name, key, configuration)
        let directory = try concentrator.directory(of: configuration)
        let text = UserDirectory.text(publicKey: key, when: today)
        try writing { () throws(UserDirectory.Failure) in try directory.add(name, text) }
        print("\(name) may come in: \(try concentrator.takeEffect(configuration))")
    }
}

struct UserRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Locks a user out, or takes an invitation back; their sessions end at once.")
    @Argument(help: "The user's name, as braid user list has it.") var name: String
    @OptionGroup var concentrator: ConcentratorOptions

    func run() throws {
        let configuration = try concentrator.read()
        let name = try checked(
            name.hasPrefix(ConcentratorSettings.Invitation.prefix)
                ? String(name.dropFirst(ConcentratorSettings.Invitation.prefix.count)) : name)
        let directory = try concentrator.directory(of: configuration)
        let isGone = try writing { () throws(UserDirectory.Failure) in
            try directory.remove(name)
        }
        guard isGone else {
            if configuration.settings.users.contains(where: { $0.name == name }) {
                throw Complaint.input(
                    "\(name) stands in \(concentrator.config): take the user out there, then say braid reload"
                )
            }
            throw Complaint.input("there is no user \(name); braid user list shows them")
        }
        print("\(name) is locked out: \(try concentrator.takeEffect(configuration))")
    }
}

struct UserListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Shows the users, and the invitations that are open.")
    @OptionGroup var concentrator: ConcentratorOptions

    func run() throws {
        let configuration = try concentrator.read()
        let settings = configuration.settings
        let rows = settings.users.map { user -> [String] in
            guard let invitation = settings.invitations[user.name] else {
                let isFile =
                    configuration.usersDirectory.map { access($0.file(of: user.name), F_OK) == 0 }
                    ?? false
                return [user.name, user.publicKey.base64, isFile ? "" : "in the configuration"]
            }
            let end = invitation.expires.map { ", until \(UniversalTime.text($0))" } ?? ""
            let uses = invitation.uses == 1 ? "once" : "\(invitation.uses) times"
            return [invitation.file, "", "invited, \(uses)\(end)"]
        }
        let width = rows.map { $0[0].count }.max() ?? 0
        for row in rows {
            let name = row[0] + String(repeating: " ", count: width - row[0].count)
            print(([name] + row[1...].filter { !$0.isEmpty }).joined(separator: "  "))
        }
        if rows.isEmpty { print("nobody; let somebody in with braid user invite NAME") }
    }
}

struct UserInviteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite",
        abstract: "Makes an invitation: a link, and its QR code, for braid join.",
        discussion: """
            Whoever has the link may come in by it, once and within a week unless said otherwise. What comes in \
            makes a key of its own; the link's is good for nothing else.
            """)
    @Argument(help: "The user's name.") var name: String
    @Option(help: "Machines that may come in by it, 1 to \(UserDirectory.maximumUses).") var uses =
        1
    @Option(help: "How long it is good: 30m, 12h, 7d, or never (without an end).") var valid = "7d"
    @Option(help: "HOST:PORT by which proxies reach this concentrator; may be repeated.")
    var address: [String] = []
    @Flag(help: "Print the link alone.") var plain = false
    @OptionGroup var concentrator: ConcentratorOptions

    func run() throws {
        let name = try checked(name), configuration = try concentrator.read()
        guard (1...UserDirectory.maximumUses).contains(uses) else {
            throw Complaint.input("--uses is from 1 to \(UserDirectory.maximumUses)")
        }
        let expires = try Validity(valid).end
        let key = StaticKeyPair(privateKey: SystemRandom.key())
        try concentrator.refuse(name, key.publicKey, configuration)
        let directory = try concentrator.directory(of: configuration)
        let addresses = try InvitedAddresses.find(address, configuration)
        let text = UserDirectory.text(
            invitation: key.publicKey, expires: expires, uses: uses, when: today)
        try writing { () throws(UserDirectory.Failure) in try directory.add(name, text) }
        let effect = try concentrator.takeEffect(configuration)
        let link = Invitation(
            addresses: addresses.targets,
            concentratorKey: configuration.settings.identity.publicKey, secret: key.privateKey
        ).link
        if plain { print(link); return }
        InvitationText.show(
            link, name: name, uses: uses, expires: expires, effect: effect,
            note: addresses.note)
    }
}

/// How long an invitation is good, as a person says it.
struct Validity {
    /// Seconds since 1970; nil: it lasts.
    let end: Int64?

    init(_ text: String) throws {
        if text == "never" { end = nil; return }
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()),
            (1...3_650 * 86_400).contains(count),
            count.multipliedReportingOverflow(by: unit).partialValue <= 3_650 * 86_400
        else {
            throw Complaint.input(
                "\"\(Printable.text(text))\" is no time such as 30m, 12h or 7d, nor never")
        }
        end = UniversalTime.now + count * unit
    }
}

/// Where an invitation leads.
struct InvitedAddresses {
    var targets: [Target]
    /// What is worth a word about them.
    var note: String?

    /// As given, else as the configuration says, else by the interfaces of this machine.
    static func find(
        _ given: [String], _ configuration: ConcentratorConfiguration
    ) throws -> InvitedAddresses {
        if !given.isEmpty {
            return InvitedAddresses(
                targets: try given.prefix(8).map { text in
                    guard
                        let target = Target(
                            hostAndPort: text, defaultPort: configuration.port)
                    else { throw Complaint.input("\"\(Printable.text(text))\" is no HOST:PORT") }
                    return target
                })
        }
        if !configuration.publicAddress.isEmpty {
            return InvitedAddresses(targets: Array(configuration.publicAddress.prefix(8)))
        }
        let own = configuration.settings.listen.filter { !$0.address.isWildcard }
        let found =
            own.isEmpty
            ? MachineAddresses.global().map { Target(host: .address($0), port: configuration.port) }
            : own.map { Target(host: .address($0.address), port: $0.port) }
        guard !found.isEmpty else {
            throw Complaint.input(
                "this machine has no address that others could reach: name one with --address HOST:PORT"
            )
        }
        let isPrivate = found.allSatisfy {
            if case .address(let address) = $0.host {
                MachineAddresses.isPrivate(address)
            } else {
                false
            }
        }
        return InvitedAddresses(
            targets: Array(found.prefix(8)),
            note: isPrivate
                ? "only private addresses were found: where proxies reach this machine by another,"
                    + " name it with --address HOST:PORT, or as public_address in the configuration"
                : nil)
    }
}

extension ConcentratorConfiguration {
    /// Of its first address.
    var port: UInt16 { settings.listen.first?.port ?? Defaults.concentratorPort }
}

/// What is printed of a new invitation.
enum InvitationText {
    static func show(
        _ link: String, name: String, uses: Int, expires: Int64?, effect: String, note: String?
    ) {
        let times = uses == 1 ? "once" : "\(uses) times"
        let until = expires.map { "until \(UniversalTime.text($0))" } ?? "without an end"
        print("\(name) is invited (good \(times), \(until)): \(effect)")
        print("On the other machine:\n\n    sudo braid join '\(link)'\n")
        if isatty(STDOUT_FILENO) != 0, let code = QRCode(link) {
            print(code.lines.joined(separator: "\n") + "\n")
        }
        print("Whoever reads the link or the code can come in by it.")
        if let note { print("Note: \(note).") }
    }
}

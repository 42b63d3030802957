import Concentrator
import Crypto
import Measures
import Shell
import Tunnel
import Wire

/// What `braid concentrator` needs to know.
public struct ConcentratorConfiguration: Equatable, Sendable {
    /// What every program has: log, status page, control socket, user.
    public var program: ProgramConfiguration
    /// For `ConcentratorServer`, with keys read and names checked.
    public var settings: ConcentratorSettings
    /// Where `braid user` writes; nil: nowhere.
    public var usersDirectory: UserDirectory?
    /// What invitations name; empty: the addresses of this machine's interfaces.
    public var publicAddress: [Target] = []
}

/// Keys of a concentrator's file.
enum ConcentratorKey: String, CommonKey {
    case listen, announce, joinFirstAddress = "join_first_address", privateKeyFile =
        "private_key_file", users, usersDirectory = "users_directory", egress, dialTimeout =
        "dial_timeout",
        status, control, user
    case logLevel = "log_level", pcap, congestion, limits, udpFiltering = "udp_filtering"
    case logFormat = "log_format", history
    case publicAddress = "public_address"
}

/// Keys of one of the `users`.
enum UserKey: String, CaseIterable {
    case name, publicKey = "public_key", preSharedKeyFile = "pre_shared_key_file", egress, names
}

/// Keys of `egress`, the concentrator's and a user's.
enum EgressKey: String, CaseIterable { case deny, allow }

extension ConcentratorConfiguration {
    /// Reads a tree; nil where anything is wrong, all of which then stands in `report`.
    init?(_ root: Item, folder: String, report: Report) {
        guard
            let table = Table<ConcentratorKey>(
                root, name: "", place: root.place,
                report: report)
        else {
            return nil
        }
        let common = Common(CommonFields(table), folder: folder)
        table[.limits]?.refuse(
            [.dialogue, .idleBody, .unauthenticated],
            "is the proxy's to limit; no application connects to a concentrator")
        let listen = ConcentratorConfiguration.listen(table[.listen])
        let announce = ConcentratorConfiguration.announced(table[.announce])
        let joinsFirst = table[.joinFirstAddress].map { $0.choice(Truth.self) } ?? .true
        if joinsFirst == .false, table[.announce] == nil {
            table[.joinFirstAddress]?.complain(
                "leaves no address for further paths; name one with announce: [\"203.0.113.8:443\"]"
            )
        }
        let admitted = Admitted(table, folder: folder, own: common.identity?.publicKey)
        let publicAddress = table[.publicAddress].map {
            ($0.list() ?? []).compactMap {
                $0.hostAndPort(defaultPort: Defaults.concentratorPort)
            }
        }
        let egress = ConcentratorConfiguration.egress(table[.egress])
        let dialTimeout =
            table[.dialTimeout].map { $0.interval(in: Defaults.dialTimeoutRange) }
            ?? Defaults.dialTimeout
        let filtering =
            table[.udpFiltering].map { $0.choice(DatagramFiltering.self) } ?? Defaults.udpFiltering
        guard report.problems.isEmpty,
            let identity = common.identity,
            let filtering,
            let joinsFirst,
            let dialTimeout
        else { return nil }
        program = common.program
        settings = ConcentratorSettings(
            identity: identity, listen: listen, users: admitted.users.map(\.user))
        for user in admitted.users { settings.userEgress[user.user.name] = user.egress }
        settings.usersWithoutNames = admitted.withoutNames
        settings.invitations = admitted.invitations
        settings.formerInvitations = admitted.formerInvitations
        usersDirectory = admitted.directory
        self.publicAddress = publicAddress ?? []
        settings.announce = announce
        settings.joinsFirstAddress = joinsFirst == .true
        settings.egress = egress
        settings.dialTimeout = dialTimeout
        settings.datagrams.filtering = filtering
        settings.take(common)
    }

    private static func listen(_ field: Field?) -> [SocketAddress] {
        guard let field else { return [SocketAddress(Defaults.concentratorListen)!] }
        guard let fields = field.list() else { return [] }
        if fields.isEmpty {
            field.complain("is empty; name a UDP port, such as \(Defaults.concentratorListen)")
        }
        var found: [SocketAddress] = []
        for field in fields {
            guard let address = field.socketAddress(example: Defaults.concentratorListen) else {
                continue
            }
            if address.port == 0 {
                field.complain("port 0 is no port; proxies must know where to send")
            }
            if found.contains(address) {
                field.complain("\(address) is listed twice; leave one of them out")
            }
            found.append(address)
        }
        return found
    }

    private static func announced(_ field: Field?) -> [SocketAddress] {
        guard let field, let fields = field.list() else { return [] }
        if fields.count > ConcentratorSettings.maximumAnnounced {
            field.complain(
                "has \(fields.count) addresses; \(ConcentratorSettings.maximumAnnounced) can be announced"
            )
        }
        var found: [SocketAddress] = []
        for field in fields {
            guard let address = field.socketAddress(example: "203.0.113.8:443") else { continue }
            if address.port == 0 || address.address.isUnspecified {
                field.complain(
                    "\(address) is no address to send to; give one by which proxies reach this machine"
                )
            }
            if found.contains(address) {
                field.complain("\(address) is listed twice; leave one of them out")
            }
            found.append(address)
        }
        return found
    }

    /// Whom the file and its `users_directory` let in.
    private struct Admitted {
        var directory: UserDirectory?
        var users: [ConfiguredUser]
        var invitations: [String: ConcentratorSettings.Invitation] = [:]
        /// Keys of those that are none any more.
        var formerInvitations: [Key32] = []
        var withoutNames: Set<String> { Set(users.filter { !$0.hasNames }.map(\.user.name)) }

        init(_ table: Table<ConcentratorKey>, folder: String, own: Key32?) {
            directory = table[.usersDirectory]?.path(relativeTo: folder).map(UserDirectory.init)
            let hasDirectory = directory != nil
            let listed =
                hasDirectory
                ? table[.users]
                : table.required(.users, "write users: [ { name: alice, public_key: \"...\" } ]")
            users =
                listed.map {
                    ConcentratorConfiguration.users(
                        $0, mayBeEmpty: hasDirectory, folder: folder, own: own)
                } ?? []
            guard let directory, let field = table[.usersDirectory] else { return }
            var invitations: [String: ConcentratorSettings.Invitation] = [:]
            formerInvitations = directory.formerInvitations()
            let over = directory.read(field, own: own, users: &users) { invitations[$0] = $1 }
            formerInvitations += over
            self.invitations = invitations
        }
    }

    private static func users(
        _ field: Field, mayBeEmpty: Bool, folder: String, own: Key32?
    ) -> [ConfiguredUser] {
        guard let fields = field.list() else { return [] }
        if fields.isEmpty, !mayBeEmpty {
            field.complain(
                "is empty, so nobody could connect; add one with a name and a public_key")
        }
        var found: [ConfiguredUser] = []
        for field in fields {
            guard let configured = field.user(folder: folder) else { continue }
            field.compare(configured.user, with: found, own: own)
            found.append(configured)
        }
        return found
    }

    fileprivate static func egress(_ field: Field?) -> EgressPolicy {
        var policy = EgressPolicy()
        guard let field, let table = Table<EgressKey>(field) else { return policy }
        policy.rules = EgressRules(table, isPrivateDenied: table[.deny] == nil)
        // An empty list is meant: whoever writes it denies nothing.
        if case .list(let members)? = table[.deny]?.item.content, members.isEmpty {
            policy.deniesMail = false
        }
        return policy
    }
}

extension ConcentratorSettings {
    /// What both kinds of file say, as a concentrator has it.
    fileprivate mutating func take(_ common: Common) {
        connection = common.connection
        maximumConnections = common.connections ?? Defaults.concentratorConnections
        maximumConnectionsPerUser = common.connectionsPerUser
        maximumHalfOpenPerUser = common.halfOpenPerUser
        maximumSessionsPerUser = common.sessionsPerUser
        memory = common.memory ?? SystemMemory.limit() / Defaults.concentratorMemoryPart
        memoryPerUser = common.memoryPerUser ?? memory / Defaults.userMemoryPart
        dials = common.dials
        lookUps = common.lookUps
        datagrams.associationsPerUser = common.associationsPerUser
        datagrams.perUser = common.datagramsPerUser
        datagrams.flowsPerUser = common.flowsPerUser
        names.perUser = common.questionsPerUser
        pcap = common.pcap
        drain = common.drain
        sessionSilence = common.sessionSilence
    }
}

/// One of the `users`, with its own `egress`.
struct ConfiguredUser {
    var user: EndpointConfiguration.User
    var egress: EgressRules?
    /// Whether the proxy's DNS listener may ask here.
    var hasNames: Bool
}

extension EgressRules {
    /// `isPrivateDenied`: whether it is without being named.
    fileprivate init(_ table: Table<EgressKey>, isPrivateDenied: Bool) {
        self.init(deniesPrivate: isPrivateDenied)
        for member in table[.deny]?.list() ?? [] {
            if case .text("private") = member.item.content { deniesPrivate = true; continue }
            if let rule = member.egressRule(words: ["private"]) { deny.append(rule) }
        }
        allow = (table[.allow]?.list() ?? []).compactMap { $0.egressRule(words: []) }
    }
}

extension Field {
    /// Says what of a user collides with those before it.
    fileprivate func compare(
        _ user: EndpointConfiguration.User, with others: [ConfiguredUser], own: Key32?
    ) {
        if others.contains(where: { $0.user.name == user.name }) {
            complain("the name \"\(user.name)\" is used twice; every user has its own")
        }
        if let other = others.first(where: { $0.user.publicKey == user.publicKey }) {
            complain(
                "\(user.name) has the public key of \(other.user.name); every user has its own")
        }
        if user.publicKey == own {
            complain(
                "\(user.name) has this concentrator's own public key;"
                    + " it must be that of the user's proxy")
        }
    }

    fileprivate func user(folder: String) -> ConfiguredUser? {
        guard let table = Table<UserKey>(self) else { return nil }
        let name = table.required(.name, "it stands in logs and in braid status").flatMap {
            $0.userName()
        }
        let key = table.required(
            .publicKey,
            "it is what braid keygen printed for this user's proxy")?.publicKey()
        let preSharedKey = table[.preSharedKeyFile]?.key(relativeTo: folder)
        let egress = table[.egress].flatMap { Table<EgressKey>($0) }
            .map { EgressRules($0, isPrivateDenied: false) }
        let names = table[.names].map { $0.choice(Truth.self) } ?? .true
        guard let name, let key, let names else { return nil }
        return ConfiguredUser(
            user: EndpointConfiguration.User(
                name: name, publicKey: key, preSharedKey: preSharedKey), egress: egress,
            hasNames: names == .true)
    }

    /// Something that fits into a log line.
    private func userName() -> String? {
        guard let text = text() else { return nil }
        let isPlain =
            text.unicodeScalars.allSatisfy { $0.value > 32 } && Printable.text(text) == text
        guard (1...64).contains(text.utf8.count), isPlain,
            !text.hasPrefix(ConcentratorSettings.Invitation.prefix)
        else {
            return wrong("\"\(text)\" can't be a name; take 1 to 64 letters without spaces")
        }
        return text
    }

    /// A range with or without ports; `words` are what else may stand there.
    fileprivate func egressRule(words: [String]) -> EgressRule? {
        guard let text = text() else { return nil }
        if let rule = EgressRule(text) { return rule }
        let hint = nearestName(to: text, among: words).map { "; did you mean \"\($0)\"?" } ?? ""
        let others = words.isEmpty ? "not" : "neither \"\(words[0])\" nor"
        return wrong(
            "\"\(text)\" is \(others) a range such as 198.51.100.0/24, 198.51.100.7:25"
                + " or [2001:db8::/32]:8000-8999\(hint)")
    }
}

extension UserDirectory {
    /// Reads all its files into `users`; what is wrong stands in the report. Invitations are users,
    /// too, by a name that no other has; those whose time is over are left out. Returns the keys of
    /// these.
    fileprivate func read(
        _ field: Field, own: Key32?, users: inout [ConfiguredUser],
        invited: (_ name: String, ConcentratorSettings.Invitation) -> Void
    ) -> [Key32] {
        var over: [Key32] = []
        let names: [String]
        do throws(SystemError) {
            names = try self.names()
        } catch {
            field.complain("can't \(error)")
            return []
        }
        for name in names {
            let path = file(of: name)
            guard let root = Configuration.tree(ofUser: path, report: field.report) else {
                continue
            }
            let file = Field(name: name, item: root, place: .file(path), report: field.report)
            guard
                let table = Table<UserFileKey>(
                    root, name: "", place: .file(path), report: field.report)
            else { continue }
            if let field = table[.invitation] {
                if table.has(.publicKey) {
                    field.complain("stands beside a public_key; leave one of them out")
                }
                guard let invitation = InvitedUser(field) else { continue }
                if let expires = invitation.expires, expires <= UniversalTime.now {
                    over.append(invitation.publicKey)
                    continue
                }
                let user = EndpointConfiguration.User(
                    name: ConcentratorSettings.Invitation.prefix + name,
                    publicKey: invitation.publicKey,
                    preSharedKey: table[.preSharedKeyFile]?.key(relativeTo: self.path + "/"))
                file.compare(user, with: users, own: own)
                users.append(ConfiguredUser(user: user, egress: nil, hasNames: false))
                invited(
                    user.name,
                    .init(file: name, expires: invitation.expires, uses: invitation.uses))
                continue
            }
            let key = table.required(.publicKey, "braid user add \(name) KEY writes it")?
                .publicKey()
            let names = table[.names].map { $0.choice(Truth.self) } ?? .true
            guard let key, let names else { continue }
            let user = EndpointConfiguration.User(
                name: name, publicKey: key,
                preSharedKey: table[.preSharedKeyFile]?.key(relativeTo: self.path + "/"))
            file.compare(user, with: users, own: own)
            let egress = table[.egress].flatMap { Table<EgressKey>($0) }
                .map { EgressRules($0, isPrivateDenied: false) }
            users.append(ConfiguredUser(user: user, egress: egress, hasNames: names == .true))
        }
        return over
    }
}

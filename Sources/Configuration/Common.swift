import Concentrator
import Crypto
import Measures
import Multipath
import Shell
import Subflow

/// Least important records that are logged, in the names of swift-log.
public enum LogLevel: String, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error, critical
}

/// What the programs need besides the settings of proxy and concentrator.
public struct ProgramConfiguration: Equatable, Sendable {
    /// The status page; nil: there is none.
    public var status: StatusConfiguration?
    /// The control socket for `braid status` and `braid mode`; nil: `ControlPath.standard`.
    public var control: String?
    /// Records below it are not written.
    public var logLevel = Defaults.logLevel
    /// For people or for programs.
    public var logFormat = Defaults.logFormat
    /// Where the past is written down; nil: it is forgotten with the process.
    public var history: HistoryConfiguration?
    /// The user that a process started as root becomes; nil: `Privileges.dedicatedUser`, where it
    /// exists.
    public var user: String?
}

/// Where the status page is served, and what it shows and takes.
public struct StatusConfiguration: Hashable, Sendable {
    /// An address of this machine with a port.
    public var address: SocketAddress
    /// What whoever changes something by the page must know; nil: on loopback nothing, elsewhere
    /// nothing is changed.
    public var token: String?
    /// Whether the page shows where connections go; nil: `showsTargets(_:)` decides.
    public var showTargets: Bool?

    /// Whether targets are shown by a program of this kind: as configured, else at a proxy on
    /// loopback, where they are the user's own.
    public func showsTargets(_ kind: ConfigurationKind) -> Bool {
        showTargets ?? (kind == .proxy && address.address.isLoopback)
    }
}

/// Keys of `status`, where it is more than an address.
enum StatusKey: String, CaseIterable { case address, token, showTargets = "show_targets" }

/// Keys of `limits`.
enum LimitKey: String, CaseIterable {
    case connections, connectionsPerUser = "connections_per_user", sendBuffer = "send_buffer"
    case receiveWindow = "receive_window", drain
    case dialogue, idleBody = "idle_body", unauthenticated, session
    case halfOpenPerUser = "half_open_per_user", sessionsPerUser = "sessions_per_user"
    case memory, memoryPerUser = "memory_per_user"
    case dials, dialsPerUser = "dials_per_user", lookUps = "lookups", lookUpsPerUser =
        "lookups_per_user"
    case associationsPerUser = "associations_per_user", datagramsPerUser = "datagrams_per_user"
    case questionsPerUser = "questions_per_user"
    case flowsPerUser = "flows_per_user"
}

/// The fields that both kinds of file have; each nil where the file leaves it out.
struct CommonFields {
    var privateKeyFile: Field?
    var status: Field?
    var control: Field?
    var logLevel: Field?
    var logFormat: Field?
    var history: Field?
    var pcap: Field?
    var congestion: Field?
    var limits: Field?
    var user: Field?

    init(_ table: Table<some CommonKey>) {
        privateKeyFile = table.required(.privateKeyFile, "make a key with: braid keygen FILE")
        status = table[.status]
        control = table[.control]
        logLevel = table[.logLevel]
        logFormat = table[.logFormat]
        history = table[.history]
        pcap = table[.pcap]
        congestion = table[.congestion]
        limits = table[.limits]
        user = table[.user]
    }
}

/// Keys of a file of either kind.
protocol CommonKey: RawRepresentable, CaseIterable, Equatable where RawValue == String {
    static var privateKeyFile: Self { get }
    static var status: Self { get }
    static var control: Self { get }
    static var logLevel: Self { get }
    static var logFormat: Self { get }
    static var history: Self { get }
    static var pcap: Self { get }
    static var congestion: Self { get }
    static var limits: Self { get }
    static var user: Self { get }
}

/// What both kinds of file say.
struct Common {
    var program = ProgramConfiguration()
    /// Nil where the key is missing or unusable, which is reported.
    var identity: StaticKeyPair?
    var pcap: String?
    var connection = ConnectionConfiguration()
    /// Nil: the default of the kind.
    var connections: Int?
    var connectionsPerUser = Defaults.connectionsPerUser
    var drain = Defaults.drain
    var dialogue = Defaults.dialogue
    var idleBody = Defaults.idleBody
    var unauthenticated = Defaults.unauthenticated
    /// The concentrator's, for its users.
    var halfOpenPerUser = Defaults.halfOpenPerUser
    var sessionsPerUser = Defaults.sessionsPerUser
    /// Nil: the default of the kind.
    var memory: Int?
    var memoryPerUser: Int?
    var dials = Turns.Limits(inAll: Defaults.dials, perUser: Defaults.dialsPerUser)
    var lookUps = Turns.Limits(inAll: Defaults.lookUps, perUser: Defaults.lookUpsPerUser)
    var sessionSilence = Defaults.sessionSilence
    var associationsPerUser = Defaults.associationsPerUser
    var datagramsPerUser = Defaults.datagramsPerUser
    var questionsPerUser = Defaults.questionsPerUser
    var flowsPerUser = Defaults.flowsPerUser

    init(_ fields: CommonFields, folder: String) {
        identity = fields.privateKeyFile?.key(relativeTo: folder).map {
            StaticKeyPair(privateKey: $0)
        }
        program.status = fields.status.flatMap { StatusConfiguration($0) }
        program.control = fields.control?.controlPath(relativeTo: folder)
        if let level = fields.logLevel?.choice(LogLevel.self) { program.logLevel = level }
        if let format = fields.logFormat?.choice(LogFormat.self) { program.logFormat = format }
        program.history = fields.history.flatMap { HistoryConfiguration($0, folder: folder) }
        program.user = fields.user?.userName()
        pcap = fields.pcap?.path(relativeTo: folder)
        connection.subflow.congestion =
            fields.congestion?.choice(CongestionAlgorithm.self)
            ?? Defaults.congestion
        connection.sendLimit = Defaults.sendBuffer.bytes
        connection.receiveLimit = Defaults.receiveWindow.bytes
        if let field = fields.limits, let limits = Table<LimitKey>(field) { read(limits) }
    }

    private mutating func read(_ limits: Table<LimitKey>) {
        connections = limits[.connections]?.number(in: Defaults.connectionsRange)
        if let count = limits[.connectionsPerUser]?.number(in: Defaults.connectionsRange) {
            connectionsPerUser = count
        }
        halfOpenPerUser =
            limits[.halfOpenPerUser]?.number(in: Defaults.perUserRange) ?? halfOpenPerUser
        sessionsPerUser =
            limits[.sessionsPerUser]?.number(in: Defaults.perUserRange) ?? sessionsPerUser
        memory = limits[.memory]?.bytes(in: Defaults.memoryRange)?.bytes
        memoryPerUser = limits[.memoryPerUser]?.bytes(in: Defaults.memoryRange)?.bytes
        dials.inAll = limits[.dials]?.number(in: Defaults.perUserRange) ?? dials.inAll
        dials.perUser = limits[.dialsPerUser]?.number(in: Defaults.perUserRange) ?? dials.perUser
        lookUps.inAll = limits[.lookUps]?.number(in: Defaults.lookUpsRange) ?? lookUps.inAll
        lookUps.perUser =
            limits[.lookUpsPerUser]?.number(in: Defaults.lookUpsRange) ?? lookUps.perUser
        associationsPerUser =
            limits[.associationsPerUser]?.number(in: Defaults.perUserRange) ?? associationsPerUser
        datagramsPerUser =
            limits[.datagramsPerUser]?.number(in: Defaults.connectionsRange) ?? datagramsPerUser
        questionsPerUser =
            limits[.questionsPerUser]?.number(in: Defaults.perUserRange) ?? questionsPerUser
        flowsPerUser = limits[.flowsPerUser]?.number(in: Defaults.perUserRange) ?? flowsPerUser
        if let size = limits[.sendBuffer]?.bytes(in: Defaults.bufferRange) {
            connection.sendLimit = size.bytes
        }
        if let size = limits[.receiveWindow]?.bytes(in: Defaults.bufferRange) {
            connection.receiveLimit = size.bytes
        }
        if let time = limits[.drain]?.interval(in: Defaults.drainRange) { drain = time }
        if let time = limits[.dialogue]?.interval(in: Defaults.dialogueRange) { dialogue = time }
        if let time = limits[.idleBody]?.interval(in: Defaults.idleBodyRange) { idleBody = time }
        if let count = limits[.unauthenticated]?.number(in: Defaults.connectionsRange) {
            unauthenticated = count
        }
        if let time = limits[.session]?.interval(in: Defaults.sessionSilenceRange) {
            sessionSilence = time
        }
    }
}

extension StatusConfiguration {
    private static let example = "127.0.0.1:9090"

    /// An address by itself, or a table.
    fileprivate init?(_ field: Field) {
        guard case .table = field.item.content else {
            guard let address = field.socketAddress(example: Self.example) else { return nil }
            self.address = address
            return
        }
        guard let table = Table<StatusKey>(field) else { return nil }
        let address = table.required(.address, "give it as \(Self.example)")
            .flatMap { $0.socketAddress(example: Self.example) }
        token = table[.token]?.token()
        showTargets = table[.showTargets]?.choice(Truth.self).map { $0 == .true }
        guard let address else { return nil }
        self.address = address
    }
}

extension Field {
    /// Of `limits`: these are the other program's.
    func refuse(_ keys: [LimitKey], _ complaint: String) {
        guard let limits = Table<LimitKey>(self) else { return }
        for key in keys { limits[key]?.complain(complaint) }
    }

    /// A secret that can be sent in a field of HTTP, and that nobody guesses.
    fileprivate func token() -> String? {
        guard let token = text() else { return nil }
        let isPlain = token.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        guard isPlain, (16...256).contains(token.utf8.count) else {
            return wrong(
                "must have 16 to 256 letters, digits and signs without a space; make one with: "
                    + "openssl rand -hex 16")
        }
        return token
    }

    /// The name of a user of this machine.
    fileprivate func userName() -> String? {
        guard let name = text() else { return nil }
        guard Privileges.User(name: name) != nil else {
            return wrong(
                "\"\(name)\" is no user of this machine; make it with: useradd --system \(name)")
        }
        return name
    }

    /// A path that fits into a Unix socket's address.
    fileprivate func controlPath(relativeTo folder: String) -> String? {
        guard let path = path(relativeTo: folder) else { return nil }
        guard path.utf8.count <= 107 else {
            return wrong("is longer than the 107 bytes a socket's path may have")
        }
        return path
    }
}

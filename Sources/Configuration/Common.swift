import Crypto
import Measures
import Multipath
import Subflow

/// Least important records that are logged, in the names of swift-log.
public enum LogLevel: String, CaseIterable, Sendable { case trace, debug, info, notice, warning, error, critical }

/// What proxy and concentrator have in common.
public struct CommonConfiguration: Sendable {
    public var identity: StaticKeyPair
    /// Where the status page is served; nil: nowhere.
    public var status: SocketAddress?
    /// The control socket for `braid status` and `braid mode`; nil: the place that `ControlPath` gives.
    public var control: String?
    public var logLevel = Defaults.logLevel
    /// A pcap file of what travels inside the tunnel; nil: none is written.
    public var capture: String?
    public var congestion = Defaults.congestion
    public var connections = Defaults.connections
    public var sendBuffer = Defaults.sendBuffer
    public var receiveWindow = Defaults.receiveWindow
    public var drain = Defaults.drain

    /// The settings of one multipath connection.
    public var connection: ConnectionConfiguration {
        var connection = ConnectionConfiguration()
        connection.sendLimit = sendBuffer.bytes
        connection.receiveLimit = receiveWindow.bytes
        connection.subflow.congestion = congestion
        return connection
    }
}

/// Keys of `limits`.
enum LimitKey: String, CaseIterable {
    case connections, sendBuffer = "send_buffer", receiveWindow = "receive_window", drain
}

/// The fields that both kinds of file have; each nil where the file leaves it out.
struct CommonFields {
    var privateKeyFile: Field?
    var status: Field?
    var control: Field?
    var logLevel: Field?
    var capture: Field?
    var congestion: Field?
    var limits: Field?
}

extension CommonConfiguration {
    /// Reads what the file says; nil where the private key is missing or unusable (which is reported).
    init?(_ fields: CommonFields, folder: String) {
        let key = fields.privateKeyFile?.key(relativeTo: folder)
        var common = CommonConfiguration(identity: StaticKeyPair(privateKey: key ?? .zero))
        if let status = fields.status?.socketAddress(example: "127.0.0.1:9090") { common.status = status }
        if let control = fields.control?.controlPath(relativeTo: folder) { common.control = control }
        if let level = fields.logLevel?.choice(LogLevel.self) { common.logLevel = level }
        if let capture = fields.capture?.path(relativeTo: folder) { common.capture = capture }
        if let congestion = fields.congestion?.choice(CongestionAlgorithm.self) { common.congestion = congestion }
        if let field = fields.limits, let limits = Table<LimitKey>(field) { common.read(limits) }
        guard key != nil else { return nil }
        self = common
    }

    private mutating func read(_ limits: Table<LimitKey>) {
        if let count = limits[.connections]?.number(in: Defaults.connectionsRange) { connections = count }
        if let bytes = limits[.sendBuffer]?.bytes(in: Defaults.bufferRange) { sendBuffer = bytes }
        if let bytes = limits[.receiveWindow]?.bytes(in: Defaults.bufferRange) { receiveWindow = bytes }
        if let time = limits[.drain]?.interval(in: Defaults.drainRange) { drain = time }
    }
}

extension Field {
    /// A path that fits into a Unix socket's address.
    fileprivate func controlPath(relativeTo folder: String) -> String? {
        guard let path = path(relativeTo: folder) else { return nil }
        guard path.utf8.count <= 107 else { return wrong("is longer than the 107 bytes a socket's path may have") }
        return path
    }
}

import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// One uplink of the proxy as the engine sees it: a number by which datagrams go out and come in.
public struct Uplink: Sendable {
    public var number: Int
    public var name: String
    public var isBackup: Bool
    /// The largest datagram payload (UDP) this uplink takes, 1472 for an MTU of 1500 over IPv4.
    public var datagramLimit: Int
    /// The family its socket speaks: only the concentrator's addresses of that family are tried through it.
    public var isIPv4: Bool
    public init(number: Int, name: String, isBackup: Bool = false, datagramLimit: Int = 1472, isIPv4: Bool = true) {
        self.number = number; self.name = name; self.isBackup = isBackup; self.datagramLimit = datagramLimit
        self.isIPv4 = isIPv4
    }
}

public struct EndpointConfiguration: Sendable {
    public struct User: Sendable {
        public var name: String
        public var publicKey: Key32
        public var preSharedKey: Key32?
        public init(name: String, publicKey: Key32, preSharedKey: Key32? = nil) { self.name = name; self.publicKey = publicKey; self.preSharedKey = preSharedKey }
    }
    public enum Role: Sendable {
        case proxy(concentrator: [SocketAddress], publicKey: Key32, preSharedKey: Key32?)
        case concentrator(users: [User])
    }
    public var role: Role
    public var identity: StaticKeyPair
    public var connection = ConnectionConfiguration()
    public var mode = HandoverMode.full
    /// Unix time at `Instant.zero` in nanoseconds, for the handshake's replay guard.
    public var epoch: UInt64 = 0
    public var mostConnections = 100_000
    public init(role: Role, identity: StaticKeyPair) { self.role = role; self.identity = identity }
}

/// What the endpoint tells its owner.
public enum EndpointEvent {
    case sessionOpened(session: Int, user: String)
    case sessionClosed(session: Int, reason: String)
    /// A path came, went or changed its health; for logs and status.
    case pathChanged(session: Int, path: Int, health: PathHealth)
    /// Concentrator: dial `target`, then `answer(_:with:)`.
    case incoming(StreamHandle, target: Target, user: String)
    /// Proxy: the concentrator's dial ended.
    case answered(StreamHandle, DialStatus)
    /// Bytes to read, space to write, or the end: look at `handle.connection`.
    case activity(StreamHandle)
}

/// One application connection in a session, from `open` or `.incoming` until `release`.
///
/// The owner reads and writes `connection` (its bytes start behind the preface and the dial status) and
/// calls `Endpoint.touched(_:at:)` afterwards, so that what became sendable is sent.
public final class StreamHandle {
    public let connection: Connection
    public let session: Int
    /// For the owner: its own object for this stream.
    public var owner: AnyObject?
    init(connection: Connection, session: Int) { self.connection = connection; self.session = session }
}

/// Sessions, paths and connections of one process, as a pure state machine over datagrams.
///
/// The turn of the loop: `receive` for every datagram, `advance(to:)`, drain `nextEvent()`, read and write
/// streams, `transmit(into:at:)` until it says that nothing is left, arm a timer at `deadline`.
public final class Endpoint {
    public let configuration: EndpointConfiguration

    public init(configuration: EndpointConfiguration, seed: Key32, at now: Instant) { fatalError("stub") }

    // MARK: Uplinks (proxy)

    public func addUplink(_ uplink: Uplink, at now: Instant) { fatalError("stub") }
    /// The interface or address went away.
    public func removeUplink(_ number: Int, at now: Instant) { fatalError("stub") }
    /// Sending through the uplink failed with an error that says the path is gone.
    public func uplinkFailed(_ number: Int, at now: Instant) { fatalError("stub") }
    public func setMode(_ mode: HandoverMode, at now: Instant) { fatalError("stub") }
    /// The concentrator's addresses, in order of preference, replacing those of the configuration: its name was
    /// resolved (again). Empty at first where a name is not known yet. Living paths stay as they are.
    public func setConcentrator(_ addresses: [SocketAddress], at now: Instant) { fatalError("stub") }

    // MARK: Datagrams and time

    /// Takes one datagram, opening it in place. `local`: the address it came to, where the socket serves several.
    public func receive(_ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress, local: IPAddress, uplink: Int, at now: Instant) { fatalError("stub") }
    /// Writes what is due into `batch` until nothing is left (false) or the batch is full (true).
    public func transmit(into batch: DatagramBatch, at now: Instant) -> Bool { fatalError("stub") }
    public var deadline: Instant { fatalError("stub") }
    public func advance(to now: Instant) { fatalError("stub") }
    public func nextEvent() -> EndpointEvent? { fatalError("stub") }

    // MARK: Streams

    /// Proxy: opens a connection to `target`; it waits for the session where there is none yet.
    public func open(_ target: Target, at now: Instant) -> StreamHandle { fatalError("stub") }
    /// Concentrator: the dial's result, sent before any data; anything but `.connected` also ends the stream.
    public func answer(_ stream: StreamHandle, with status: DialStatus, at now: Instant) { fatalError("stub") }
    /// The owner read, wrote, finished or aborted on the connection.
    public func touched(_ stream: StreamHandle, at now: Instant) { fatalError("stub") }
    /// The owner is done with the handle; the connection winds up by itself.
    public func release(_ stream: StreamHandle, at now: Instant) { fatalError("stub") }
    /// Ends every session, telling the peers.
    public func shutDown(at now: Instant) { fatalError("stub") }

    // MARK: Watching

    /// Called with every segment sent or received inside the tunnel (`--pcap`); nil costs nothing.
    public var capture: ((_ segment: borrowing Segment, _ payload: Pieces, _ from: SocketAddress, _ to: SocketAddress, _ at: Instant) -> Void)?
    /// A snapshot for `braid status`.
    public func report(at now: Instant) -> EndpointReport { fatalError("stub") }
}

/// What `braid status` shows.
public struct EndpointReport: Sendable {
    public struct Path: Sendable {
        public var number: Int
        public var uplink: String
        public var local: String
        public var remote: String
        public var health: PathHealth
        public var isBackup: Bool
        public var smoothedRTT: Interval
        public var minimumRTT: Interval
        /// Share of datagrams lost recently, 0 to 1.
        public var loss: Double
        public var sendRate: Rate
        public var receiveRate: Rate
        public var bytesSent: Int
        public var bytesReceived: Int
    }
    public struct Session: Sendable {
        public var number: Int
        public var user: String
        public var age: Interval
        public var mode: HandoverMode
        public var paths: [Path]
        public var connections: Int
    }
    public var sessions: [Session] = []
    public var connections = 0
    public var datagramsDropped = 0
    public init() {}
}

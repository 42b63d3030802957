import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// What two ends share from one handshake on: keys, paths, connections.
final class Session {
    private(set) var indices: SessionIndices
    let host: SessionHost
    /// Whom it is with.
    let identity: SessionIdentity
    var life = SessionLife.living
    var keys: SessionKeys
    var handshakes = SessionHandshakes()
    var goingAway = GoingAway.no { didSet { timersChanged() } }

    var paths = PathTable()
    /// What changed on the paths, and which connections have not heard of it.
    var changes = PathChanges()
    var modes: SessionModes
    var selection = PathSelection()
    /// What its paths cost, as its connections know it.
    var costs = PathCosts()
    /// When what is said of paths and addresses is said (again).
    var signals = ReliableSignals()
    var addresses = KnownAddresses()
    /// The version of the other end's program; empty while it is not known.
    var peerProgram = ""

    /// Connection slots, in no particular order.
    var streams: [StreamSlot] = []
    /// Subflows by the numbers that name them.
    let numbers: NumberTable
    var directory = ConnectionDirectory()
    /// Its associations' datagrams.
    let datagrams: DatagramFlows
    /// How its connections get over the loss of a path.
    let handovers = HandoverMeter()

    /// At the concentrator: bytes to addresses that have not shown that they receive, all together,
    /// besides the three times that each has.
    var unvalidated = TokenBucket(rate: Limits.unvalidatedRate, burst: Limits.unvalidatedBurst)

    var activity: SessionActivity
    /// Proxy: what moves, where the mode follows from that.
    var use: UseWatch
    var timers = SessionTimers()
    var turn = SessionTurn()

    init(
        _ opening: SessionOpening, host: SessionHost, user: UserState?, peer: SessionPeer,
        memory: MemoryShare, mode: HandoverMode, numberCursor: UInt64, at now: Instant
    ) {
        indices = opening.indices
        self.host = host
        identity = SessionIdentity(
            user: user, peer: peer, instance: opening.instance, memory: memory)
        modes = SessionModes(mode)
        keys = SessionKeys(suite: opening.suite, current: opening.keys)
        numbers = NumberTable(cursor: numberCursor)
        datagrams = DatagramFlows(
            isInitiator: user == nil, share: user?.flows, memory: memory,
            handovers: handovers)
        activity = SessionActivity(at: now)
        costs.backlogTime = host.configuration.backlogTime
        use = UseWatch(isOn: user == nil && host.modeByUse != nil)
        set(.keyDeath, to: opening.keys.since + host.configuration.keyDeath)
        timersChanged()
    }

    // MARK: What it is

    @inline(__always) var isInitiator: Bool { identity.user == nil }
    var user: UserState? { identity.user }
    var peer: SessionPeer { identity.peer }
    var memory: MemoryShare { identity.memory }
    var instance: UInt64 { identity.instance }
    var openedAt: Instant { activity.openedAt }
    var isClosing: Bool { life == .closing }
    var slot: SessionSlot { indices.slot }
    /// Keys are gone that were not renewed in time: nothing leaves until a handshake makes new
    /// ones.
    var hasExpiredKeys: Bool { keys.current.isDead }

    /// Goes on with the keys and indices of a new handshake; packet numbers begin anew with them.
    func goOn(_ indices: SessionIndices, suite: CipherSuite, keys: EpochKeys) {
        self.keys.restart(suite: suite, current: keys)
        self.indices = indices
        timers.forgetCall()
        set(.keyDeath, to: keys.since + host.configuration.keyDeath)
        for case let path? in paths { path.restartNumbers() }
        timersChanged()
    }

    var hasSignals: Bool {
        if addresses.announcing != 0 { return true }
        for case let path? in paths where path.statement.isPending { return true }
        return false
    }
    func hasUsablePath(besides path: Path) -> Bool {
        paths.contains { $0.map { $0 !== path && $0.isOpen && $0.health == .usable } ?? false }
    }

    var hasUsablePath: Bool {
        for case let path? in paths where path.health == .usable { return true }
        return false
    }
    /// A path works, and full datagrams were seen to pass.
    var hasConfirmedPath: Bool {
        for case let path? in paths where path.health == .usable && path.mtu.isBaseConfirmed {
            return true
        }
        return false
    }
    /// Payload came in the last second.
    func wasReceiving(at now: Instant) -> Bool {
        for case let path? in paths
        where path.monitor.silence.lastData > .zero
            && now - path.monitor.silence.lastData < .seconds(1)
        {
            return true
        }
        return false
    }
    /// Something is or was just being transferred: probing is worth its bytes.
    func isActive(at now: Instant) -> Bool {
        !streams.isEmpty && now - activity.last < Limits.activity
    }
}

/// By what a session's datagrams name it.
struct SessionIndices {
    /// Its place at the endpoint.
    var slot: SessionSlot
    /// What the peer writes into its datagrams: the slot and eight bits above it, so that a
    /// datagram of the slot's last session, or of its last keys, costs a comparison, not a
    /// decryption.
    var local: UInt32
    /// What we write.
    var remote: UInt32
}

/// Whom a session is with.
struct SessionIdentity {
    /// At the concentrator: whose it is; nil at the proxy.
    let user: UserState?
    /// What is needed to make new keys with the peer.
    let peer: SessionPeer
    /// The proxy process: its sessions replace one another.
    let instance: UInt64
    /// What its connections may hold.
    let memory: MemoryShare
}

/// A session's life, from when both ends are known to have its keys.
enum SessionLife {
    case living
    /// The peer has closed it, or it has ended: nothing is done for it any more.
    case closing
}

/// By what the peer names a session's connections, besides their subflows' numbers.
struct ConnectionDirectory {
    /// Connections by the listener's token, for joins and requests of such. Looked up, never
    /// iterated.
    var tokens = TokenTable()
    /// At the concentrator: what opened its latest connections.
    var openings = Openings()
    /// Resets of connections this end broke off, repeated until the peer knows.
    var resets = UnconfirmedResets()
}

/// A session's connections by the listener's token, in parts by its lowest bits: a part that grows
/// moves few, where one table would move tens of thousands at once.
struct TokenTable {
    private static let parts = 64
    private var parts: [[UInt32: StreamSlot]] = []

    var isEmpty: Bool { parts.allSatisfy(\.isEmpty) }

    subscript(token: UInt32) -> StreamSlot? {
        get { parts.isEmpty ? nil : parts[Int(token) % Self.parts][token] }
        set {
            if parts.isEmpty {
                guard newValue != nil else { return }
                parts = Array(repeating: [:], count: Self.parts)
            }
            parts[Int(token) % Self.parts][token] = newValue
        }
    }
}

/// What a handshake gives a session to begin with.
struct SessionOpening {
    var indices: SessionIndices
    var instance: UInt64
    var suite: CipherSuite
    var keys: EpochKeys
}

/// The peer's key, and the one that both have beside their own.
struct SessionPeer {
    let publicKey: Key32
    let preSharedKey: Key32
}

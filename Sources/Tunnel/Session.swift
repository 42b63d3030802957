import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// The record keys of one epoch.
final class EpochKeys {
    let epoch: UInt8
    /// Nil once they are too old (`Limits`): nothing is sent with them any more, and nothing
    /// opened.
    private(set) var send: RecordCipher?
    private(set) var receive: RecordCipher?
    let since: Instant
    var isDead: Bool { send == nil }

    init(epoch: UInt8, suite: CipherSuite, keys: NoiseHandshake.TransportKeys, since: Instant) {
        self.epoch = epoch
        send = RecordCipher(suite: suite, key: keys.send)
        receive = RecordCipher(suite: suite, key: keys.receive)
        self.since = since
    }
    func wipe() {
        send = nil
        receive = nil
    }
}

/// What two ends share from one handshake on: keys, paths, connections.
final class Session {
    private(set) var slot: Int
    /// What the peer writes into its datagrams: the slot and eight bits above it, so that a
    /// datagram of the slot's last tenant, or of the session's last keys, costs a comparison, not a
    /// decryption.
    private(set) var localIndex: UInt32
    private(set) var remoteIndex: UInt32
    let isInitiator: Bool
    let host: SessionHost
    /// At the concentrator: whose it is.
    let user: UserState?
    /// Whom it is with, and what is needed to make new keys with it.
    let peer: SessionPeer
    /// What its connections may hold.
    let memory: MemoryShare
    /// The proxy process: its sessions replace one another.
    let instance: UInt64
    private(set) var suite: CipherSuite
    let openedAt: Instant

    /// The peer has proved with a record that it has the keys.
    var isConfirmed: Bool
    private(set) var current: EpochKeys
    /// Still opens late datagrams.
    var previous: EpochKeys?
    var previousUntil = Instant.distantFuture
    /// At the concentrator: used from the first record of the peer's in this epoch on.
    var next: EpochKeys?
    var rekey: RekeyAttempt?
    /// At the concentrator: the answer to the latest message 1, repeated where that is.
    var rekeyAnswer: (message1: [UInt8], message2: [UInt8], epoch: UInt8)?
    /// Before it no message of a rekey is looked into: each costs Diffie-Hellman operations.
    var rekeyAllowedAt = Instant.zero
    var recordsSent: UInt64 = 0
    /// At the concentrator: handshakes by which the same process goes on with this session; the
    /// first that speaks takes it over. Sessions only in name: each has keys and an index of its
    /// own, in this one's slot.
    var successors: [Session] = []
    var isSuccessor = false
    /// At the proxy: times it went on with new keys since it last heard a record.
    var resumptions = 0
    /// At the concentrator: a process that began later on the same machine has a session with the
    /// same key.
    var hasFollower = false
    /// At the concentrator, until the first record: the first MAC of the hello that made it.
    var hello: Bytes16?
    /// At the concentrator, until the first record: where the welcome went, and what each copy
    /// asked.
    var welcomed: [AddressCheck] = []

    var paths: [Path?] = Array(repeating: nil, count: Limits.paths)
    /// What changed on the paths, and which connections have not heard of it.
    var changes = PathChanges()
    /// Counts changes of paths: a connection that has joined at this value has nothing to look for.
    var pathChanges: UInt32 = 1
    /// What connections without a mode of their own have.
    var mode: HandoverMode
    /// The neediest of that and the living connections' own, by which paths are open; and how many
    /// connections have which of their own (`HandoverMode.code`).
    var need: HandoverMode
    var ownModes = [0, 0, 0]
    /// Single mode: the path in use, and when to look again after those that are spare.
    var activePath = -1
    var spareAt = Instant.distantFuture
    /// When unechoed signals are repeated.
    var signals = Repeater()

    /// At the concentrator: which of its announcements have not been echoed, a bit each.
    var announcing = 0
    /// At the proxy: what was announced, by address ID less one; the address the session began on,
    /// and whether further paths may lead there.
    var heard: [Announcement?] = Array(repeating: nil, count: Limits.announcedAddresses)
    var firstRemote: SocketAddress?
    var forbidsFirst = false
    /// The path that ends since it must not have been joined; -1 for none.
    var superseded = -1

    /// Connection slots, in no particular order.
    var streams: [Int] = []
    let numbers: NumberTable
    /// Connections by the listener's token, for joins and requests of such. Looked up, never
    /// iterated.
    var tokens: [UInt32: Int] = [:]

    /// At the concentrator: what opened its latest connections.
    var openings = Openings()
    /// Its associations' datagrams.
    let datagrams: DatagramFlows
    /// They want a turn.
    var isTalking = false
    /// Resets of connections this end broke off, repeated until the peer knows.
    var resets = UnconfirmedResets()

    /// At the concentrator: bytes to addresses that have not shown that they receive, all together,
    /// besides the three times that each has.
    var unproven = TokenBucket(rate: Limits.unprovenRate, burst: Limits.unprovenBurst)

    var lastArrival: Instant
    var lastActivity: Instant
    /// The stream that moved payload most recently: its subflows know the paths' round trips best.
    var lastStream = -1
    /// When `advance` is due; kept so that only an earlier deadline costs anything.
    var scheduled = Instant.distantFuture
    var isDirty = false
    /// A record's frames are being read.
    var isReading = false
    var isClosing = false

    init(
        _ opening: SessionOpening, host: SessionHost, user: UserState?, peer: SessionPeer,
        memory: MemoryShare, mode: HandoverMode, numberCursor: UInt64, at now: Instant
    ) {
        slot = opening.slot
        localIndex = opening.localIndex
        remoteIndex = opening.remoteIndex
        isInitiator = user == nil
        self.host = host
        self.user = user
        self.peer = peer
        self.memory = memory
        instance = opening.instance
        suite = opening.suite
        self.mode = mode
        need = mode
        openedAt = now
        isConfirmed = isInitiator
        current = EpochKeys(epoch: 0, suite: suite, keys: opening.keys, since: now)
        numbers = NumberTable(cursor: numberCursor)
        datagrams = DatagramFlows(isInitiator: user == nil)
        lastArrival = now
        lastActivity = now
    }

    /// Keys are gone that were not renewed in time: nothing leaves until a handshake makes new
    /// ones.
    var isMute: Bool { current.isDead }

    /// No key is left.
    func wipeKeys() {
        current.wipe()
        previous?.wipe()
        next?.wipe()
        previous = nil
        next = nil
        rekey = nil
        rekeyAnswer = nil
    }

    /// From here on records leave with the next epoch's keys; the old ones open what is still under
    /// way.
    func adoptNextKeys(until: Instant) {
        guard let next else { return }
        precondition(next.epoch == current.epoch &+ 1)
        previous = current
        previousUntil = until
        current = next
        self.next = nil
        recordsSent = 0
    }

    /// Goes on with the keys and indices of a new handshake; packet numbers begin anew with them.
    func goOn(
        slot: Int, localIndex: UInt32, remoteIndex: UInt32, suite: CipherSuite, keys: EpochKeys
    ) {
        wipeKeys()
        self.slot = slot
        self.localIndex = localIndex
        self.remoteIndex = remoteIndex
        self.suite = suite
        current = keys
        recordsSent = 0
        for case let path? in paths { path.restartNumbers() }
    }

    /// The keys that open a record with these epoch bits.
    @inline(__always) func keys(epochBits: UInt8) -> EpochKeys? {
        if current.epoch & 3 == epochBits { return current }
        if let next, next.epoch & 3 == epochBits { return next }
        if let previous, previous.epoch & 3 == epochBits { return previous }
        return nil
    }

    /// For the index of a successor: none of those that name this session.
    var unusedSalt: UInt32 {
        var salt = (successors.last?.localIndex ?? localIndex) >> 16
        repeat { salt = (salt &+ 1) & 0xff } while holder(of: UInt32(slot) | salt << 16) != nil
        return salt
    }

    /// Whom the index means: this session, or one that will go on with it.
    @inline(__always) func holder(of index: UInt32) -> Session? {
        if localIndex == index { return self }
        return successors.first { $0.localIndex == index }
    }

    var hasSignals: Bool {
        if announcing != 0 { return true }
        for case let path? in paths where path.signalPending { return true }
        return false
    }
    func hasUsablePath(besides path: Path) -> Bool {
        paths.contains { $0.map { $0 !== path && $0.isOpen && $0.health == .usable } ?? false }
    }

    var hasUsablePath: Bool {
        for case let path? in paths where path.health == .usable { return true }
        return false
    }
    /// Payload came in the last second.
    func wasReceiving(at now: Instant) -> Bool {
        for case let path? in paths where path.lastData > .zero && now - path.lastData < .seconds(1)
        { return true }
        return false
    }
    /// Something is or was just being transferred: probing is worth its bytes.
    func isActive(at now: Instant) -> Bool {
        !streams.isEmpty && now - lastActivity < Limits.activity
    }
}

/// What a handshake gives a session to begin with.
struct SessionOpening {
    var slot: Int
    var localIndex: UInt32
    var remoteIndex: UInt32
    var instance: UInt64
    var suite: CipherSuite
    var keys: NoiseHandshake.TransportKeys
}

/// The peer's key, and the one that both have beside their own.
struct SessionPeer {
    let publicKey: Key32
    let preSharedKey: Key32
}

/// What a session asks of its endpoint when its time has come.
enum SessionDemand {
    case none
    /// Proxy: it hears nothing, or its keys are gone. It has set no deadline yet.
    case needsHandshake
    case isOver(reason: String)
}

struct RekeyAttempt {
    var epoch: UInt8
    var noise: NoiseHandshake
    var message: [UInt8]
    var again = Repeater()
}

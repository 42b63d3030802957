import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// What a session knows of its handshakes.
struct SessionHandshakes {
    /// At the proxy: times it went on with new keys since it last heard a record.
    var resumptions = 0
    /// At the proxy: since when no path works; nil while one does.
    var pathlessSince: Instant?
    /// At the proxy: handshakes in a row that brought no path full datagrams pass.
    var pathless = Backoff()
    /// At the proxy: how long no path may work before another handshake is tried although
    /// something is heard.
    var pathlessWait: Interval {
        pathless.wait(Limits.handshakeWithoutPath, maximum: Limits.maximumHandshakeWithoutPath)
    }
    /// At the concentrator: a process that began later on the same machine has a session with the
    /// same key.
    var hasFollower = false
    /// At the concentrator, until a record's source is known: where the welcome went, and what each
    /// copy asked.
    var welcomed: [AddressCheck] = []
}

/// The handover modes of a session's connections.
struct SessionModes {
    /// What connections without a mode of their own have.
    var session: HandoverMode
    /// The widest of that and the living connections' own, by which paths are open.
    private(set) var effective: HandoverMode
    /// How many connections have which of their own (`HandoverMode.code`).
    private var own = [0, 0, 0]

    init(_ mode: HandoverMode) {
        session = mode
        effective = mode
    }

    /// Connections with a mode of their own came or went.
    mutating func count(_ mode: HandoverMode, by difference: Int) {
        own[Int(mode.code)] += difference
    }

    /// The peer says which mode it is; connections have none of their own here.
    mutating func adopt(_ mode: HandoverMode) {
        session = mode
        effective = mode
    }

    /// Looks for the effective mode; whether it is another one now.
    mutating func update() -> Bool {
        var mode = HandoverMode.single
        if session == .full || own[Int(HandoverMode.full.code)] > 0 {
            mode = .full
        } else if session == .backup || own[Int(HandoverMode.backup.code)] > 0 {
            mode = .backup
        }
        defer { effective = mode }
        return mode != effective
    }
}

/// Which paths are kept: of single mode the one in use, and those that nobody wants any more.
struct PathSelection {
    /// Single mode: the path in use.
    var activePath: PathID?
    /// The number of the path that ends since it must not have been joined.
    var superseded: PathID?
}

/// The concentrator's addresses, as the two ends have told each other.
struct KnownAddresses {
    /// At the concentrator: which of its announcements have not been echoed, a bit each.
    var announcing = 0
    /// At the proxy: what was announced, by address ID less one.
    var heard: [Announcement?] = Array(repeating: nil, count: Limits.announcedAddresses)
    /// At the proxy: the address the session began on, and whether further paths may not lead
    /// there.
    var first: SocketAddress?
    var forbidsFirst = false
}

/// When something last happened in a session.
struct SessionActivity {
    let openedAt: Instant
    /// An authentic record arrived.
    var lastArrival: Instant
    /// Payload came or went.
    var last: Instant
    /// The slot of the stream that moved payload most recently: its subflows know the paths' round
    /// trips best.
    var stream: StreamSlot?

    /// Payload comes or goes. True for the first after a pause, from which on round trips are to be
    /// known.
    @inline(__always) mutating func moves(at now: Instant) -> Bool {
        defer { last = now }
        return now - last >= Limits.activity
    }

    init(at now: Instant) {
        openedAt = now
        lastArrival = now
        last = now
    }
}

/// What of a session waits for its turn.
struct SessionTurn {
    /// Frames wait for the end of the turn.
    var wantsFlush = false
    /// Its datagrams want a turn.
    var wantsDatagramTurn = false
}

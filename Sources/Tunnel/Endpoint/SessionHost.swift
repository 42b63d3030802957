import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// What sessions need from outside themselves, and all they know of it: shared by the sessions of
/// one endpoint, owned by it.
///
/// A session notes here what is to be done (what may be sent, when it wants to be called, what is
/// to be reported); `Endpoint` does it in its turn. The connections of all sessions stand in one
/// table, since their slots are their names in the heap of deadlines and in the queues: a session
/// asks it for the slots in its own tables only, and none asks for another session.
final class SessionHost {
    /// Changed by `Endpoint.reconfigure` alone.
    var configuration: EndpointConfiguration
    var random: KeyedRandom
    /// Proxy: by what the mode follows from use; nil where it is fixed. Changed by `Endpoint`
    /// alone.
    var modeByUse: ModeByUse?

    /// All connections, by their slots.
    var streams = StreamTable()
    var deadlines = Deadlines()
    var work = TurnWork()
    /// What only a proxy's end has.
    var proxy = ProxySide()
    /// Concentrator: further addresses of ours, by address ID less one.
    var announcements: [Announcement] = []

    var counters = DropCounters()
    var roundTrips = RoundTripTable()
    var turnedAway = LimitCounters()
    var observers = Observers()

    /// Concentrator: when this process ends at the latest, since another one follows it; nil: none
    /// does.
    var goesAwayBy: Instant?

    /// Scratch memory, where a segment's head is written.
    let headScratch = UnsafeMutableRawPointer.allocate(
        byteCount: SealedSegment.maximumHead, alignment: 16)

    init(configuration: EndpointConfiguration, seed: Key32) {
        self.configuration = configuration
        modeByUse = configuration.followsUse ? ModeByUse() : nil
        random = KeyedRandom(seed: seed)
    }
    deinit { headScratch.deallocate() }

    /// The endpoint is gone: streams hold what they are held by.
    func removeStreams() {
        work.removeStreams()
        proxy.waiting = []
        for case let stream? in streams {
            stream.owner = nil
            stream.session = nil
        }
        streams = StreamTable()
    }

    /// Something is to be done without waiting for a deadline.
    var hasWork: Bool { !work.isEmpty }

    /// The eight bits above a slot in an index: of these `n` may choose six, where the process has
    /// a generation.
    func salt(_ n: UInt32) -> UInt32 {
        guard let generation = configuration.generation else { return n & 0xff }
        return UInt32(generation & 3) << 6 | n & 0x3f
    }

    func emit(_ event: EndpointEvent) { work.events.append(event) }

    func post(_ item: Outgoing) {
        if work.outbox.count < Limits.outbox { work.outbox.append(item) }
    }
}

/// What is to be done this turn.
struct TurnWork {
    /// Streams that have something to send.
    var ready = ReadyQueue()
    /// Streams whose owner is to hear of activity.
    var activity = ActivityQueue()
    /// What the owner of the endpoint is to hear.
    var events = FIFO<EndpointEvent>()
    // The sessions themselves, not their slots: one that goes on with new keys has another slot.
    /// Sessions with frames that wait for a datagram.
    var sessionsToFlush: [Session] = []
    /// Sessions whose datagrams want a turn.
    var sessionsWithDatagrams: [Session] = []
    /// Sessions with connections that have not heard of all changes of their paths.
    var sessionsWithChanges: [Session] = []
    /// Sessions some of whose timers follow from what has changed.
    var sessionsWithTimers: [Session] = []
    /// Messages of rekeys that wait for their Diffie-Hellman operations.
    var rekeys = FIFO<RekeyMessage>()
    /// Datagrams that are ready, for the next batch.
    var outbox: [Outgoing] = []
    /// Answers to segments of unknown subflow numbers since the last `advance`.
    var resetsThisTurn = 0

    init() {
        events.reserveCapacity(256)
        sessionsToFlush.reserveCapacity(64)
    }

    var isEmpty: Bool {
        ready.isEmpty && activity.isEmpty && events.isEmpty && sessionsToFlush.isEmpty
            && outbox.isEmpty
            && sessionsWithChanges.isEmpty && sessionsWithDatagrams.isEmpty && rekeys.isEmpty
            && sessionsWithTimers.isEmpty
    }

    /// Lets go of all streams and sessions.
    mutating func removeStreams() {
        sessionsToFlush = []
        sessionsWithDatagrams = []
        sessionsWithChanges = []
        sessionsWithTimers = []
        while ready.popFirst() != nil {}
        while activity.popFirst() != nil {}
        events = FIFO()
        rekeys = FIFO()
    }
}

/// What only a proxy's end has.
struct ProxySide {
    var uplinks: [UplinkState] = []
    /// The concentrator's addresses, in order of preference.
    var remotes: [SocketAddress] = []
    /// Streams that wait for a session.
    var waiting: [StreamHandle] = []
    /// A handshake is under way.
    var isHandshaking = false
    /// The number of the latest association.
    var lastAssociation: UInt16 = 0

    /// A path through the uplink was answered.
    mutating func answered(_ uplink: UplinkNumber) {
        if let i = uplinks.firstIndex(where: { $0.uplink.number == uplink }) {
            uplinks[i].answered()
        }
    }
}

/// Who looks on.
struct Observers {
    var packetTrace: Endpoint.PacketTrace?
    var datagramArrived: Endpoint.DatagramReceiver?
    var signalCarried: Endpoint.SignalObserver?
}

/// A ready datagram for the next batch.
struct Outgoing {
    var bytes: [UInt8]
    var uplink: UplinkNumber
    var remote: SocketAddress
    var local: IPAddress
}

/// Why datagrams and frames were dropped.
struct DropCounters {
    var malformed = 0, unknownSession = 0, notAuthentic = 0, replayed = 0, badFrames = 0,
        badSegments = 0, tooMuchWork = 0, refusedHellos = 0
    var total: Int {
        malformed + unknownSession + notAuthentic + replayed + badFrames + badSegments
            + tooMuchWork + refusedHellos
    }
}

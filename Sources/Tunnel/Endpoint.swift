import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// Sessions, paths and connections of one process, as a pure state machine over datagrams.
///
/// The turn of the loop: `receive` for every datagram, `advance(to:)`, drain `nextEvent()`, read
/// and write streams, `transmit(into:at:)` until it says that nothing is left, arm a timer at
/// `deadline`.
///
/// This file is its face; `Handshake` opens sessions, `Receive` takes records apart, `Transmit`
/// makes them,
/// `Health` and `Signals` watch over paths, `Streams` and `Joins` over connections.
public final class Endpoint {
    public let configuration: EndpointConfiguration
    /// Called with every segment sent or received inside the tunnel (`--pcap`); nil costs nothing.
    public var capture:
        (
            (
                _ segment: borrowing Segment, _ payload: Pieces, _ from: SocketAddress,
                _ to: SocketAddress, _ at: Instant
            ) -> Void
        )?

    /// Called before a record with address signals is sealed: path, packet number, and whether one
    /// of them says that a path is closed. For experiments and tests that lose signals; nil costs
    /// nothing.
    public var signalCarried: ((_ path: UInt8, _ number: UInt64, _ removes: Bool) -> Void)?

    // The proxy's end: where to go, through what, and what is known of the concentrator.
    var remotes: [SocketAddress]
    let remoteKey: Key32
    let remoteKeys: HelloKeys
    var cookies: [HeldCookie] = []
    let preSharedKey: Key32
    var uplinks: [UplinkState] = []
    var handshake: HandshakeState?
    var currentSession: Session?
    var instance: UInt64 = 0
    var hasUplinks: Bool { uplinks.contains { $0.isUp } }

    // The concentrator's end.
    var users: [UserState] = []
    /// Looked up by key, never iterated.
    var userNumbers: [Key32: Int] = [:]
    var gate: HelloGate?
    /// Sessions that answered a hello, by its first MAC; the MACs, the oldest first.
    var unconfirmed: [Bytes16: Unconfirmed] = [:]
    var unconfirmedOrder: [Bytes16] = []
    /// Hellos of nobody we know that are told.
    var strangers = TokenBucket(rate: Limits.strangerRate, burst: Limits.strangerBurst)
    /// The records of this turn are served: hellos may be opened.
    var hellosAreDue = false
    /// Further addresses of ours, by address ID less one.
    var announcements: [Announcement] = []

    /// What connections may hold; at a proxy all of it is for its own.
    let memory: MemoryBudget
    let ownMemory: MemoryShare

    let isProxy: Bool
    var mode: HandoverMode
    var random: KeyedRandom
    /// The latest `now` that was handed in.
    var clock: Instant
    /// Unix time at `Instant.zero` in nanoseconds, by the latest word of the shell.
    var epoch: UInt64

    var sessions: [Session?] = []
    var freeSessions: [Int] = []
    var streams: [StreamHandle?] = []
    var freeStreams: [Int] = []
    var streamCount = 0
    /// Proxy: streams that wait for a session.
    var waiting: [StreamHandle] = []

    // Rings and lists of what is to be done this turn; deadlines of what is to be done later.
    var ready = ReadyQueue()
    var told = ToldQueue()
    var events: [EndpointEvent] = []
    var eventsTaken = 0
    var dirty: [Int] = []
    /// Sessions with connections that have not heard of all changes of their paths.
    var walking: [Int] = []
    /// A record's frames are being read.
    var isReading = false
    var statesInDatagram = 0
    var endsInDatagram = 0
    var outbox: [Outgoing] = []
    var streamDeadlines = DeadlineHeap()
    var sessionDeadlines = DeadlineHeap()
    var handshakeAt: Instant { handshake?.nextAt ?? .distantFuture }

    /// Where the record that is being read came from.
    var arrivalSource = PathAddress(
        remote: SocketAddress(.unspecifiedV4, port: 0), local: .unspecifiedV4,
        uplink: -1)

    /// How long its datagram was.
    var arrivalBytes = 0

    // Reused for every segment.
    var incoming = Segment()
    var outgoing = OutgoingSegment()
    let headScratch = UnsafeMutableRawPointer.allocate(
        byteCount: SealedSegment.mostHead, alignment: 16)
    var resetsThisTurn = 0
    /// Endings of paths in the datagram that is being read.
    var endings: [PathStateFrame] = []

    var counters = DropCounters()
    var turnedAway = LimitCounters()

    public init(configuration: EndpointConfiguration, seed: Key32, at now: Instant) {
        var configuration = configuration
        configuration.connection.framing = .sealed
        configuration.connection.subflow.earlyData = true
        configuration.connection.aidsHandover = configuration.signaling == .reliable
        configuration.connection.subflow.leastSegmentSize = Limits.leastSegmentSize
        configuration.connection.subflow.maximumSegmentSize = Self.segmentSize(datagramLimit: 1472)
        // A SYN can't be cut in two: it is never longer than what every path takes.
        configuration.connection.subflow.openingLimit = Self.segmentSize(
            datagramLimit: Self.baseDatagram(isIPv4: false))
        self.configuration = configuration
        random = KeyedRandom(seed: seed)
        mode = configuration.mode
        clock = now
        epoch = configuration.epoch
        memory = MemoryBudget(limit: configuration.memory)
        ownMemory = MemoryShare(of: memory, isOnlyOne: true)
        switch configuration.role {
        case .proxy(let addresses, let key, let shared):
            isProxy = true
            remotes = addresses
            remoteKey = key
            remoteKeys = HelloKeys(concentrator: key)
            preSharedKey = shared ?? .zero
            instance = random.next()
        case .concentrator(let list):
            isProxy = false
            remotes = []
            remoteKey = .zero
            remoteKeys = HelloKeys(concentrator: .zero)
            preSharedKey = .zero
            for user in list where userNumbers[user.publicKey] == nil {
                userNumbers[user.publicKey] = users.count
                let share = MemoryShare(of: memory, most: configuration.memoryPerUser)
                users.append(UserState(user: user, memory: share, wallClock: wallClock(at: now)))
            }
            gate = HelloGate(publicKey: configuration.identity.publicKey, random: &random, at: now)
        }
        events.reserveCapacity(256)
        dirty.reserveCapacity(64)
    }
    deinit { headScratch.deallocate() }

    /// What fits into a datagram beside the header, a bulk head and the tag.
    static func segmentSize(datagramLimit: Int) -> Int {
        datagramLimit - DatagramHeader.size - Limits.bulkHead - RecordCipher.tagBytes
    }

    // MARK: Uplinks (proxy)

    /// Adds an uplink, or says that one is back: its paths are opened (again) and living
    /// connections join.
    public func addUplink(_ uplink: Uplink, at now: Instant) {
        precondition(isProxy)
        clock = now
        if let i = uplinks.firstIndex(where: { $0.uplink.number == uplink.number }) {
            if uplinks[i].isUp { closePaths(uplink: uplink.number, at: now) }
            uplinks[i] = UplinkState(uplink: uplink)
        } else {
            uplinks.append(UplinkState(uplink: uplink))
        }
        if let session = currentSession {
            openPaths(session, uplink: uplink, at: now)
            if session.isMute || now - session.lastArrival > Limits.idleDoubt {
                beginHandshake(at: now)
            }
        }
        if currentSession == nil || handshake != nil { handshakeOn(uplink, at: now) }
    }

    /// The interface or address went away.
    public func removeUplink(_ number: Int, at now: Instant) {
        clock = now
        guard let i = uplinks.firstIndex(where: { $0.uplink.number == number }) else { return }
        uplinks.remove(at: i)
        closePaths(uplink: number, at: now)
    }

    /// Sending through the uplink failed with an error that says the path is gone. It is tried
    /// again with growing patience, since no event may tell that it works again.
    public func uplinkFailed(_ number: Int, at now: Instant) {
        clock = now
        guard let i = uplinks.firstIndex(where: { $0.uplink.number == number }),
            uplinks[i].isUp
        else { return }
        uplinks[i].fail(at: now)
        closePaths(uplink: number, at: now)
    }

    /// An uplink that failed may work again (a route came back): it is tried at once. False where
    /// it works.
    public func retryUplink(_ number: Int, at now: Instant) -> Bool {
        clock = now
        guard let i = uplinks.firstIndex(where: { $0.uplink.number == number }),
            !uplinks[i].isUp
        else { return false }
        uplinks[i].retryAt = now
        retryUplinks(at: now)
        return true
    }

    /// The concentrator's addresses, in order of preference, replacing those of the configuration:
    /// its name was resolved (again). Empty at first where a name is not known yet. Living paths
    /// stay as they are.
    public func setConcentrator(_ addresses: [SocketAddress], at now: Instant) {
        precondition(isProxy)
        clock = now
        guard addresses != remotes else { return }
        remotes = addresses
        if let session = currentSession {
            for item in uplinks where item.isUp { openPaths(session, uplink: item.uplink, at: now) }
        }
        // Whoever waits for an answer asks the new addresses at once, whatever the patience was for
        // the old.
        if handshake != nil {
            handshake?.count = 0
            repeatHandshake(at: now)
        } else if currentSession == nil, hasUplinks {
            beginHandshake(at: now)
        }
    }

    // MARK: Datagrams and time

    /// Unix time in nanoseconds, as the system believes at `now`. It may be wrong, and be set right
    /// later: asked for in every turn, so that each attempt has the present one.
    public func setWallClock(_ nanoseconds: UInt64, at now: Instant) {
        epoch = nanoseconds &- UInt64(bitPattern: now.nanoseconds)
    }
    func wallClock(at now: Instant) -> UInt64 { epoch &+ UInt64(bitPattern: now.nanoseconds) }

    /// Takes one datagram, opening it in place. `local`: the address it came to, where the socket
    /// serves several.
    public func receive(
        _ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress,
        local: IPAddress,
        uplink: Int, at now: Instant
    ) {
        clock = now
        guard let header = DatagramHeader(UnsafeRawBufferPointer(datagram)) else {
            counters.malformed += 1
            return
        }
        switch header.kind {
        case .record:
            receiveRecord(header, datagram, from: remote, local: local, uplink: uplink, at: now)
        case .hello:
            guard !isProxy else { counters.malformed += 1; return }
            receiveHello(datagram, from: remote, local: local, uplink: uplink, at: now)
        case .welcome:
            guard isProxy else { counters.malformed += 1; return }
            receiveWelcome(header, datagram, from: remote, local: local, uplink: uplink, at: now)
        case .cookie:
            guard isProxy else { counters.malformed += 1; return }
            receiveCookie(datagram, from: remote, uplink: uplink, at: now)
        }
    }

    /// When `advance` or `transmit` next has something to do; not later than the present where
    /// events wait.
    public var deadline: Instant {
        if !ready.isEmpty || !told.isEmpty || eventsTaken < events.count || !dirty.isEmpty
            || !outbox.isEmpty || !walking.isEmpty
        {
            return clock
        }
        var next = min(streamDeadlines.next, sessionDeadlines.next)
        next = min(next, min(handshakeAt, gate?.nextAt(clock) ?? .distantFuture))
        for uplink in uplinks where !uplink.isUp { next = min(next, uplink.retryAt) }
        return next
    }

    public func advance(to now: Instant) {
        clock = now
        resetsThisTurn = 0
        walkOn(at: now)
        while let slot = sessionDeadlines.popDue(at: now) {
            guard let session = sessions[slot] else { continue }
            session.scheduled = .distantFuture
            advance(session, to: now)
        }
        while let slot = streamDeadlines.popDue(at: now) {
            guard let stream = streams[slot] else { continue }
            if stream.session >= 0, let session = sessions[stream.session] {
                catchUp(stream, session, at: now)
            }
            stream.connection.advance(to: now)
            doubtSize(stream, at: now)
            if stream.orphanAt <= now { giveUpOrphan(stream, at: now) }
            if stream.prefaceUntil <= now { giveUpHalfOpen(stream, at: now) }
            note(stream, at: now)
            ready.append(stream)
        }
        if handshakeAt <= now { repeatHandshake(at: now) }
        retryUplinks(at: now)
    }

    public func nextEvent() -> EndpointEvent? {
        if eventsTaken < events.count {
            let event = events[eventsTaken]
            eventsTaken += 1
            if eventsTaken == events.count {
                events.removeAll(keepingCapacity: true)
                eventsTaken = 0
            }
            return event
        }
        while let stream = told.popFirst() {
            if !stream.isReleased { return .activity(stream) }
        }
        return nil
    }

    func say(_ event: EndpointEvent) { events.append(event) }
}

/// One uplink and whether it works.
struct UplinkState {
    var uplink: Uplink
    var isUp = true
    var retryAt = Instant.distantFuture
    private var patience = Interval.milliseconds(200)
    init(uplink: Uplink) { self.uplink = uplink }

    mutating func fail(at now: Instant) {
        isUp = false
        retryAt = now + patience
        patience = min(patience * 2, .seconds(5))
    }
    mutating func retry() { isUp = true; retryAt = .distantFuture }
    /// A path through it was answered.
    mutating func proved() { patience = .milliseconds(200) }
}

/// A handshake datagram for the next batch.
struct Outgoing {
    var bytes: [UInt8]
    var uplink: Int
    var remote: SocketAddress
    var local: IPAddress
}

/// Why datagrams and frames were dropped.
struct DropCounters {
    var malformed = 0, unknownSession = 0, notAuthentic = 0, replayed = 0, badFrames = 0,
        badSegments = 0, refusedHellos = 0
    var total: Int {
        malformed + unknownSession + notAuthentic + replayed + badFrames + badSegments
            + refusedHellos
    }
}

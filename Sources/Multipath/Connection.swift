import Buffers
import Crypto
import Measures
import Subflow
import Wire

/// One MPTCP connection (RFC 8684): the data sequence, its mapping onto subflows, reassembly,
/// reinjection.
///
/// Pure: segments and time go in, segments and one deadline come out. Payload pieces handed out by
/// `nextSegment` and `readable` are valid until the next call that changes the connection.
///
/// This file has its state and the application's side. `ConnectionReceive` takes segments,
/// `ConnectionEnds` what ends a subflow or the connection; `ConnectionTransmit` makes segments,
/// `ConnectionRetransmit` those that go again, `ConnectionCandidates` says which subflow carries
/// them, `ConnectionCopies` and `ConnectionRedundancy` what goes on a second one, and
/// `ConnectionOptions` what MPTCP adds; `ConnectionHandshake` opens and joins, `ConnectionSubflows`
/// tells of its subflows; `ConnectionTimers` keeps time, `ConnectionPaths` hears of the paths'
/// health. `Framing` says what sealed segments (`ConnectionSealing`) and raw IP (`RawIP/`) have
/// different.
public final class Connection {
    /// Who opened it.
    public enum Role: Sendable { case initiator, listener }
    /// What happened since the last `takeEvents()`.
    public struct Events: OptionSet, Sendable {
        /// A bit for each event.
        public var rawValue: UInt8
        /// Events by their bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The first subflow's handshake is done.
        public static let established = Events(rawValue: 1 << 0)
        /// New bytes to read, or the end of the stream.
        public static let readable = Events(rawValue: 1 << 1)
        /// Send space after there was none.
        public static let writable = Events(rawValue: 1 << 2)
        /// Both streams ended, or `error` is set: nothing more will happen but subflows winding up.
        public static let closed = Events(rawValue: 1 << 3)
        /// Subflows ended: see `takeEndedSubflow()`.
        public static let subflowEnded = Events(rawValue: 1 << 4)
        /// Raw IP: the peer signalled addresses, see `takeAddressSignal()`.
        public static let addresses = Events(rawValue: 1 << 5)
    }

    /// Who opened it.
    public let role: Role
    /// As it was made with.
    public let configuration: ConnectionConfiguration
    let framing: Framing
    /// Secret between the two ends (RFC 8684 section 3.1).
    public let localKey: UInt64
    /// What the peer's joins name the connection by (RFC 8684 section 3.2).
    public let localToken: UInt32
    var peer = ConnectionPeer()
    /// What the user asks of paths beside the first.
    public var mode = HandoverMode.full
    /// What paths cost beside each other.
    public var costs = PathCosts()

    // State shared by the extensions.
    var sender: DataSender
    var receiver: DataReceiver
    var members: [MemberSubflow?] = []
    /// Where the congestion control is a coupled one.
    let coupling: CongestionCoupling?
    var ended: [SubflowIndex] = []
    /// What both ends of a subflow know of its sealed segments, by index. Stays when the subflow is
    /// gone: what it said last may have yet to be written.
    package var sealing: [SealedContext] = []
    var scheduler: Scheduler
    /// Filled anew for each choice (`collectCandidates`), and read until the next.
    var candidateScratch = SchedulingCandidates()
    var events: Events = []
    var turn = ConnectionTurn()
    enum Timer: Int {
        /// The pacer lets the next segment go.
        case pacing
        /// The peer's closed window is probed (RFC 9293 section 3.8.6.1).
        case persist
        /// DATA_FIN goes, or goes again.
        case dataFin
        /// Rings that were not used give their memory back.
        case idle
        /// Both streams ended, and nothing says that the peer knows: it is not waited for longer.
        case endConfirmation
        /// Raw IP: data goes again that the subflows have delivered and the peer has not
        /// acknowledged.
        case dataRepeat
        /// Raw IP: the last subflow was reset, and so long another one may come.
        case orphan
        /// Raw IP: both streams ended, and the peer knows it: a subflow that has not ended by then
        /// is reset.
        case linger
        /// Raw IP: an address signal goes, or goes again.
        case addressSignals
    }
    var timers = TimerTable<Timer>()
    var writer = ConnectionWriter()
    var fin = DataFin()
    var lifecycle = ConnectionLifecycle.opening
    var traffic: ConnectionTraffic
    var shadowing: Shadowing
    var standingBacklog = StandingBacklog()
    /// Every byte goes on two paths.
    public internal(set) var isRedundant: Bool
    var raw = RawIPState()

    /// `memory`: whom its memory is put down to.
    public init(
        role: Role, configuration: ConnectionConfiguration, localKey: UInt64,
        memory: MemoryShare? = nil, at now: Instant
    ) {
        self.memory = memory
        memory?.change(by: Self.memoryCost)
        self.role = role
        self.configuration = configuration
        framing = configuration.framing
        self.localKey = localKey
        localToken = MultipathHash.token(of: localKey)
        sender = DataSender(
            first: DataSequence(MultipathHash.initialDataSequence(of: localKey)) + 1,
            limit: 2 * configuration.sendLimit, share: memory,
            initialEdge: configuration.framing.earlyWindow)
        receiver = DataReceiver(limit: configuration.receiveLimit, share: memory)
        scheduler = Scheduler(configuration.scheduler)
        coupling = configuration.subflow.congestion.isCoupled ? CongestionCoupling() : nil
        shadowing = Shadowing(at: now)
        isRedundant = configuration.scheduler == .redundant
        traffic = ConnectionTraffic(lastPayload: now)
        timers[.idle] = now + Self.idleRelease
    }

    deinit { memory?.change(by: -Self.memoryCost) }

    /// What a connection costs beside what its rings have beyond `ByteRing.prepaid`, bytes: that
    /// much for each of the two, and what else it needs on its paths.
    public static let memoryCost = 2 * ByteRing.prepaid + (16 << 10)
    private let memory: MemoryShare?

    // MARK: What is known of it

    /// The peer's key; nil until the handshake has brought it.
    public internal(set) var remoteKey: UInt64? {
        get { peer.key }
        set { peer.key = newValue }
    }
    /// Nil while all is well, and after an orderly end.
    public var error: ConnectionError? { lifecycle.error }
    /// It has an `error`.
    @inline(__always) var hasFailed: Bool { lifecycle.hasFailed }

    /// Since it began.
    public struct Statistics: Sendable {
        /// Payload bytes; those sent again on another subflow and those received twice among them.
        public var bytesSent = 0, bytesReceived = 0, bytesReinjected = 0, duplicateBytesReceived = 0
        /// Joins; contradictions in data sequence signals; proofs that were wrong.
        public var joinsAccepted = 0, joinsRefused = 0, dssErrors = 0, hmacFailures = 0
        /// Segments mapped where the window or the memory does not reach, which count as lost.
        public var segmentsDeclined = 0
        /// Raw IP only.
        public var checksumFailures = 0, failsSent = 0, failsReceived = 0, infiniteMappings = 0,
            fallbacks = 0
        /// Nothing happened yet.
        public init() {}
    }
    /// Counted since it began.
    public var statistics: Statistics {
        var s = traffic.counted
        s.duplicateBytesReceived = receiver.duplicateBytes
        return s
    }

    // MARK: The application's side

    /// After this long without use, empty rings give their memory back.
    static let idleRelease = Interval.seconds(2)
    /// A finished connection whose last DATA_ACK may be lost can be joined for this long.
    static let endConfirmationTimeout = Interval.seconds(60)

    /// Bytes the application may write at present. Two windows' worth that waits to be scheduled
    /// keeps every path busy across a turn of the loop. Eight may wait for acknowledgement: where a
    /// repair is lost as well, a slow path's hole stays for three of its round trips, and the
    /// others go on meanwhile.
    private var sendRoom: Int {
        let windows = allWindows
        let minimum = configuration.minimumSendSpace, maximum = configuration.sendLimit
        let unacknowledged = Int(sender.ring.end &- sender.acknowledged)
        return min(
            min(maximum, max(minimum, 8 * windows)) - unacknowledged,
            min(maximum, max(minimum, 2 * windows)) - sender.backlog)
    }

    var allWindows: Int {
        var windows = 0
        for m in members { if let m { windows += m.tcp.congestionWindow } }
        return windows
    }

    /// A contiguous piece of the send ring to write into; empty when full or finished. What is
    /// empty now becomes `.writable` later.
    public func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        guard sender.finOffset == nil, !hasFailed else { return none }
        let room = min(wanted, sendRoom)
        guard room > 0 else { writer.isWaiting = true; return none }
        let piece = sender.ring.appendSpace(room)
        if piece.isEmpty { writer.isWaiting = true }
        return piece
    }

    /// Declares that `n` bytes of the last `writeSpace` were written.
    public func commitWrite(_ n: Int, at now: Instant) {
        sender.ring.commit(n)
        traffic.lastPayload = now
        inputChanged(at: now)
    }

    /// Copies as much as fits; the number of bytes taken.
    public func write(_ bytes: UnsafeRawBufferPointer, at now: Instant) -> Int {
        var taken = 0
        while taken < bytes.count {
            let space = writeSpace(bytes.count - taken)
            if space.isEmpty { break }
            space.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: bytes[taken..<(taken + space.count)]))
            commitWrite(space.count, at: now)
            taken += space.count
        }
        return taken
    }

    /// DATA_FIN after the last byte written.
    public func finishWriting(at now: Instant) {
        guard sender.finOffset == nil else { return }
        sender.finish()
        fin.dueAt = now
        inputChanged(at: now)
    }

    /// Bytes in order and not yet consumed.
    public var readable: Pieces {
        receiver.ring.pieces(from: receiver.ring.base, count: receiver.ring.count)
    }

    /// The application took `n` bytes of `readable`, at most what there are.
    public func consume(_ n: Int, at now: Instant) {
        guard n > 0 else { return }
        receiver.consume(n, roundTrip: slowestRoundTrip, at: now)
        if receiver.deservesUpdate(segment: configuration.subflow.maximumSegmentSize) {
            requestAcknowledgement()
        }
        inputChanged(at: now)
    }

    /// Everything the peer sent was consumed and its DATA_FIN arrived.
    public var isReadFinished: Bool { receiver.isFinReached && receiver.ring.count == 0 }
    /// The peer acknowledged everything written and our DATA_FIN.
    public var isWriteFinished: Bool { sender.isFinAcknowledged }

    /// Ends both streams at once: RST with MP_FASTCLOSE on every subflow (RFC 8684 section 3.5).
    public func abort(at now: Instant) {
        guard !isFinished else { return }
        abort(.localAbort)
        inputChanged(at: now)
    }

    /// Ends the connection without telling the peer: its session is gone.
    public func fail(_ reason: ConnectionError, at now: Instant) {
        let events = lifecycle.fail(reason)
        for case let member? in members { retire(member, at: now) }
        report(events)
        inputChanged(at: now)
    }

    /// Initiator: not one answer of the peer's has come.
    public var isUnheard: Bool {
        role == .initiator && !hasFailed && remoteKey == nil && sender.acknowledged == 0
            && framing.mayOpenAnew
    }

    /// An unheard connection as it was before its first subflow: its session is gone, and it is
    /// opened anew in another one.
    public func startAgain(at now: Instant) {
        precondition(isUnheard, "what the peer has answered can't be taken back")
        members.removeAll()
        ended.removeAll()
        sender.startAgain(edge: framing.earlyWindow)
        shadowing = Shadowing(at: now)
        turn.burst = nil
        fin.repeats.reset()
        fin.dueAt = now
        timers.clear(.persist)
        inputChanged(at: now)
    }

    /// What happened since last asked.
    public func takeEvents() -> Events {
        defer { events = [] }
        return events
    }

    /// No subflow is left and nothing more will be sent: the owner may drop the connection.
    public var isOver: Bool {
        guard hasFailed || lifecycle == .closed else { return false }
        return !hasLivingMember
    }

    // MARK: Shared by the extensions

    /// Nil where the index is free.
    @inline(__always) func member(_ index: SubflowIndex) -> MemberSubflow? {
        members.indices.contains(index.value) ? members[index.value] : nil
    }

    var hasLivingMember: Bool { hasMember { $0.isAlive } }

    @inline(__always) func hasMember(where fits: (MemberSubflow) -> Bool) -> Bool {
        for case let member? in members where fits(member) { return true }
        return false
    }

    func report(_ new: Events) { events.insert(new) }

    func inputChanged(at now: Instant) {
        turn.phase = .control
        timers[.idle] = now + Self.idleRelease
    }

    @inline(__always) func countSent(_ bytes: Int, path: PathID) {
        if path.number >= traffic.byPath.count { extendTotals(to: path) }
        traffic.byPath[path.number].sent += bytes
    }

    @inline(__always) func countReceived(_ bytes: Int, path: PathID) {
        if path.number >= traffic.byPath.count { extendTotals(to: path) }
        traffic.byPath[path.number].received += bytes
    }

    private func extendTotals(to path: PathID) {
        while traffic.byPath.count <= path.number { traffic.byPath.append((0, 0)) }
    }

    var slowestRoundTrip: Interval {
        var slowest = Interval.milliseconds(20)
        for case let member? in members { slowest = max(slowest, member.tcp.smoothedRTT) }
        return slowest
    }

    /// An ACK goes on the subflow that last brought data, else on any; never on `excluded`.
    func requestAcknowledgement(besides excluded: MemberSubflow? = nil) {
        if let m = member(turn.lastDataMember), m !== excluded,
            m.health == .usable, m.isAlive
        {
            m.tcp.requestAcknowledgement()
            return
        }
        for case let member? in members
        where member !== excluded && member.isAlive && member.health == .usable {
            member.tcp.requestAcknowledgement()
            return
        }
    }
}

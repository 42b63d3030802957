import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// One way between the two ends of a session: its packet numbers, its round trip, its health, and
/// the small frames that wait for its next datagram.
final class Path {
    let number: Int
    let lane: Int
    var uplink: Int
    var uplinkName: String
    var remote: SocketAddress
    var local: IPAddress
    /// How long datagrams may be.
    var mtu: PathMTU
    var datagramLimit: Int { mtu.current }
    /// A question and an answer of the base size, in datagrams of their own with the next flush.
    var longQuestion: ProbeFrame?
    var longAnswer: ProbeFrame?

    // What the proxy says of the path, and how often it changed its mind (PathStateFrame).
    var isOpen = false
    /// Its uplink is a backup one, and the neediest connection is in backup mode: it rests.
    var isBackup = false
    /// Its uplink has the role, whatever the mode; it is kept awake while something is transferred
    /// (proxy).
    var isReserve = false
    var isWarm = false
    /// When it is closed since nobody wants it any more, even if subflows live on it still.
    var leaveBy = Instant.distantFuture
    var generation: UInt16 = 0
    var incarnation: UInt8 = 0
    /// Our statement has not been echoed yet.
    var signalPending = false
    /// A datagram with the pending signals is due on this path.
    var signalDue = false
    var lastSignal = Instant.zero
    /// Opened, and no probe has gone unanswered since: single mode takes its chance with it.
    var isUntried = false

    /// A probe was answered since it was opened.
    var hasAnswered = false
    /// Full datagrams still to be sent ahead of an answer, each of which lets the peer send three.
    var paddingDue = 0
    /// The peer was told that nothing is heard here (proxy).
    var isSilent = false

    // Where the peer is (Addresses). The proxy sticks to the address it dialled.
    /// The address has shown that it receives; until then it gets three times what came from it.
    var isValidated: Bool
    /// An address that has not: the path's own, or where not, a new one its datagrams come from.
    var check: AddressCheck?
    /// Sealed datagrams for an address that may get no more yet.
    var held: [HeldDatagram] = []

    // Records. Numbers start at 1 and never start again while the keys of one handshake live,
    // whatever the epoch and the incarnation: no nonce is used twice.
    private(set) var nextNumber: UInt64 = 1
    var replay = ReplayWindow()

    // Round trip (RFC 6298 section 2), from probes.
    private(set) var smoothedRTT = Interval.zero
    private(set) var rttVariation = Interval.zero
    private(set) var minimumRTT = Interval.zero
    private var minimumBefore = Interval.max
    private var minimumSince = Instant.zero
    var hasRTT: Bool { smoothedRTT > .zero }

    // Health.
    var health = PathHealth.lost
    var healthSince = Instant.zero
    var lastArrival = Instant.zero
    var lastEliciting = Instant.zero
    /// Since when an answer is awaited; `.distantFuture` where none is.
    var awaitingSince = Instant.distantFuture
    var lastData = Instant.zero
    /// When a datagram of the flow last arrived: data, or acknowledgements of ours.
    var lastFlow = Instant.zero
    /// Such datagrams in a row, and their average distance.
    var flow = 0
    var flowGap = Interval.zero
    /// When the silence of a flow calls for a probe.
    var flowSilence = Instant.distantFuture
    var probe = ProbeState()
    /// What its connections are to hear of.
    var changes = Changes()

    // Statistics.
    var sendMeter = RateMeter()
    var receiveMeter = RateMeter()
    var loss = LossMeter()

    // Plain frames that wait for the end of the turn.
    let small: UnsafeMutableRawPointer
    var smallCount = 0
    var smallRoom: Int { datagramLimit - DatagramHeader.size - RecordCipher.tagBytes - smallCount }

    // Fixed at first use, so that a capture shows one pair of addresses for a path's whole life.
    var captureAddresses: (local: IPAddress, remote: IPAddress)?

    init(
        number: Int, uplink: Int, uplinkName: String, remote: SocketAddress, local: IPAddress,
        datagramLimit: Int, isValidated: Bool
    ) {
        self.isValidated = isValidated
        self.number = number
        lane = number % DatagramBatch.laneCount
        self.uplink = uplink
        self.uplinkName = uplinkName
        self.remote = remote
        self.local = local
        mtu = PathMTU(
            base: DatagramSizes.baseDatagram(isIPv4: remote.address.isIPv4), ceiling: datagramLimit)
        small = .allocate(byteCount: DatagramBatch.maximumDatagram, alignment: 16)
    }
    deinit { small.deallocate() }

    /// The number of the next record on this path.
    func takeNumber() -> UInt64 {
        precondition(nextNumber < 1 << 62, "a path's packet numbers are used up")
        defer { nextNumber += 1 }
        return nextNumber
    }

    /// With other keys the numbers begin again; what was under way with the old ones is lost.
    func restartNumbers() {
        nextNumber = 1
        replay = ReplayWindow()
        loss.restart()
    }

    /// Where `length` bytes of a plain frame go into the next datagram; nil where they don't fit
    /// any more.
    func append(_ length: Int) -> UnsafeMutableRawPointer? {
        guard length <= smallRoom else { return nil }
        defer { smallCount += length }
        return small + smallCount
    }

    func noteRTT(_ sample: Interval, at now: Instant) {
        if !hasRTT {
            smoothedRTT = max(sample, .nanoseconds(1))
            rttVariation = sample / 2
            minimumRTT = sample
            minimumSince = now
            return
        }
        let off = smoothedRTT > sample ? smoothedRTT - sample : sample - smoothedRTT
        rttVariation = (rttVariation * 3 + off) / 4
        smoothedRTT = max((smoothedRTT * 7 + sample) / 8, .nanoseconds(1))
        // The least of the last one to two minutes: a route may have become longer.
        if now - minimumSince > .seconds(60) {
            minimumBefore = minimumRTT
            minimumRTT = sample
            minimumSince = now
        }
        minimumRTT = min(minimumRTT, sample)
    }

    /// The path leads somewhere else: what was measured means nothing there.
    func forgetRTT() {
        smoothedRTT = .zero
        rttVariation = .zero
        minimumBefore = .max
    }

    // Subflows that began on it within a second of the first of them: their first flights meet in
    // its queue.
    private var begun = 0
    private var begunSince = Instant.zero

    /// What a subflow that begins now should expect; nil while nothing was measured.
    func estimate(at now: Instant) -> PathEstimate? {
        if now - begunSince > .seconds(1) { begun = 0; begunSince = now }
        begun += 1
        guard hasRTT else { return nil }
        return PathEstimate(
            smoothedRTT: smoothedRTT, rttVariation: rttVariation,
            minimumRTT: min(minimumRTT, minimumBefore),
            maximumInitialSegments: max(Limits.leastFirstFlight, Limits.firstFlights / begun))
    }
    var leastRTT: Interval { min(minimumRTT, minimumBefore) }

    /// Within this time a probe should be answered.
    var probeTimeout: Interval {
        guard hasRTT else { return Limits.initialTimeout }
        return min(
            smoothedRTT + max(rttVariation * 4, Limits.leastVariation), Limits.longestTimeout)
    }
}

/// The probe in flight on a path, and what follows if nobody answers.
struct ProbeState {
    var identifier: UInt16 = 0
    var isOutstanding = false
    var sentAt = Instant.zero
    var verdictAt = Instant.distantFuture
    var unanswered = 0
    /// Probes without an answer that make the path suspect: one where data went unanswered before.
    var needed = 2
    var backoff = Limits.suspectProbe
    var lastAnswer = Instant.zero
}

/// Bytes per second over the last fraction of a second, and their total.
struct RateMeter {
    private(set) var total = 0
    private var bytes = 0
    private var since = Instant.zero
    private var rate = Rate.zero
    private static let window = Interval.milliseconds(250)

    @inline(__always) mutating func add(_ n: Int, at now: Instant) {
        if now - since >= Self.window { roll(at: now) }
        total &+= n
        bytes &+= n
    }
    private mutating func roll(at now: Instant) {
        let span = now - since
        let fresh = Rate(bytes: bytes, in: span)
        rate =
            span > .seconds(2)
            ? fresh : Rate(bytesPerSecond: (rate.bytesPerSecond + fresh.bytesPerSecond) / 2)
        bytes = 0
        since = now
    }
    func value(at now: Instant) -> Rate {
        // A window begins with its first datagram: what this one holds is older than a second and a
        // half.
        if now - since > .seconds(2) { return .zero }
        var copy = self
        if now - since >= Self.window { copy.roll(at: now) }
        return copy.rate
    }
}

/// The share of datagrams that did not arrive, from the packet numbers of those that did.
struct LossMeter {
    private(set) var share = 0.0
    private var first: UInt64 = 1
    private var received: UInt64 = 0
    private static let span: UInt64 = 256

    @inline(__always) mutating func note(highest: UInt64) {
        received &+= 1
        if highest &- first >= Self.span { close(highest) }
    }
    /// Numbers begin again; what was measured stays.
    mutating func restart() {
        first = 1
        received = 0
    }
    private mutating func close(_ highest: UInt64) {
        let expected = highest &+ 1 &- first
        let lost = expected > received ? Double(expected - received) / Double(expected) : 0
        share += (lost - share) / 4
        first = highest &+ 1
        received = 0
    }
}

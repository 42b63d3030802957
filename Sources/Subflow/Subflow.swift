import Buffers
import Measures
import Wire

/// One TCP connection of RFC 9293 as a pure state machine: segments without payload go in and come
/// out, time is an argument, the payload stays with the owner and is named by stream offsets.
///
/// The owner loops on `nextAction(at:)` and calls the matching `fill…` (for data and its
/// repetitions `begin…`, then `commit…`) until it says `.nothing`. Where `.data` is offered and the
/// owner has none, it calls `declineData(at:)` and asks again.
///
/// `Subflow+Acceptance` judges a segment, `Subflow+Receive` takes it, `Subflow+Acknowledgement`
/// what it acknowledges, `Subflow+Recovery` what follows for the window and the timers;
/// `Subflow+Send` decides what goes, `Subflow+Fill` writes it; `Subflow+Timers` keeps time;
/// `Subflow+Path` hears what happens to the path below.
public final class Subflow {
    /// RFC 9293 section 3.3.2; LISTEN is the owner's.
    public enum State: Sendable {
        case closed, synSent, synReceived, established, finWait1, finWait2, closeWait, closing,
            lastAck, timeWait
    }
    /// What `nextAction` asks for.
    public enum Action {
        case nothing
        /// SYN or SYN/ACK for the first time; with early data, `room` bytes may ride on it (0
        /// otherwise).
        case open(room: Int)
        /// A retransmission or tail loss probe of this span (SYN, data or FIN).
        case retransmit(SentSpan)
        /// New data may go: at most `room` bytes now (congestion window, pacing), in segments of at
        /// most `sendSegmentSize`. The owner sends some or calls `declineData(at:)`.
        case data(room: Int)
        /// FIN is due: everything the owner had was sent and `close()` was called.
        case finish
        /// A bare ACK is due.
        case acknowledge
        /// A probe that makes the peer answer: no payload, the sequence number before the oldest
        /// unacknowledged one.
        case probe
        /// RST is due.
        case reset
    }
    /// Why a subflow closed otherwise than in order.
    public enum Failure: Error, Sendable {
        /// Nothing was acknowledged for `giveUpAfter`.
        case timedOut
        /// The peer sent an acceptable RST (to our SYN: refused).
        case reset
        /// `abort()` was called.
        case aborted
    }

    /// As it was opened with.
    public let configuration: SubflowConfiguration
    /// Our end's port, or what stands in its place, in host byte order (RFC 9293 section 3.1).
    public let localPort: UInt16
    /// The peer's port, or what stands in its place, in host byte order.
    public let remotePort: UInt16
    /// Its state (RFC 9293 section 3.3.2).
    public internal(set) var state = State.closed
    /// Nil while open, and after an orderly close.
    public internal(set) var failure: Failure?
    /// Whether the handshake ever completed; stays true after the end.
    public internal(set) var wasEstablished = false
    /// ISS: the number of our SYN (RFC 9293 section 3.4.1).
    public let initialSendSequence: SubflowSequence
    /// Known from the peer's SYN on.
    public internal(set) var initialReceiveSequence = SubflowSequence(0)
    /// When the last acceptable segment arrived.
    public internal(set) var lastArrival = Instant.zero

    // Sending: SND.UNA, SND.NXT, and what lies between.
    /// SND.UNA: the oldest number that is not acknowledged.
    public internal(set) var sendUnacknowledged: SubflowSequence
    /// SND.NXT: the number that new data gets.
    public internal(set) var sendNext: SubflowSequence
    var board = Scoreboard()
    var rtt: RTTEstimator
    var timeout: RetransmissionTimeout
    var sampler = RateSampler()
    var pacer = Pacer()
    var loss: LossDetection
    var tail = TailLossProbe()
    var recovery = Recovery()
    let controller: CongestionController
    var blocks = SeenBlocks()
    /// Duplicate ACKs in a row from a peer without SACK.
    var duplicateAcknowledgements = 0
    var windowUse: WindowUse
    var lastTransmission = Instant.zero
    /// Spans sent before it give no round trip: an outage lies between them and their
    /// acknowledgement.
    var roundTripsFrom = Instant.zero
    /// The payload size that fits one segment both ways.
    public internal(set) var sendSegmentSize: Int
    var sizeBounds: SegmentSizeBounds
    var offered = OfferedWindow()

    // Receiving: RCV.NXT and what lies ahead.
    var receiver: ReceiveTracker
    var acknowledgements: AcknowledgementPolicy
    var challenges = ChallengeLimit()
    /// The last acknowledgement number sent.
    var lastAcknowledged = SubflowSequence(0)
    var lastTextArrival = Instant.zero

    // What the SYNs agreed on.
    let isPassive: Bool
    var negotiated: NegotiatedOptions
    var recentTimestamp = RecentTimestamp()

    // What is to be sent.
    var pending = PendingSegments()
    /// The owner has no data for now.
    var declined = false
    /// The last `nextAction` found pacing alone in the way of data.
    var waitsForPacing = false
    /// The span `nextAction` asked to repeat.
    var repeating = Scoreboard.absent
    /// What of a repeated span did not fit its segment: goes next. The queue has it as sent.
    var repeatRest: SentSpan?

    enum Timer: Int {
        /// RFC 6298 section 5.
        case retransmission
        /// RFC 8985 section 7.
        case tailProbe
        /// RACK's reordering window ends for the oldest span (RFC 8985 section 6).
        case reordering
        /// Nothing was acknowledged for `giveUpAfter`.
        case giveUp
        case timeWait
        /// The peer's closed window is probed (RFC 9293 section 3.8.6.1).
        case persist
        /// An empty send queue gives its memory back.
        case memoryRelease
    }
    var timers = TimerTable<Timer>()
    var persistBackoff = Backoff()

    /// Since it was opened.
    public struct Statistics: Sendable {
        /// Segments of any kind, and bytes of payload.
        public var segmentsSent = 0, segmentsReceived = 0, bytesSent = 0, bytesRetransmitted = 0
        /// Segments sent again, time-outs, tail loss probes, recoveries taken back, duplicates.
        public var retransmissions = 0, timeouts = 0, tailLossProbes = 0, spuriousRecoveries = 0,
            duplicatesReceived = 0
        /// Recoveries begun, fast ones and those after a time-out.
        public var recoveries = 0
        /// Nothing happened yet.
        public init() {}
    }
    /// Counted since it was opened.
    public internal(set) var statistics = Statistics()

    /// Active open: the next action is `.open`.
    public convenience init(
        opening configuration: SubflowConfiguration, localPort: UInt16,
        remotePort: UInt16,
        initialSequence: SubflowSequence, estimate: PathEstimate?, at now: Instant
    ) {
        self.init(
            configuration, localPort: localPort, remotePort: remotePort, sequence: initialSequence,
            isPassive: false, receiveNext: SubflowSequence(0), estimate: estimate, at: now)
        state = .synSent
    }

    /// Passive open from a SYN that the owner approved; `payloadLength` bytes on it count as
    /// received where early data is on. The next action is `.open` (the SYN/ACK).
    public convenience init(
        accepting syn: borrowing Segment, payloadLength: Int,
        configuration: SubflowConfiguration,
        initialSequence: SubflowSequence, estimate: PathEstimate?, at now: Instant
    ) {
        let text = configuration.earlyData ? payloadLength : 0
        let start = syn.sequence
        self.init(
            configuration, localPort: syn.destinationPort, remotePort: syn.sourcePort,
            sequence: initialSequence,
            isPassive: true, receiveNext: start + (1 + text), estimate: estimate, at: now)
        state = .synReceived
        initialReceiveSequence = start
        lastArrival = now
        lastTextArrival = now
        learnOptions(of: syn, at: now)
        statistics.segmentsReceived = 1
    }

    private init(
        _ configuration: SubflowConfiguration, localPort: UInt16, remotePort: UInt16,
        sequence: SubflowSequence, isPassive: Bool, receiveNext: SubflowSequence,
        estimate: PathEstimate?,
        at now: Instant
    ) {
        precondition(configuration.windowScale <= 14 && configuration.maximumSegmentSize > 0)
        self.configuration = configuration
        self.localPort = localPort
        self.remotePort = remotePort
        self.isPassive = isPassive
        initialSendSequence = sequence
        sendUnacknowledged = sequence
        sendNext = sequence
        windowUse = WindowUse(from: sequence)
        rtt = RTTEstimator(minimumLifetime: Self.minimumRTTLifetime, at: now)
        timeout = RetransmissionTimeout(configuration)
        if let estimate, estimate.smoothedRTT > .zero {
            rtt.expect(
                smoothed: estimate.smoothedRTT, variation: estimate.rttVariation,
                minimum: estimate.minimumRTT > .zero ? estimate.minimumRTT : estimate.smoothedRTT)
            timeout.follow(rtt)
        }
        loss = LossDetection(initialSequence: sequence)
        receiver = ReceiveTracker(next: receiveNext)
        lastAcknowledged = receiveNext
        acknowledgements = AcknowledgementPolicy(delay: configuration.delayedAcknowledgement)
        sizeBounds = SegmentSizeBounds(configuration)
        let size = min(configuration.maximumSegmentSize, configuration.segmentLimit)
        sendSegmentSize = size
        controller = CongestionController.make(
            configuration.congestion, segmentSize: size,
            // In bytes: a path whose datagrams have yet to grow is as wide as it will be.
            initialWindow: min(
                configuration.initialWindowSegments, estimate?.maximumInitialSegments ?? .max)
                * configuration.maximumSegmentSize)
        negotiated = NegotiatedOptions(offering: configuration)
        updatePacing()
    }

    /// Its congestion control looks at the other subflows of its connection from now on, where the
    /// algorithm is a coupled one.
    public func couple(with others: CongestionCoupling) { controller.couple(with: others) }

    // MARK: What the scheduler and the reinjector ask

    private static let minimumRTTLifetime = Interval.seconds(30)

    /// SRTT (RFC 6298); zero while unknown.
    public var smoothedRTT: Interval { rtt.smoothed }
    /// RTTVAR (RFC 6298); zero while unknown.
    public var rttVariation: Interval { rtt.variation }
    /// Over the last 30 to 60 s; `.max` while unknown.
    public var minimumRTT: Interval { rtt.minimum }
    /// Whether any RTT was measured on this subflow itself.
    public var hasRTTSample: Bool { rtt.hasSample }
    /// RTO with its back-off (RFC 6298).
    public var retransmissionTimeout: Interval { timeout.value }
    /// RTOs in a row without an acknowledgement.
    public var backoffs: Int { timeout.backoffs }
    /// Everything outstanding timed out, and some of it has yet to go again.
    public var isRepairingTimeout: Bool {
        recovery.phase == .timeout && board.lostCount > 0 && !board.isFull && canSendData
    }
    /// Bytes that may be in flight at present.
    public var congestionWindow: Int { sendWindow }
    /// Payload bytes sent that are neither acknowledged nor held for lost.
    public var bytesInFlight: Int { board.inFlight }
    /// Congestion window minus what is in flight, never negative; ignores pacing.
    public var windowRoom: Int { max(0, sendWindow &- board.inFlight) }
    /// Zero: not paced.
    public var pacingRate: Rate { pacer.rate }
    /// Measured delivery rate (BBR draft style samples, smoothed), zero while unknown.
    public var deliveryRate: Rate { sampler.smoothed }
    /// The rate that congestion control expects to go on with; zero where it tells none but by its
    /// window.
    public var expectedRate: Rate { controller.expectedRate }
    /// The next time pacing lets a segment go; in the past where it does not bind.
    public var pacingRelease: Instant { pacer.release }
    /// The peer's window in bytes, scaled, as of the latest acceptable segment.
    public var peerWindow: Int { offered.bytes }
    /// What one step of the peer's scaled window is, bytes.
    public var peerWindowStep: Int { 1 << Int(offered.scale) }
    /// RCV.NXT: the next number expected.
    public var receiveNext: SubflowSequence { receiver.next }
    /// Whether something ahead of `receiveNext` has arrived.
    public var hasReceiveGap: Bool { receiver.hasGap }
    /// Spans sent and not cumulatively acknowledged, the oldest first.
    public var outstandingCount: Int { board.count }
    /// Those of them that are not acknowledged selectively either.
    public var undeliveredCount: Int { board.count - board.deliveredCount }
    /// The `i`th of them, `i` below `outstandingCount`.
    public func outstanding(_ i: Int) -> SentSpan {
        precondition(i >= 0 && i < board.count)
        return board.span(board.number(at: i))
    }
    /// What is outstanding of the stream below the offset `newest`, in pieces of neighbours that
    /// are old or not: sent before `bound` and not held for lost. Without what is delivered, but
    /// where `takesDelivered`, what ends at or before `acknowledged`, and what lies within
    /// `excluded`. After `maximumPieces` what is delivered between counts as outstanding.
    public func forEachOutstandingPiece(
        below newest: UInt64, after acknowledged: UInt64, excluded: Range<UInt64>,
        takesDelivered: Bool, olderThan bound: Instant,
        _ body: (_ start: UInt64, _ end: UInt64, _ isOld: Bool) -> Void
    ) {
        var start: UInt64 = 0, end: UInt64 = 0, isOld = false, pieces = 0
        for i in 0..<board.count {
            let n = board.number(at: i), record = board.record(n)
            let from = record.pointee.streamOffset, to = from &+ UInt64(record.pointee.length)
            guard from < to, from < newest, to > acknowledged,
                takesDelivered || pieces >= Self.maximumPieces || !board.isDelivered(n),
                from < excluded.lowerBound || to > excluded.upperBound
            else { continue }
            let old = record.pointee.sentAt < bound && !board.isLost(n)
            if end == from, start < end, old == isOld { end = to; continue }
            if start < end { body(start, end, isOld); pieces += 1 }
            (start, end, isOld) = (from, to, old)
        }
        if start < end { body(start, end, isOld) }
    }
    /// Of `forEachOutstandingPiece`: each costs more than a span.
    private static let maximumPieces = 1_024
    /// Something was sent that the peer has not acknowledged cumulatively.
    public var hasUnacknowledged: Bool { !board.isEmpty }
    /// The peer acknowledged our SYN: what it sends comes from somebody who hears us.
    public var synAcknowledged: Bool { initialSendSequence.isBefore(sendUnacknowledged) }
    /// Both SYNs were exchanged and acknowledged, and the subflow is not closed.
    public var isEstablished: Bool {
        switch state {
        case .closed, .synSent, .synReceived: false
        default: true
        }
    }
    /// Our FIN and everything before it was acknowledged.
    public var finAcknowledged: Bool { pending.fin == .sent && sendUnacknowledged == sendNext }
    /// Losses are being repaired, fast or after a time-out.
    public var isInRecovery: Bool { recovery.isActive }
    /// Spans held for lost and not sent again yet.
    public var lostCount: Int { board.lostCount }

    // MARK: What the owner wishes

    /// An ACK goes at the next opportunity (also for what only the owner knows: a DATA_ACK, a
    /// window update).
    public func requestAcknowledgement() {
        guard receivesAcknowledgements else { return }
        acknowledgements.request()
        declined = false
    }
    /// What was negotiated, as far as the path takes it.
    func adoptSegmentSize() {
        sendSegmentSize = sizeBounds.size
        controller.segmentSize = sendSegmentSize
        updatePacing()
    }

    /// A time-out has passed without an acknowledgement, or a probe of the tail is due.
    public var isUnanswered: Bool { timeout.backoffs > 0 || tail.isDue }

    /// A segment that makes the peer answer goes at the next opportunity.
    public func requestProbe() {
        guard isEstablished || state == .synReceived else { return }
        pending.probe = true
    }
    /// The owner has no more data for this subflow: FIN follows what was sent, once the handshake
    /// is done (before it, `abort()` gives up; RFC 9293 would let CLOSE do so).
    public func close() {
        pending.requestFIN()
        declined = false
    }
    /// RST is the next action, then `closed`.
    public func abort() {
        guard state != .closed else { return }
        // Nobody knows of a SYN that never went, and TIME-WAIT has nothing to take back.
        if (pending.opens && state == .synSent) || state == .timeWait {
            return enterClosed(.aborted)
        }
        pending.reset = .abort
    }

    private var receivesAcknowledgements: Bool {
        switch state {
        case .closed, .synSent: false
        case .synReceived: !pending.opens
        default: true
        }
    }
}

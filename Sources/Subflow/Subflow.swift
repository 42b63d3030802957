import Buffers
import Measures
import Wire

public enum CongestionAlgorithm: String, CaseIterable, Sendable { case cubic, newReno = "newreno" }

public struct SubflowConfiguration: Sendable {
    /// The most payload bytes in one segment we send, and the MSS we announce.
    public var maximumSegmentSize = 1400
    /// RFC 6928.
    public var initialWindowSegments = 10
    public var congestion = CongestionAlgorithm.cubic
    public var timestamps = false
    public var selectiveAcknowledgement = true
    /// The shift we announce (RFC 7323), 0 to 14.
    public var windowScale: UInt8 = 9
    /// Data may ride on our SYN and follow our SYN/ACK before the peer's ACK (inside a session only).
    public var earlyData = false
    /// `.connection`: the window belongs to the connection (RFC 8684 section 3.3.1) and is enforced there.
    /// `.subflow`: plain TCP, the subflow enforces it itself.
    public enum WindowScope: Sendable { case connection, subflow }
    public var windowScope = WindowScope.connection
    public var paced = true
    public var initialRTO = Interval.seconds(1)
    public var minimumRTO = Interval.milliseconds(200)
    public var maximumRTO = Interval.seconds(60)
    public var delayedAcknowledgement = Interval.milliseconds(25)
    /// No acknowledgement of sent data for this long ends the subflow.
    public var giveUpAfter = Interval.seconds(120)
    public init() {}
}

/// What is already known of a path when a subflow starts on it (another subflow's, or the probes').
public struct PathEstimate: Sendable {
    public var smoothedRTT: Interval
    public var rttVariation: Interval
    public var minimumRTT: Interval
    public init(smoothedRTT: Interval, rttVariation: Interval, minimumRTT: Interval) {
        self.smoothedRTT = smoothedRTT; self.rttVariation = rttVariation; self.minimumRTT = minimumRTT
    }
}

/// Something sent and not yet acknowledged on this subflow.
public struct SentSpan: Sendable {
    public var sequence: SubflowSequence
    /// Payload bytes (SYN and FIN take a sequence number of their own besides).
    public var length: Int
    /// Where the payload lies in the connection's stream; the owner's number, handed back unchanged.
    public var streamOffset: UInt64
    public var isSYN: Bool
    public var isFIN: Bool
    /// Acknowledged selectively, or by the owner declared needless to repeat.
    public var isDelivered: Bool
}

/// What one received segment meant.
public struct Arrival: Sendable {
    /// The part of the payload inside the window that was not wholly received before; empty where none.
    /// May lie ahead of a gap: the owner places it by its mapping at once.
    public var text: Range<Int> = 0..<0
    /// The handshake completed with this segment.
    public var established = false
    /// Payload bytes newly acknowledged, cumulatively or selectively.
    public var newlyDelivered = 0
    /// The peer's FIN and everything before it has arrived with this segment.
    public var finished = false
    /// The peer reset the subflow with an acceptable RST.
    public var wasReset = false
    /// The segment was outside the window or otherwise unacceptable; its options must be ignored.
    public var isUnacceptable = false
    public init() {}
}

/// One TCP connection of RFC 9293 as a pure state machine: segments without payload go in and come out,
/// time is an argument, the payload stays with the owner and is named by stream offsets.
///
/// The owner loops on `nextAction(at:)` and calls the matching `fill…` until it says `.nothing`.
public final class Subflow {
    public enum State: Sendable {
        case closed, synSent, synReceived, established, finWait1, finWait2, closeWait, closing, lastAck, timeWait
    }
    public enum Action {
        case nothing
        /// SYN or SYN/ACK for the first time; with early data, `room` bytes may ride on it (0 otherwise).
        case open(room: Int)
        /// A retransmission or tail loss probe of this span (SYN, data or FIN).
        case retransmit(SentSpan)
        /// New data may go: at most `room` bytes now (congestion window, pacing), in segments of at most
        /// `maximumSegmentSize`.
        case data(room: Int)
        /// FIN is due: everything the owner had was sent and `close()` was called.
        case finish
        /// A bare ACK is due.
        case acknowledge
        /// A probe that makes the peer answer: no payload, the sequence number before the next.
        case probe
        /// RST is due.
        case reset
    }

    public let configuration: SubflowConfiguration
    public let localPort: UInt16
    public let remotePort: UInt16
    public private(set) var state = State.closed
    public let initialSendSequence: SubflowSequence
    /// Known from the peer's SYN on.
    public private(set) var initialReceiveSequence = SubflowSequence(0)

    /// Active open: the next action is `.open`.
    public init(opening configuration: SubflowConfiguration, localPort: UInt16, remotePort: UInt16,
                initialSequence: SubflowSequence, estimate: PathEstimate?, at now: Instant) { fatalError("stub") }
    /// Passive open from a SYN that the owner approved; `payloadLength` bytes on it count as received where
    /// early data is on. The next action is `.open` (the SYN/ACK).
    public init(accepting syn: borrowing Segment, payloadLength: Int, configuration: SubflowConfiguration,
                initialSequence: SubflowSequence, estimate: PathEstimate?, at now: Instant) { fatalError("stub") }

    // MARK: In

    /// `textIsUsable` false: process the header, but treat payload and FIN as not received (no mapping for them).
    /// `receiveWindow`: the bytes the owner can take, counted from the next expected sequence number.
    public func receive(_ segment: borrowing Segment, payloadLength: Int, textIsUsable: Bool, receiveWindow: Int,
                        at now: Instant) -> Arrival { fatalError("stub") }

    // MARK: Out

    public func nextAction(at now: Instant) -> Action { fatalError("stub") }
    /// Fill ports, sequence, acknowledgement, flags, window (scaled from `receiveWindow` bytes), TCP options
    /// (MSS, SACK, window scale, timestamps). `segment` was `reset()`. `optionRoom`: bytes of the 40 that
    /// the owner needs for MPTCP options; SACK blocks are cut to fit.
    public func fillOpen(_ segment: inout Segment, dataLength: Int, streamOffset: UInt64, receiveWindow: Int, at now: Instant) { fatalError("stub") }
    public func fillRetransmission(of span: SentSpan, _ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant) { fatalError("stub") }
    public func fillData(_ segment: inout Segment, length: Int, streamOffset: UInt64, receiveWindow: Int, optionRoom: Int, at now: Instant) { fatalError("stub") }
    public func fillFinish(_ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant) { fatalError("stub") }
    public func fillAcknowledgement(_ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant) { fatalError("stub") }
    public func fillProbe(_ segment: inout Segment, receiveWindow: Int, optionRoom: Int, at now: Instant) { fatalError("stub") }
    public func fillReset(_ segment: inout Segment) { fatalError("stub") }

    /// An ACK goes at the next opportunity (also for what only the owner knows: a DATA_ACK, a window update).
    public func requestAcknowledgement() { fatalError("stub") }
    public func requestProbe() { fatalError("stub") }
    /// The owner has no more data for this subflow: FIN follows what was sent.
    public func close() { fatalError("stub") }
    /// RST is the next action, then `closed`.
    public func abort() { fatalError("stub") }

    // MARK: Time

    /// When `advance(to:)` or `nextAction` next has something to do; `.distantFuture` where never.
    public var deadline: Instant { fatalError("stub") }
    /// Runs the timers that are due (RTO, tail loss probe, RACK reordering, delayed ACK, TIME-WAIT).
    public func advance(to now: Instant) { fatalError("stub") }

    // MARK: What the scheduler and the reinjector ask

    public var smoothedRTT: Interval { fatalError("stub") }
    public var rttVariation: Interval { fatalError("stub") }
    public var minimumRTT: Interval { fatalError("stub") }
    public var latestRTT: Interval { fatalError("stub") }
    /// Whether any RTT was measured on this subflow itself.
    public var hasRTTSample: Bool { fatalError("stub") }
    public var retransmissionTimeout: Interval { fatalError("stub") }
    /// RTOs in a row without an acknowledgement.
    public var backoffs: Int { fatalError("stub") }
    public var congestionWindow: Int { fatalError("stub") }
    public var bytesInFlight: Int { fatalError("stub") }
    /// Congestion window minus what is in flight, never negative; ignores pacing.
    public var windowRoom: Int { fatalError("stub") }
    public var pacingRate: Rate { fatalError("stub") }
    /// Measured delivery rate (RFC 9438 / BBR draft style samples), zero while unknown.
    public var deliveryRate: Rate { fatalError("stub") }
    /// The next time pacing lets a segment go; in the past where it does not bind.
    public var pacingRelease: Instant { fatalError("stub") }
    /// The peer's window in bytes, scaled, as of the latest acceptable segment.
    public var peerWindow: Int { fatalError("stub") }
    /// What we may put into one segment: the smaller of our and the peer's MSS.
    public var sendSegmentSize: Int { fatalError("stub") }
    public var sendUnacknowledged: SubflowSequence { fatalError("stub") }
    public var sendNext: SubflowSequence { fatalError("stub") }
    public var receiveNext: SubflowSequence { fatalError("stub") }
    /// Spans sent and not cumulatively acknowledged, the oldest first.
    public var outstandingCount: Int { fatalError("stub") }
    public func outstanding(_ i: Int) -> SentSpan { fatalError("stub") }
    /// When the oldest unacknowledged span was last sent; `.distantFuture` where none is.
    public var oldestTransmission: Instant { fatalError("stub") }
    /// When the last acceptable segment arrived.
    public private(set) var lastArrival = Instant.zero

    public struct Statistics: Sendable {
        public var segmentsSent = 0, segmentsReceived = 0, bytesSent = 0, bytesRetransmitted = 0
        public var retransmissions = 0, timeouts = 0, tailLossProbes = 0, spuriousRecoveries = 0, duplicatesReceived = 0
        public init() {}
    }
    public private(set) var statistics = Statistics()
}

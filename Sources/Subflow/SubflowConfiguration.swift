import Measures

/// What a subflow is opened with.
public struct SubflowConfiguration: Equatable, Sendable {
    /// The most payload bytes in one segment we send, and the MSS we announce.
    public var maximumSegmentSize = 1400
    /// The most payload bytes in one segment we send at present, whatever we announce:
    /// `limitSegments` changes it.
    public var segmentLimit = Int.max
    /// The most payload bytes on a SYN, which can't be cut when it is repeated.
    public var openingLimit = Int.max
    /// The least payload of a full segment, whatever smaller MSS the peer announces. A segment of
    /// 64 bytes costs what one of 1,400 does: on raw IP anybody may have a reason, inside a session
    /// 536 (RFC 9293 section 3.7.1) fits any datagram.
    public var minimumSegmentSize = 64
    /// RFC 6928.
    public var initialWindowSegments = 10
    /// BBR fills no queue deeper than it needs.
    public var congestion = CongestionAlgorithm.bbr
    /// Asks for timestamps (RFC 7323 section 3).
    public var timestamps = false
    /// Asks for SACK (RFC 2018).
    public var selectiveAcknowledgement = true
    /// The shift we announce (RFC 7323), 0 to 14.
    public var windowScale: UInt8 = 9
    /// Data may ride on our SYN and follow our SYN/ACK before the peer's ACK (inside a session
    /// only).
    public var earlyData = false
    /// `.connection`: the window belongs to the connection (RFC 8684 section 3.3.1) and is enforced
    /// there. `.subflow`: plain TCP, the subflow enforces it itself.
    public enum WindowScope: Sendable { case connection, subflow }
    /// Who enforces the peer's window.
    public var windowScope = WindowScope.connection
    /// Spreads what the window allows over the round trip.
    public var paced = true
    /// Before a round trip was measured (RFC 6298 section 2.1).
    public var initialRTO = Interval.seconds(1)
    /// Shorter than RFC 6298's second, as everybody's is.
    public var minimumRTO = Interval.milliseconds(200)
    /// However often it was doubled (RFC 6298 section 2.5).
    public var maximumRTO = Interval.seconds(60)
    /// An ACK waits no longer for a second segment (RFC 9293 section 3.8.6.3).
    public var delayedAcknowledgement = Interval.milliseconds(25)
    /// How long the peer may hold back an ACK; the tail loss probe of a lone segment waits for it
    /// (RFC 8985 section 7.2, WCDelAckT).
    public var peerAcknowledgementDelay = Interval.milliseconds(25)
    /// A tail loss probe never goes sooner: below this the peer's event loop decides, not the path.
    public var minimumProbeTimeout = Interval.milliseconds(5)
    /// No acknowledgement of sent data for this long ends the subflow.
    public var giveUpAfter = Interval.seconds(120)
    /// TIME-WAIT lasts two RTOs, at most this long. Inside a session a number is not used again
    /// soon and records are never replayed, so the 2 MSL of RFC 9293 would only hold memory.
    public var maximumTimeWait = Interval.seconds(2)
    /// The defaults, or nothing yet.
    public init() {}
}

/// What is already known of a path when a subflow starts on it (another subflow's, or the probes').
public struct PathEstimate: Sendable {
    /// Zero where it is not known.
    public var smoothedRTT: Interval
    /// Beside `smoothedRTT`.
    public var rttVariation: Interval
    /// Zero: as `smoothedRTT`.
    public var minimumRTT: Interval
    /// Others begin on the path now, too: the first flight has no more than this many segments.
    public var maximumInitialSegments: Int
    /// What was measured elsewhere.
    public init(
        smoothedRTT: Interval, rttVariation: Interval, minimumRTT: Interval,
        maximumInitialSegments: Int = .max
    ) {
        self.smoothedRTT = smoothedRTT; self.rttVariation = rttVariation;
        self.minimumRTT = minimumRTT
        self.maximumInitialSegments = maximumInitialSegments
    }
}

/// Something sent and not yet acknowledged on this subflow.
public struct SentSpan: Sendable {
    /// Of its first byte, or of its SYN or FIN.
    public var sequence: SubflowSequence
    /// Payload bytes (SYN and FIN take a sequence number of their own besides).
    public var length: Int
    /// Where the payload lies in the connection's stream; the owner's number, handed back
    /// unchanged.
    public var streamOffset: UInt64
    /// It has our SYN, before the payload.
    public var isSYN: Bool
    /// It has our FIN, behind the payload.
    public var isFIN: Bool
    /// It was acknowledged selectively.
    public var isDelivered: Bool
    /// Held for lost and not sent again yet.
    public var isLost: Bool
    /// When it was last sent.
    public var sentAt: Instant

    /// What is left behind its first `n` bytes, of which it has more.
    func dropping(_ n: Int) -> SentSpan {
        var rest = self
        rest.sequence += n
        rest.length -= n
        rest.streamOffset += UInt64(n)
        return rest
    }
}

/// What one received segment meant.
public struct Arrival: Sendable {
    /// The part of the payload inside the window that was not wholly received before; empty where
    /// none. May lie ahead of a gap: the owner places it by its mapping at once.
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
    /// The defaults, or nothing yet.
    public init() {}
}

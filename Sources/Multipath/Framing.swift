import Subflow
import Wire

/// What carries a connection's segments. Chosen once for a connection; its members below say what
/// follows from it, each by the name of what it decides.
public enum Framing: Sendable {
    /// In the datagrams of a session, which authenticates them, signals addresses itself, and has
    /// Braid at both ends.
    case sealed
    /// As TCP segments of their own, which anybody may forge and a middlebox may change, to any
    /// implementation of RFC 8684.
    case rawIP
}

extension Framing {
    // MARK: What may happen to a segment

    /// Segments are checked before their options count, options may get lost under way, and the
    /// connection falls back to plain TCP where they do. Address signals and checksums are the
    /// connection's own.
    var isExposed: Bool { self == .rawIP }

    // MARK: What the peer does beyond RFC 8684, since it is Braid

    /// Data rides on a SYN, with its own mapping, and follows it before the answer.
    var carriesEarlyData: Bool { self == .sealed }
    /// Bytes that the peer takes before it has told its window: a first flight.
    var earlyWindow: UInt64 { self == .sealed ? 64 << 10 : 0 }
    /// A join is taken before the keys are here, and data on it before its proof.
    var joinsBeforeKeys: Bool { self == .sealed }
    /// What was acknowledged selectively is the data's already. Another peer first orders the
    /// subflow, and loses it with that.
    var keepsSelectivelyAcknowledged: Bool { self == .sealed }
    /// A DATA_ACK of eight octets says that the keys have arrived; elsewhere any says so.
    var confirmsKeysByWideAcknowledgement: Bool { self == .sealed }

    // MARK: What a session makes possible

    /// The first subflow outlives its path until the keys have arrived.
    var movesFirstSubflow: Bool { self == .sealed }
    /// A subflow whose path died says over another one what it has received.
    var saysFinalAcknowledgement: Bool { self == .sealed }
    /// One frame with the key ends every subflow.
    var abortsAllAtOnce: Bool { self == .sealed }
    /// A new subflow costs less than repairing one whose data arrived over others.
    var replacesStaleSubflows: Bool { self == .sealed }
    /// A retransmission may leave its subflow's order for the sake of the data's.
    var repairsInDataOrder: Bool { self == .sealed }
    /// A thin stream is copied to a second path.
    var copiesThinStreams: Bool { self == .sealed }
    /// An unanswered connection may be opened anew.
    var mayOpenAnew: Bool { self == .sealed }
    /// Segments of a subflow's first flight; nil: as configured. With more than the 10 of RFC 6928
    /// a path of 2 Mbit/s and 100 ms is full from the first round trip on after a handover, and
    /// they are paced.
    var initialWindowSegments: Int? { self == .sealed ? 16 : nil }

    // MARK: How options are written

    /// Data sequence numbers and data acknowledgements of data segments.
    var dataSequenceWidth: DSS.Width { self == .sealed ? .four : .eight }
    /// Keys, HMACs and DSS have to do with the 40 bytes of a TCP header.
    var limitsOptions: Bool { self == .rawIP }
    /// Of the 40 option bytes, those of a DSS with a mapping, and with a data acknowledgement
    /// alone.
    var mappingOctets: Int { self == .sealed ? 20 : 28 }
    var dataAcknowledgementOctets: Int { self == .sealed ? 8 : 12 }
}

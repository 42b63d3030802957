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

    /// Anybody may forge one: TCP's own checks come before every option (RFC 8684 section 3).
    var mayBeForged: Bool { self == .rawIP }
    /// Options may get lost under way, and payload be changed: the connection falls back to plain
    /// TCP, and agrees on checksums (RFC 8684 sections 3.3.1 and 3.7).
    var mayBeChanged: Bool { self == .rawIP }
    /// Addresses are signalled by the connection's own options (RFC 8684 section 3.4).
    var signalsAddresses: Bool { self == .rawIP }
    /// What has timers of its own (`RawIP/RawIPTimers`).
    var hasOwnTimers: Bool { self == .rawIP }

    // MARK: What a peer does that may be any implementation of RFC 8684

    /// Its windows count for a subflow, and in steps of its scale.
    var limitsSubflowsByWindow: Bool { self == .rawIP }
    /// It may drop what it acknowledged on a subflow and not yet by a DATA_ACK.
    var mayDropAcknowledged: Bool { self == .rawIP }
    /// No join before a DSS has shown that it has the keys.
    var joinsBehindFirstDSS: Bool { self == .rawIP }
    /// The third packet, with the keys, goes ahead of everything.
    var sendsKeysAhead: Bool { self == .rawIP }
    /// A FIN of its last subflow is answered only when both streams have ended; in a session each
    /// is at once.
    var keepsLastSubflow: Bool { self == .rawIP }
    /// It ends its last subflow in order only when it knows of both streams' ends.
    var confirmsByLastSubflow: Bool { self == .rawIP }
    /// Its reset ends a subflow only: without one the connection waits for another.
    var waitsWithoutSubflow: Bool { self == .rawIP }
    /// Subflows are given time to end in order when both streams have.
    var lingers: Bool { self == .rawIP }
    /// MP_PRIO goes so often: in a session the segment with it may be lost, and nothing confirms
    /// it.
    var priorityRepetitions: Int { self == .rawIP ? 1 : SubflowPriority.repetitions }

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

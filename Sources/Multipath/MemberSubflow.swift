import Measures
import Subflow
import Wire

/// One subflow of a connection with what MPTCP adds to its TCP: the path, the handshake's keys and
/// nonces, its priority, its mappings.
final class MemberSubflow {
    enum Kind { case initial, join }
    enum Timer: Int {
        /// MP_CAPABLE with keys, or MP_JOIN's HMAC, is repeated by itself.
        case keyProof
    }
    let tcp: Subflow
    /// Its place among the connection's subflows.
    var index: SubflowIndex = 0
    /// Changes only while the keys are under way: see `Connection.move`.
    var path: PathID
    let kind: Kind
    let isOpener: Bool
    var join: JoinIdentity
    var health = PathHealth.usable
    var priority: SubflowPriority
    var proof = KeyProof()
    var timers = TimerTable<Timer>()
    /// Answer with an 8-octet DATA_ACK, which says that the keys arrived.
    var owesWideAcknowledgement = false
    /// When text last arrived on it.
    var lastText = Instant.zero
    var finalAcknowledgement = FinalAcknowledgement()
    var mappings = ReceiveMappings()
    var repair = SubflowRepair()
    var copies: CarriedCopies
    var ending = SubflowEnding()
    var raw = RawIPSubflow()

    init(
        tcp: Subflow, path: PathID, kind: Kind, isOpener: Bool, addressID: AddressID, backup: Bool
    ) {
        self.tcp = tcp
        self.path = path
        self.kind = kind
        self.isOpener = isOpener
        join = JoinIdentity(addressID: addressID)
        priority = SubflowPriority(byUs: backup)
        copies = CarriedCopies(end: tcp.initialSendSequence)
    }

    var isBackup: Bool { priority.byUs || priority.byPeer }
    var isEnding: Bool { ending.hasBegun }
    /// Timed out without an acknowledgement since: what it carries goes on others first.
    var isStale: Bool { tcp.backoffs > 0 }
    var isAlive: Bool { tcp.state != .closed }

    /// Relative to the peer's initial sequence number, as DSS counts (RFC 8684 section 3.3.1).
    func relativeReceive(_ sequence: SubflowSequence) -> UInt32 {
        sequence.value &- tcp.initialReceiveSequence.value
    }
    func relativeSend(_ sequence: SubflowSequence) -> UInt32 {
        sequence.value &- tcp.initialSendSequence.value
    }

    /// Notes a copy of `offset` that ends before the TCP's next sequence number.
    func carriesCopy(of offset: UInt64) {
        copies.lowest = min(copies.lowest, offset)
        copies.end = tcp.sendNext
    }

    /// The lowest data offset it may have to repeat; `.max` where it has nothing outstanding.
    func lowestHeldOffset() -> UInt64 {
        guard tcp.outstandingCount > 0 else { copies.lowest = .max; return .max }
        if copies.lowest != .max, copies.end.isAtOrBefore(tcp.sendUnacknowledged) {
            copies.lowest = .max
        }
        // A SYN without data may stand before the data that followed it early.
        for i in 0..<tcp.outstandingCount {
            let span = tcp.outstanding(i)
            if span.length > 0 { return min(copies.lowest, span.streamOffset) }
        }
        return copies.lowest
    }
}

/// By what a joining subflow is known (RFC 8684 section 3.2).
struct JoinIdentity {
    let addressID: AddressID
    /// Whose address it is, at our end and at the peer's (raw IP; 0: the first subflow's).
    var localAddressID = AddressID.initial
    var remoteAddressID = AddressID.initial
    var localNonce: UInt32 = 0
    var remoteNonce: UInt32 = 0
}

/// Whether a subflow is only for when no other works (RFC 8684 section 3.3.8).
struct SubflowPriority {
    /// We asked the peer to treat it as backup; the peer asked us.
    var byUs: Bool
    var byPeer = false
    /// MP_PRIO goes with so many more segments.
    var left = 0
    var isDue: Bool { left > 0 }
    /// Nothing confirms it, and a session's segment with it may be lost.
    static let repetitions = 3
}

/// MP_CAPABLE with keys, or MP_JOIN's HMAC: goes with every segment until the peer has it.
struct KeyProof {
    /// The peer has it.
    var isKnownToPeer = false
    /// When it first left; `.distantFuture` before. What arrives sooner than a round trip later is
    /// no evidence that the peer has it.
    var sentAt = Instant.distantFuture
    /// The peer's was verified (listener), or its HMAC in the SYN/ACK (opener).
    var isVerified = false
}

/// The last acknowledgement of a subflow whose path is gone or silent, over another path.
struct FinalAcknowledgement {
    /// Ours is to be sent.
    var isDue = false
    /// The peer's came.
    var hasCome = false
}

/// What a subflow did about its time-outs.
struct SubflowRepair {
    /// What the peer lacked first when it went on this subflow ahead of its losses, and after how
    /// many timeouts.
    var awaitedSent = UInt64.max
    var afterTimeouts = 0
    /// Timeouts of the TCP already turned into reinjections.
    var timeoutsSeen = 0
}

/// What a subflow carries of other subflows' data.
struct CarriedCopies {
    /// All data below it has gone on this subflow, or had a DATA_ACK before its turn (redundant
    /// scheduler).
    var redundantEnd: UInt64 = 0
    /// The lowest offset among the copies, and the sequence behind the last of them.
    var lowest = UInt64.max
    var end: SubflowSequence
}

/// How a subflow ends.
struct SubflowEnding {
    /// RST with this reason is due or was sent; nothing is scheduled there any more.
    var resetReason: UInt8?
    var hasBegun = false
    /// Its FIN goes after both streams ended: acknowledged, it proves that the peer knows.
    var confirmsStreams = false
}

/// What only raw IP needs of a subflow.
struct RawIPSubflow {
    /// A DSS with a DATA_ACK came on it: DSS gets through in both directions (RFC 8684 section
    /// 3.7).
    var hasDataAcknowledgement = false
    /// Segments in a row whose text no mapping covers, and when the first of them came.
    var unmapped = 0
    var unmappedFrom = Instant.zero
    /// With checksums: what waits for the rest of its mapping.
    var unchecked: [UncheckedMapping] = []
    /// Where a wrong checksum was found that ends the subflow: goes with the RST as MP_FAIL.
    var failedSequence: DataSequence?
}

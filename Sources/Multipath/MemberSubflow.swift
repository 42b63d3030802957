import Measures
import Subflow
import Wire

/// One subflow of a connection with what MPTCP adds to its TCP: the path, the handshake's keys and
/// nonces, its priority, its mappings.
final class MemberSubflow {
    enum Kind { case initial, join }
    let tcp: Subflow
    /// Its place among the connection's subflows.
    var index: SubflowIndex = 0
    /// Changes only while the keys are under way: see `Connection.move`.
    var path: PathID
    let kind: Kind
    let isOpener: Bool
    let addressID: AddressID
    /// Whose address it is, at our end and at the peer's (raw IP; 0: the first subflow's).
    var localAddressID = AddressID.initial
    var remoteAddressID = AddressID.initial
    var localNonce: UInt32 = 0
    var remoteNonce: UInt32 = 0
    var health = PathHealth.usable
    /// We asked the peer to treat it as backup; the peer asked us (RFC 8684 section 3.3.8).
    var backupByUs: Bool
    var backupByPeer = false
    /// MP_PRIO goes with the next segment.
    var owesPriority = false
    /// MP_CAPABLE with keys, or MP_JOIN's HMAC, goes with every segment until this is set: the peer
    /// has it.
    var peerHasProof = false
    /// When the proof first left; `.distantFuture` before. What arrives sooner than a round trip
    /// later is no evidence that the peer has it.
    var proofSentAt = Instant.distantFuture
    /// When the proof (third packet of the handshake) is repeated by itself (raw IP only).
    var proofDeadline = Instant.distantFuture
    /// The peer's proof was verified (listener), or its HMAC in the SYN/ACK (opener).
    var isVerified = false
    /// A DSS with a DATA_ACK came on it: DSS gets through in both directions (raw IP; section 3.7).
    var hasDataAcknowledgement = false
    /// Raw IP: segments in a row whose text no mapping covers, and when the first of them came.
    var unmapped = 0
    var unmappedFrom = Instant.zero
    /// Answer with an 8-octet DATA_ACK, which says that the keys arrived.
    var owesWideAcknowledgement = false
    /// All data below it has gone on this subflow, or had a DATA_ACK before its turn (redundant
    /// scheduler).
    var redundantEnd: UInt64 = 0
    /// When text last arrived on it.
    var lastText = Instant.zero
    /// Its path is gone or silent, and its last acknowledgement goes over another one.
    var owesFinalAcknowledgement = false
    /// The peer's came, over another path.
    var hasFinalAcknowledgement = false
    var mappings = ReceiveMappings()
    /// Raw IP with checksums: what waits for the rest of its mapping.
    var unchecked: [UncheckedMapping] = []
    /// Where a wrong checksum was found that ends the subflow: goes with the RST as MP_FAIL.
    var failedSequence: DataSequence?
    /// What the peer lacked first when it went on this subflow ahead of its losses, and after how
    /// many timeouts.
    var awaitedSent = UInt64.max
    var awaitedSentAfterTimeouts = 0
    /// Timeouts of the TCP already turned into reinjections.
    var timeoutsSeen = 0
    /// The lowest offset among copies it carries of other subflows' data, and the sequence behind
    /// the last copy.
    var lowestCopy = UInt64.max
    var copyEnd = SubflowSequence(0)
    /// RST with this reason is due or was sent; nothing is scheduled here any more.
    var resetReason: UInt8?
    var isEnding = false
    /// Its FIN goes after both streams ended: acknowledged, it proves that the peer knows.
    var confirmsEnd = false

    init(tcp: Subflow, path: PathID, kind: Kind, isOpener: Bool, addressID: AddressID, backup: Bool)
    {
        self.tcp = tcp
        self.path = path
        self.kind = kind
        self.isOpener = isOpener
        self.addressID = addressID
        backupByUs = backup
        copyEnd = tcp.initialSendSequence
    }

    var isBackup: Bool { backupByUs || backupByPeer }
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
        lowestCopy = min(lowestCopy, offset)
        copyEnd = tcp.sendNext
    }

    /// The lowest data offset it may have to repeat; `.max` where it has nothing outstanding.
    func lowestHeldOffset() -> UInt64 {
        guard tcp.outstandingCount > 0 else { lowestCopy = .max; return .max }
        if lowestCopy != .max, copyEnd.isAtOrBefore(tcp.sendUnacknowledged) { lowestCopy = .max }
        // A SYN without data may stand before the data that followed it early.
        for i in 0..<tcp.outstandingCount {
            let span = tcp.outstanding(i)
            if span.length > 0 { return min(lowestCopy, span.streamOffset) }
        }
        return lowestCopy
    }
}

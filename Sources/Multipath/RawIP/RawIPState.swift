import Measures
import Wire

/// What a connection keeps for the raw-IP framing alone. Inside a session nothing asks for it,
/// since the session authenticates every datagram and signals addresses itself.
struct RawIPState {
    /// Either side asked for DSS checksums (RFC 8684 section 3.1, flag A).
    var usesChecksums = false
    /// The peer takes no joins to the address of the first subflow (flag C).
    var peerDeniesInitialJoins = false

    /// A DSS came on the first subflow, or data that MP_CAPABLE maps: the peer has both keys
    /// (section 3.1).
    var peerHasKeys = false
    /// When a DATA_FIN last went.
    var finSentAt = Instant.zero

    /// How received bytes map to the data since the connection fell back to plain TCP; nil: it is
    /// MPTCP.
    var plain: PlainMapping?
    /// Offset of the first data that went after an MP_FAIL, and where the infinite mapping begins,
    /// which acts back to the last data known to be intact (section 3.7).
    var infinite: (first: UInt64, from: UInt64)?
    /// We sent MP_FAIL; what still fails its checksum is taken as it is.
    var failWasSent = false
    var owesFail: DataSequence?

    /// How often data went again in vain that the subflows have delivered and the peer has not
    /// acknowledged, and from where (`Timer.dataRepeat`).
    var repeats = Backoff(maximumDoublings: 6)
    var repeatedFrom: UInt64 = 0

    /// Address signals that wait to be sent, in order.
    var signals: [AddressSignal] = []
    /// How many of them went in a row, and when the next may.
    var signalsInRow = 0
    var signalsFrom = Instant.zero
    /// Addresses announced and not taken back.
    var announced: [(id: AddressID, address: IPAddress)] = []
    /// Advertisements that wait for their echo.
    var awaitingEcho: [Advertisement] = []
    /// Verified signals of the peer, for the owner.
    var heard: [PeerAddressSignal] = []

    struct PlainMapping {
        /// Relative subflow sequence number, and the data offset of that byte.
        var position: UInt32
        var offset: UInt64
    }
    enum AddressSignal {
        case add(AddAddress)
        case remove(RemoveAddress)
    }
    struct Advertisement {
        var option: AddAddress
        var deadline: Instant
        var repeats = Backoff()
    }
}

/// What the peer says of its addresses (RFC 8684 section 3.4), verified.
public enum PeerAddressSignal: Hashable, Sendable {
    /// `port` nil: the port of the first subflow.
    case added(id: AddressID, address: IPAddress, port: UInt16?)
    case removed(id: AddressID)
    /// The peer echoed our advertisement.
    case echoed(id: AddressID)
}

import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// A proxy's attempts to open a session. Each has a fresh ephemeral key, timestamp and index; the
/// answer to any of the latest few is accepted.
struct HandshakeState {
    struct Attempt {
        var noise: NoiseHandshake
        var index: UInt32
        /// As far as its second MAC, which depends on the cookie of the uplink and address it goes
        /// by.
        var datagram: [UInt8]
        var mac1: Bytes16
        var sentAt: Instant
        /// It asked for a fresh session although the old one lives.
        var wantsFresh: Bool
    }
    /// The session slot kept for the outcome.
    let slot: SessionSlot
    var attempts: [Attempt] = []
    var count = 0
    var nextAt: Instant
    /// What the concentrator wants to see in the next hello, and until when.
    var challenge: (value: Bytes16, until: Instant)?
    /// How often it asked in a row.
    var challenges = 0

    /// For a hello that leaves now: none is all zeros.
    func challenge(at now: Instant) -> Bytes16 {
        challenge.map { now < $0.until ? $0.value : .zero } ?? .zero
    }
}

/// What a proxy has for opening sessions with its concentrator.
final class SessionInitiator {
    let remoteKey: Key32
    let remoteKeys: HelloKeys
    let preSharedKey: Key32
    /// This process, among those with the same key.
    let instance: UInt64
    var cookies: [HeldCookie] = []
    var handshake: HandshakeState?

    init(remoteKey: Key32, preSharedKey: Key32, instance: UInt64) {
        self.remoteKey = remoteKey
        self.preSharedKey = preSharedKey
        self.instance = instance
        remoteKeys = HelloKeys(concentrator: remoteKey)
    }
    var peer: SessionPeer { SessionPeer(publicKey: remoteKey, preSharedKey: preSharedKey) }
}

/// Where a welcome came from, the number of chance in it, and when its hello left.
struct WelcomeArrival {
    let source: PathAddress
    let token: Int64
    let sentAt: Instant
}

/// A cookie of the concentrator's for what comes from `uplink` to `remote`.
struct HeldCookie {
    let uplink: UplinkNumber
    let remote: SocketAddress
    var cookie: Bytes16
    var until: Instant
    /// The attempt that came again with it: once.
    var usedFor: UInt32
}

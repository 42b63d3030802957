import Buffers
import CLibcrypto

/// What a peer did wrong in a handshake.
public enum NoiseError: Error, Equatable {
    case tooShort
    case notAuthentic
    /// A public key of small order: the shared secret would be zero whatever ours is.
    case weakKey
    /// A message that is not this side's turn to write or to read.
    case outOfOrder
}

/// Noise_IKpsk2_25519_ChaChaPoly_SHA256 (Noise Protocol Framework revision 34): two messages.
///
/// Message 1: e, es, s, ss, payload. Message 2: e, ee, se, psk, payload.
/// A value: a message that is refused leaves the handshake as it was, so a forged answer can't
/// spoil the true one that follows.
public struct NoiseHandshake {
    /// What a finished handshake leaves (Noise section 5.2, Split), as its own side sees it.
    public struct TransportKeys {
        /// For records to the peer.
        public var send: Key32
        /// For records from the peer.
        public var receive: Key32
    }
    /// Bytes a message adds to its payload: message 1 (32 + 48 + 16) and message 2 (32 + 16).
    public static let overhead1 = 96
    /// The same for the second message.
    public static let overhead2 = 48

    private enum Turn { case message1, payload1, message2, done }

    /// Everything secret in one place on the heap, wiped when the last copy of the handshake goes.
    private final class State {
        var local: StaticKeyPair
        /// The responder's comes with its message, when the first one has proved authentic.
        var ephemeral: StaticKeyPair?
        var preSharedKey: Key32
        var symmetric: SymmetricState
        var remoteEphemeral = Key32.zero
        var remoteStatic: Key32?
        var turn = Turn.message1

        init(
            _ local: StaticKeyPair, _ ephemeral: StaticKeyPair?, _ preSharedKey: Key32,
            _ remoteStatic: Key32?,
            _ symmetric: SymmetricState
        ) {
            self.local = local
            self.ephemeral = ephemeral
            self.preSharedKey = preSharedKey
            self.remoteStatic = remoteStatic
            self.symmetric = symmetric
        }
        func copy() -> State {
            let other = State(local, ephemeral, preSharedKey, remoteStatic, symmetric)
            other.remoteEphemeral = remoteEphemeral
            other.turn = turn
            return other
        }
        deinit {
            withUnsafeMutableBytes(of: &local) { OPENSSL_cleanse($0.baseAddress, $0.count) }
            withUnsafeMutableBytes(of: &ephemeral) { OPENSSL_cleanse($0.baseAddress, $0.count) }
            withUnsafeMutableBytes(of: &preSharedKey) { OPENSSL_cleanse($0.baseAddress, $0.count) }
            withUnsafeMutableBytes(of: &symmetric) { OPENSSL_cleanse($0.baseAddress, $0.count) }
        }
    }

    private let isInitiator: Bool
    private var state: State

    /// The peer's static key, once known.
    public var remoteStatic: Key32? { state.remoteStatic }

    /// The side that writes message 1. `ephemeral` is a fresh private key, used for this handshake
    /// only.
    public static func initiator(
        local: StaticKeyPair, remote: Key32, prologue: [UInt8], preSharedKey: Key32,
        ephemeral: Key32
    ) -> NoiseHandshake {
        NoiseHandshake(
            isInitiator: true, local, remote, prologue, preSharedKey,
            StaticKeyPair(privateKey: ephemeral))
    }

    /// The side that reads message 1. What its answer needs is given by `prepare` between the
    /// messages.
    public static func responder(local: StaticKeyPair, prologue: [UInt8]) -> NoiseHandshake {
        NoiseHandshake(isInitiator: false, local, nil, prologue, .zero, nil)
    }

    private init(
        isInitiator: Bool, _ local: StaticKeyPair, _ remote: Key32?, _ prologue: [UInt8],
        _ preSharedKey: Key32, _ ephemeral: StaticKeyPair?
    ) {
        self.isInitiator = isInitiator
        var symmetric = SymmetricState(protocolName: "Noise_IKpsk2_25519_ChaChaPoly_SHA256")
        prologue.withUnsafeBytes { symmetric.mixHash($0) }
        symmetric.mixHash(isInitiator ? remote! : local.publicKey)  // the pre-message: <- s
        state = State(local, ephemeral, preSharedKey, remote, symmetric)
    }

    /// Responder, between the messages: the pre-shared key, which depends on who is asking, and a
    /// fresh private key, made only now that somebody is.
    public mutating func prepare(preSharedKey: Key32, ephemeral: Key32) {
        let next = state.copy()
        next.preSharedKey = preSharedKey
        next.ephemeral = StaticKeyPair(privateKey: ephemeral)
        state = next
    }

    /// Message 1 (initiator) or message 2 (responder) with `payload` inside.
    public mutating func writeMessage(payload: [UInt8]) throws(NoiseError) -> [UInt8] {
        let next = state.copy()
        guard let ephemeral = next.ephemeral else { throw .outOfOrder }
        var out: [UInt8] = []
        out.reserveCapacity(Self.overhead1 + payload.count)
        switch (next.turn, isInitiator) {
        case (.message1, true):
            Self.addEphemeral(ephemeral, next, &out)
            try next.symmetric.mixSecret(ephemeral.privateKey, next.remoteStatic!)  // es
            next.local.publicKey.withBytes { out += next.symmetric.seal($0) }  // s
            try next.symmetric.mixSecret(next.local.privateKey, next.remoteStatic!)  // ss
            next.turn = .message2
        case (.message2, false):
            Self.addEphemeral(ephemeral, next, &out)
            try next.symmetric.mixSecret(ephemeral.privateKey, next.remoteEphemeral)  // ee
            try next.symmetric.mixSecret(ephemeral.privateKey, next.remoteStatic!)  // se
            next.symmetric.mixKeyAndHash(next.preSharedKey)  // psk
            next.turn = .done
        default: throw .outOfOrder
        }
        payload.withUnsafeBytes { out += next.symmetric.seal($0) }
        state = next
        return out
    }

    /// Responder: who says to be asking, after one multiplication instead of two. Only
    /// `readMessage` of the same message then shows whether it is true.
    public mutating func readSender(_ message: UnsafeRawBufferPointer) throws(NoiseError) -> Key32 {
        guard !isInitiator, state.turn == .message1 else { throw .outOfOrder }
        guard message.count >= Self.overhead1 else { throw .tooShort }
        let next = state.copy()
        Self.takeEphemeral(message, next)
        try next.symmetric.mixSecret(next.local.privateKey, next.remoteEphemeral)  // es
        let key = try next.symmetric.open(message[32..<80])  // s
        let remote = key.withUnsafeBytes { Key32($0) }
        next.remoteStatic = remote
        next.turn = .payload1
        state = next
        return remote
    }

    /// The payload of message 1 (at the responder) or message 2 (at the initiator).
    public mutating func readMessage(
        _ message: UnsafeRawBufferPointer
    ) throws(NoiseError) -> [UInt8] {
        if !isInitiator, state.turn == .message1 {
            var sent = self
            _ = try sent.readSender(message)
            let payload = try sent.readMessage(message)
            self = sent
            return payload
        }
        let next = state.copy(), payload: [UInt8]
        switch (next.turn, isInitiator) {
        case (.payload1, false):
            guard message.count >= Self.overhead1 else { throw .tooShort }
            try next.symmetric.mixSecret(next.local.privateKey, next.remoteStatic!)  // ss
            payload = try next.symmetric.open(message[80...])
            next.turn = .message2
        case (.message2, true):
            guard message.count >= Self.overhead2, let ephemeral = next.ephemeral else {
                throw .tooShort
            }
            Self.takeEphemeral(message, next)
            try next.symmetric.mixSecret(ephemeral.privateKey, next.remoteEphemeral)  // ee
            try next.symmetric.mixSecret(next.local.privateKey, next.remoteEphemeral)  // se
            next.symmetric.mixKeyAndHash(next.preSharedKey)  // psk
            payload = try next.symmetric.open(message[32...])
            next.turn = .done
        default: throw .outOfOrder
        }
        state = next
        return payload
    }

    /// After the second message: the two record keys (section 5.2, Split).
    public func split() -> TransportKeys {
        precondition(state.turn == .done, "split before the second message")
        let (first, second) = state.symmetric.split()
        return isInitiator
            ? TransportKeys(send: first, receive: second)
            : TransportKeys(send: second, receive: first)
    }

    /// After the second message: the hash of the whole handshake, for channel binding (section
    /// 11.2).
    public var handshakeHash: Key32 { state.symmetric.hash }

    // In a handshake with a pre-shared key an ephemeral key is also mixed into the key (section
    // 9.2).
    private static func addEphemeral(_ key: StaticKeyPair, _ state: State, _ out: inout [UInt8]) {
        key.publicKey.withBytes { out += Array($0) }
        state.symmetric.mixHash(key.publicKey)
        state.symmetric.mixKey(key.publicKey)
    }

    private static func takeEphemeral(_ message: UnsafeRawBufferPointer, _ state: State) {
        state.remoteEphemeral = Key32(UnsafeRawBufferPointer(rebasing: message[..<32]))
        state.symmetric.mixHash(state.remoteEphemeral)
        state.symmetric.mixKey(state.remoteEphemeral)
    }
}

/// Noise's SymmetricState with its CipherState (sections 5.1 and 5.2).
private struct SymmetricState {
    private(set) var hash: Key32
    private var chainingKey: Key32
    private var key = Key32.zero
    private var nonce: UInt64 = 0

    init(protocolName: StaticString) {
        // Longer than 32 bytes, so it is hashed (section 5.2, InitializeSymmetric).
        precondition(protocolName.utf8CodeUnitCount > 32)
        hash = SHA256.hash(
            UnsafeRawBufferPointer(
                start: protocolName.utf8Start, count: protocolName.utf8CodeUnitCount))
        chainingKey = hash
    }

    mutating func mixHash(_ bytes: UnsafeRawBufferPointer) { hash = SHA256.hash(hash, bytes) }
    mutating func mixHash(_ bytes: Key32) { bytes.withBytes { mixHash($0) } }

    mutating func mixKey(_ input: Key32) {
        (chainingKey, key, _) = input.withBytes { HKDF.expand(chainingKey, $0) }
        nonce = 0
    }

    mutating func mixKeyAndHash(_ input: Key32) {
        let derived = input.withBytes { HKDF.expand(chainingKey, $0) }
        chainingKey = derived.0
        mixHash(derived.1)
        key = derived.2
        nonce = 0
    }

    mutating func mixSecret(_ privateKey: Key32, _ publicKey: Key32) throws(NoiseError) {
        guard let secret = Curve25519.sharedSecret(privateKey, publicKey) else { throw .weakKey }
        mixKey(secret)
    }

    /// EncryptAndHash.
    mutating func seal(_ plain: UnsafeRawBufferPointer) -> [UInt8] {
        let sealed = NoiseCipher.seal(key: key, nonce: nonce, associated: hash, plain)
        nonce += 1
        sealed.withUnsafeBytes { mixHash($0) }
        return sealed
    }

    /// DecryptAndHash.
    mutating func open(_ sealed: Slice<UnsafeRawBufferPointer>) throws(NoiseError) -> [UInt8] {
        let bytes = UnsafeRawBufferPointer(rebasing: sealed)
        guard let plain = NoiseCipher.open(key: key, nonce: nonce, associated: hash, bytes) else {
            throw .notAuthentic
        }
        nonce += 1
        mixHash(bytes)
        return plain
    }

    func split() -> (Key32, Key32) {
        let (first, second, _) = HKDF.expand(
            chainingKey, UnsafeRawBufferPointer(start: nil, count: 0))
        return (first, second)
    }
}

/// ChaCha20-Poly1305 as Noise uses it: the nonce is four zero bytes and a little-endian counter
/// (section 12.3).
package enum NoiseCipher {
    package static func seal(
        key: Key32, nonce: UInt64, associated: Key32?,
        _ plain: UnsafeRawBufferPointer
    ) -> [UInt8] {
        let cipher = RecordCipher(suite: .chaCha20Poly1305, key: key)
        return [UInt8](unsafeUninitializedCapacity: plain.count + RecordCipher.tagBytes) {
            out, count in
            count = withAssociated(associated) {
                cipher.seal(
                    path: 0, packetNumber: nonce.byteSwapped, associated: $0, head: plain,
                    payload: .empty,
                    into: UnsafeMutableRawPointer(out.baseAddress!))
            }
        }
    }

    package static func open(
        key: Key32, nonce: UInt64, associated: Key32?,
        _ sealed: UnsafeRawBufferPointer
    ) -> [UInt8]? {
        let cipher = RecordCipher(suite: .chaCha20Poly1305, key: key)
        var bytes = Array(sealed)
        let length = bytes.withUnsafeMutableBytes { record in
            withAssociated(associated) {
                cipher.open(
                    path: 0, packetNumber: nonce.byteSwapped, associated: $0, record: record)
            }
        }
        guard let length else { return nil }
        bytes.removeLast(bytes.count - length)
        return bytes
    }

    private static func withAssociated<R>(_ key: Key32?, _ body: (UnsafeRawBufferPointer) -> R) -> R
    {
        key.map { $0.withBytes(body) } ?? body(UnsafeRawBufferPointer(start: nil, count: 0))
    }
}

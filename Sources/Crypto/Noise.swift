/// What a peer did wrong in a handshake.
public enum NoiseError: Error, Equatable { case tooShort, notAuthentic, weakKey, outOfOrder }

/// Noise_IKpsk2_25519_ChaChaPoly_SHA256 (Noise Protocol Framework revision 34): two messages.
///
/// Message 1: e, es, s, ss, payload. Message 2: e, ee, se, psk, payload.
public struct NoiseHandshake {
    public struct TransportKeys { public var send: Key32; public var receive: Key32 }
    /// Bytes a message adds to its payload: message 1 (32 + 48 + 16) and message 2 (32 + 16).
    public static let overhead1 = 96
    public static let overhead2 = 48

    public static func initiator(local: StaticKeyPair, remote: Key32, prologue: [UInt8], preSharedKey: Key32,
                                 ephemeral: Key32) -> NoiseHandshake { fatalError("stub") }
    public static func responder(local: StaticKeyPair, prologue: [UInt8], preSharedKey: Key32,
                                 ephemeral: Key32) -> NoiseHandshake { fatalError("stub") }

    /// The peer's static key, once known.
    public private(set) var remoteStatic: Key32?
    /// The responder finds the pre-shared key by the initiator's static key: set it between the messages.
    public mutating func setPreSharedKey(_ key: Key32) { fatalError("stub") }
    public mutating func writeMessage(payload: [UInt8]) throws(NoiseError) -> [UInt8] { fatalError("stub") }
    public mutating func readMessage(_ message: UnsafeRawBufferPointer) throws(NoiseError) -> [UInt8] { fatalError("stub") }
    /// After the second message: the two record keys, and the handshake hash for channel binding.
    public func split() -> TransportKeys { fatalError("stub") }
    public var handshakeHash: Key32 { fatalError("stub") }
}

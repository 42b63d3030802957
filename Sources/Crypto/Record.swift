import Buffers

/// The cipher of records.
public enum CipherSuite: UInt8, Sendable {
    case aes256GCM = 1
    case chaCha20Poly1305 = 2
    /// Whether this processor runs AES-GCM in hardware.
    public static var hasHardwareAES: Bool { fatalError("stub") }
}

/// One direction's record key, expanded once. The nonce is 12 bytes: `path` (4, big-endian) and packet
/// number (8, big-endian); never used twice with one key (the caller's packet numbers see to it).
public final class RecordCipher {
    public static let tagBytes = 16
    public let suite: CipherSuite
    public init(suite: CipherSuite, key: Key32) { fatalError("stub") }

    /// Seals `head ‖ payload.first ‖ payload.second` to `out` (same total length plus the tag), which may
    /// be where `head` already lies. The payload is read from where it is: the cipher is the copy.
    /// Returns bytes written.
    public func seal(path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
                     head: UnsafeRawBufferPointer, payload: Pieces, into out: UnsafeMutableRawPointer) -> Int { fatalError("stub") }

    /// Opens `record` (ciphertext and tag) in place; the plaintext's length, or nil where it is not authentic.
    public func open(path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
                     record: UnsafeMutableRawBufferPointer) -> Int? { fatalError("stub") }
}

/// Which packet numbers of a path arrived: 8,192 wide (RFC 6479's bitmap).
public struct ReplayWindow {
    public init() {}
    /// The highest number accepted so far; 0 where none.
    public private(set) var highest: UInt64 = 0
    /// Whether `number` is new. Cheap; ask before opening a record.
    public func isFresh(_ number: UInt64) -> Bool { fatalError("stub") }
    /// Notes `number` after its record proved authentic; false where it was not fresh.
    public mutating func accept(_ number: UInt64) -> Bool { fatalError("stub") }
}

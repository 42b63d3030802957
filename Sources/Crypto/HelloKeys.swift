import CLibcrypto
import Measures

/// HMAC-SHA256 with a key that stays: its first block is hashed once, so a short message costs two
/// blocks less and no allocation.
public struct MessageAuthentication: Sendable {
    private var inner = SHA256_CTX()
    private var outer = SHA256_CTX()

    /// `key`: at most a block of SHA-256, 64 bytes.
    public init(key: UnsafeRawBufferPointer) {
        precondition(key.count <= 64)
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { block in
            defer { OPENSSL_cleanse(block.baseAddress, 64) }
            for (pad, isInner) in [(0x36, true), (0x5c, false)] as [(UInt8, Bool)] {
                for i in 0..<64 { block[i] = (i < key.count ? key[i] : 0) ^ pad }
                var context = SHA256_CTX()
                SHA256_Init(&context)
                SHA256_Update(&context, block.baseAddress, 64)
                if isInner { inner = context } else { outer = context }
            }
        }
    }

    /// HMAC's two halves are hashed once, here.
    public init(key: Key32) { self = key.withBytes { MessageAuthentication(key: $0) } }
    /// The same for a cookie, which is 16 bytes long.
    public init(key: Bytes16) { self = withUnsafeBytes(of: key) { MessageAuthentication(key: $0) } }

    /// All 32 bytes of HMAC-SHA256 (RFC 2104).
    public func full(_ message: UnsafeRawBufferPointer) -> Key32 {
        var context = inner, result = outer
        SHA256_Update(&context, message.baseAddress, message.count)
        let digest = Key32(filledBy: {
            SHA256_Final($0.baseAddress!.assumingMemoryBound(to: UInt8.self), &context)
        })
        digest.withBytes { _ = SHA256_Update(&result, $0.baseAddress, 32) }
        return Key32(filledBy: {
            SHA256_Final($0.baseAddress!.assumingMemoryBound(to: UInt8.self), &result)
        })
    }

    /// The first 16 bytes.
    public func callAsFunction(_ message: UnsafeRawBufferPointer) -> Bytes16 {
        let all = full(message)
        return Bytes16(a: all.a, b: all.b)
    }
}

/// What whoever knows a concentrator's public key can make and read of a handshake without any
/// Diffie-Hellman (as in WireGuard, section 5.4.4 and 5.4.7 of its paper).
public struct HelloKeys: Sendable {
    /// A hello's first MAC: shows that the sender knows the concentrator's public key.
    public let mac1: MessageAuthentication
    private let cookieKey: Key32

    /// `concentrator` is its public key: whoever knows it can make `mac1`, and nobody else.
    public init(concentrator: Key32) {
        mac1 = MessageAuthentication(key: Self.key("braid 2 mac1", concentrator))
        cookieKey = Self.key("braid 2 cookie", concentrator)
    }

    private static func key(_ label: String, _ publicKey: Key32) -> Key32 {
        var bytes = Array(label.utf8)
        publicKey.withBytes { bytes += Array($0) }
        return bytes.withUnsafeBytes { SHA256.hash($0) }
    }

    /// The cookie and a tag, 32 bytes, for the sender of the hello with this `mac1`. `nonce`: 12
    /// bytes of chance.
    public func seal(cookie: Bytes16, nonce: UnsafeRawBufferPointer, mac1: Bytes16) -> [UInt8] {
        let (path, number) = Self.parts(nonce)
        let cipher = RecordCipher(suite: .chaCha20Poly1305, key: cookieKey)
        return [UInt8](unsafeUninitializedCapacity: 32) { out, count in
            count = withUnsafeBytes(of: mac1) { associated in
                withUnsafeBytes(of: cookie) {
                    cipher.seal(
                        path: path, packetNumber: number, associated: associated, head: $0,
                        payload: .empty,
                        into: UnsafeMutableRawPointer(out.baseAddress!))
                }
            }
        }
    }

    /// The cookie; nil where it is not authentic or answers another hello.
    public func open(
        cookie sealed: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer,
        mac1: Bytes16
    ) -> Bytes16? {
        guard sealed.count == 32 else { return nil }
        let (path, number) = Self.parts(nonce)
        let cipher = RecordCipher(suite: .chaCha20Poly1305, key: cookieKey)
        return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { record in
            record.copyMemory(from: sealed)
            let length = withUnsafeBytes(of: mac1) {
                cipher.open(path: path, packetNumber: number, associated: $0, record: record)
            }
            return length == 16 ? Bytes16(UnsafeRawBufferPointer(record)) : nil
        }
    }

    private static func parts(_ nonce: UnsafeRawBufferPointer) -> (UInt32, UInt64) {
        (
            UInt32(bigEndian: nonce.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
            UInt64(bigEndian: nonce.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        )
    }
}

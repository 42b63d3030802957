import CLibcrypto

/// SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104) over a few short pieces. For handshakes and
/// tokens.
enum SHA256 {
    /// Fetched once: an implicit fetch costs a locked look-up every time. Never freed.
    nonisolated(unsafe) private static let algorithm: OpaquePointer = {
        guard let md = EVP_MD_fetch(nil, "SHA256", nil) else {
            fatalError("libcrypto has no SHA-256")
        }
        return md
    }()

    static func hash(_ bytes: UnsafeRawBufferPointer) -> Key32 {
        Key32(filledBy: { out in
            let target = out.baseAddress!.assumingMemoryBound(to: UInt8.self)
            let done = EVP_Digest(bytes.baseAddress, bytes.count, target, nil, algorithm, nil)
            precondition(done == 1, "libcrypto: SHA-256")
        })
    }

    static func hash(_ first: Key32, _ second: UnsafeRawBufferPointer) -> Key32 {
        withUnsafeTemporaryAllocation(byteCount: 32 + second.count, alignment: 8) { joined in
            first.withBytes { joined.copyMemory(from: $0) }
            UnsafeMutableRawBufferPointer(rebasing: joined[32...]).copyMemory(from: second)
            return hash(UnsafeRawBufferPointer(joined))
        }
    }

    static func hmac(key: UnsafeRawBufferPointer, _ message: UnsafeRawBufferPointer) -> Key32 {
        Key32(filledBy: { out in
            let target = out.baseAddress!.assumingMemoryBound(to: UInt8.self)
            let done = HMAC(
                algorithm, key.baseAddress, Int32(key.count),
                message.baseAddress?.assumingMemoryBound(to: UInt8.self), message.count,
                target, nil)
            precondition(done != nil, "libcrypto: HMAC-SHA256")
        })
    }

    static func hmac(key: Key32, _ message: UnsafeRawBufferPointer) -> Key32 {
        key.withBytes { hmac(key: $0, message) }
    }
}

/// Noise's HKDF (Noise revision 34 section 4.3): RFC 5869 with an empty info and SHA-256.
enum HKDF {
    static func expand(
        _ chainingKey: Key32, _ input: UnsafeRawBufferPointer
    ) -> (Key32, Key32, Key32) {
        let temporary = SHA256.hmac(key: chainingKey, input)
        let first = withUnsafeBytes(of: UInt8(1)) { SHA256.hmac(key: temporary, $0) }
        return (first, next(temporary, first, 2), next(temporary, next(temporary, first, 2), 3))
    }

    private static func next(_ key: Key32, _ last: Key32, _ number: UInt8) -> Key32 {
        withUnsafeTemporaryAllocation(byteCount: 33, alignment: 8) { message in
            last.withBytes { message.copyMemory(from: $0) }
            message[32] = number
            defer { OPENSSL_cleanse(message.baseAddress, 33) }
            return SHA256.hmac(key: key, UnsafeRawBufferPointer(message))
        }
    }
}

/// SHA-256 of bytes that come piece by piece.
package final class RunningSHA256 {
    private let context: OpaquePointer

    package init() {
        guard let made = EVP_MD_CTX_new(), EVP_DigestInit_ex(made, EVP_sha256(), nil) == 1
        else { fatalError("libcrypto has no SHA-256") }
        context = made
    }
    deinit { EVP_MD_CTX_free(context) }

    package func add(_ bytes: UnsafeRawBufferPointer) {
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// The hash of everything added, which ends it: 64 hexadecimal digits.
    package func finish() -> String {
        let hash = Key32(filledBy: { out in
            let done = EVP_DigestFinal_ex(
                context, out.baseAddress!.assumingMemoryBound(to: UInt8.self), nil)
            precondition(done == 1, "libcrypto: SHA-256")
        })
        let digits = Array("0123456789abcdef".utf8)
        return hash.withBytes {
            String(
                decoding: $0.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] },
                as: UTF8.self)
        }
    }
}

/// What tells one machine from another to who knows a key, and nobody anything else.
public enum MachineNumber {
    /// Four bytes of SHA-256 over `key` and `name`.
    public static func make(name: ArraySlice<UInt8>, key: Key32) -> UInt32 {
        let hash = name.withUnsafeBytes { SHA256.hash(key, $0) }
        return hash.withBytes { $0.loadUnaligned(as: UInt32.self) }
    }
}

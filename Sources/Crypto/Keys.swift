import CLibcrypto

/// 32 bytes of key material; compared in constant time by `==`.
public struct Key32: Hashable, Sendable {
    /// The bytes in memory order.
    public var a: UInt64, b: UInt64, c: UInt64, d: UInt64  // bytes in memory order

    /// Copies exactly 32 bytes.
    public init(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == 32)
        a = bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
        b = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        c = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        d = bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
    }

    /// No key: 32 zero bytes, as Noise's psk2 has it without a shared key.
    public static let zero = Key32(filledBy: { _ in })

    /// A key written in place by `body` into 32 zeroed bytes.
    package init(filledBy body: (UnsafeMutableRawBufferPointer) -> Void) {
        a = 0; b = 0; c = 0; d = 0
        withUnsafeMutableBytes(of: &self, body)
    }

    /// The 32 bytes, valid during the call.
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withUnsafeBytes(of: self, body)
    }

    /// Every byte is looked at, whichever differs.
    public static func == (x: Key32, y: Key32) -> Bool {
        ((x.a ^ y.a) | (x.b ^ y.b)) | ((x.c ^ y.c) | (x.d ^ y.d)) == 0
    }
}

extension Key32 {
    /// Standard base64 with padding (RFC 4648 section 4), 44 characters.
    public var base64: String {
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var out: [UInt8] = []
        out.reserveCapacity(44)
        withBytes { bytes in
            for at in stride(from: 0, to: 32, by: 3) {
                let group =
                    UInt32(bytes[at]) << 16 | UInt32(bytes[at + 1]) << 8
                    | (at + 2 < 32 ? UInt32(bytes[at + 2]) : 0)
                for shift in [18, 12, 6, 0] as [UInt32] {
                    out.append(alphabet[Int(group >> shift & 63)])
                }
            }
        }
        out[43] = UInt8(ascii: "=")  // 32 bytes leave one byte of the last group unused
        return String(decoding: out, as: UTF8.self)
    }

    /// Reads what `base64` writes: exactly 44 characters, unused bits zero; nil for anything else.
    public init?(base64 text: String) {
        let characters = Array(text.utf8)
        guard characters.count == 44, characters[43] == UInt8(ascii: "=") else { return nil }
        var bytes: [UInt8] = [], group: UInt32 = 0
        for (i, character) in characters[..<43].enumerated() {
            guard let six = Key32.sixBits(character) else { return nil }
            group = group << 6 | six
            if i % 4 == 3 {
                bytes += [UInt8(group >> 16), UInt8(group >> 8 & 255), UInt8(group & 255)]
                group = 0
            }
        }
        // 18 bits for the last two bytes: two must be zero
        guard group & 3 == 0 else { return nil }
        bytes += [UInt8(group >> 10), UInt8(group >> 2 & 255)]
        self = bytes.withUnsafeBytes { Key32($0) }
    }

    private static func sixBits(_ c: UInt8) -> UInt32? {
        switch c {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(c) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(c) - 97 + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(c) - 48 + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

/// An X25519 private key and its public key (RFC 7748).
public struct StaticKeyPair: Equatable, Sendable {
    /// Secret; nothing prints it.
    public let privateKey: Key32
    /// Computed from the private key once.
    public let publicKey: Key32

    /// Any 32 bytes are a private key: X25519 clamps them.
    public init(privateKey: Key32) {
        self.privateKey = privateKey
        publicKey = Curve25519.publicKey(of: privateKey)
    }
}

/// X25519 through libcrypto. Allocates: for handshakes, not for records.
enum Curve25519 {
    static func publicKey(of privateKey: Key32) -> Key32 {
        let key = pkey(privateKey)
        defer { EVP_PKEY_free(key) }
        return Key32(filledBy: { out in
            var length = 32
            let done = EVP_PKEY_get_raw_public_key(
                key,
                out.baseAddress!.assumingMemoryBound(to: UInt8.self),
                &length)
            precondition(done == 1 && length == 32, "libcrypto: X25519 public key")
        })
    }

    /// The shared secret, or nil where it is all zero: a peer's key of small order (RFC 7748
    /// section 6.1).
    static func sharedSecret(_ privateKey: Key32, _ publicKey: Key32) -> Key32? {
        let ours = pkey(privateKey)
        defer { EVP_PKEY_free(ours) }
        let theirs = publicKey.withBytes {
            EVP_PKEY_new_raw_public_key(
                EVP_PKEY_X25519, nil,
                $0.baseAddress!.assumingMemoryBound(to: UInt8.self), 32)
        }
        guard let theirs else { return nil }
        defer { EVP_PKEY_free(theirs) }
        guard let context = EVP_PKEY_CTX_new(ours, nil) else {
            fatalError("libcrypto: out of memory")
        }
        defer { EVP_PKEY_CTX_free(context) }
        var done = false
        let secret = Key32(filledBy: { out in
            var length = 32
            done =
                EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer(context, theirs) == 1
                && EVP_PKEY_derive(
                    context, out.baseAddress!.assumingMemoryBound(to: UInt8.self),
                    &length) == 1
                && length == 32
        })
        // libcrypto refuses the zero secret itself and leaves an error record
        if !done { ERR_clear_error() }
        return done && secret != .zero ? secret : nil
    }

    private static func pkey(_ privateKey: Key32) -> OpaquePointer {
        let key = privateKey.withBytes {
            EVP_PKEY_new_raw_private_key(
                EVP_PKEY_X25519, nil,
                $0.baseAddress!.assumingMemoryBound(to: UInt8.self), 32)
        }
        guard let key else { fatalError("libcrypto: X25519 private key") }
        return key
    }
}

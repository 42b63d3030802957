import Buffers
import CIPSecMB
import CLibcrypto

/// The cipher of records.
public enum CipherSuite: UInt8, Sendable {
    case aes256GCM = 1
    case chaCha20Poly1305 = 2
    /// Whether this processor runs AES-GCM in hardware.
    public static var hasHardwareAES: Bool { braid_cpu_has_aes() != 0 }
}

/// One direction's record key, expanded once. The nonce is 12 bytes: `path` (4, big-endian) and
/// packet number (8, big-endian); never used twice with one key (the caller's packet numbers see to
/// it).
///
/// AES-256-GCM runs on intel-ipsec-mb where that is there, everything else on libcrypto with a kept
/// context. Either way a record costs no allocation and no lock. Not for use by two threads at
/// once.
public struct RecordCipher: ~Copyable {
    /// Of the authentication tag behind every record's text, the same for both suites.
    public static let tagBytes = 16
    /// Who does the work; tests compare the two.
    package enum Implementation { case fastest, libcrypto }

    /// Chosen in the handshake for the whole session.
    public let suite: CipherSuite
    /// For libcrypto's contexts, made at their first use; nil where intel-ipsec-mb has its own.
    private let key: UnsafeMutableRawPointer?
    private let expanded: OpaquePointer?  // intel-ipsec-mb's key; nil: libcrypto's contexts below
    private typealias Kept = UnsafeMutablePointer<OpaquePointer?>
    private let sealing = Kept.allocate(capacity: 1)
    private let opening = Kept.allocate(capacity: 1)
    private let nonce = UnsafeMutablePointer<UInt8>.allocate(capacity: 12)

    /// A cipher with a key of one direction. Ends the process where libcrypto has no memory.
    public init(suite: CipherSuite, key: Key32) {
        self.init(suite: suite, key: key, implementation: .fastest)
    }

    package init(suite: CipherSuite, key: Key32, implementation: Implementation) {
        self.suite = suite
        expanded =
            suite == .aes256GCM && implementation == .fastest
            ? key.withBytes { braid_gcm_new($0.baseAddress!.assumingMemoryBound(to: UInt8.self)) }
            : nil
        sealing.initialize(to: nil)
        opening.initialize(to: nil)
        if expanded == nil {
            let kept = UnsafeMutableRawPointer.allocate(byteCount: 32, alignment: 8)
            key.withBytes { kept.copyMemory(from: $0.baseAddress!, byteCount: 32) }
            self.key = kept
        } else {
            self.key = nil
        }
    }

    deinit {
        braid_gcm_free(expanded)  // wipes
        EVP_CIPHER_CTX_free(sealing.pointee)  // wipes
        EVP_CIPHER_CTX_free(opening.pointee)
        sealing.deallocate()
        opening.deallocate()
        nonce.deallocate()
        // (A stored `Key32` can't be wiped where it lies: a pointer to it may be one to a copy.)
        if let key { OPENSSL_cleanse(key, 32); key.deallocate() }
    }

    /// The key's bytes, exclusive-or with 0xa5, for a test that looks for copies; nil where only
    /// the expanded key is kept, whose first 32 bytes are the key's.
    package func masked() -> [UInt8]? {
        guard let start = key ?? expanded.map({ UnsafeMutableRawPointer($0) }) else { return nil }
        return UnsafeRawBufferPointer(start: start, count: 32).map { $0 ^ 0xa5 }
    }

    /// Whether intel-ipsec-mb does the work.
    package var isAccelerated: Bool { expanded != nil }

    /// Seals `head ‖ payload.first ‖ payload.second` to `out` (same total length plus the tag),
    /// which may be where `head` already lies. The payload is read from where it is: the cipher is
    /// the copy. Returns bytes written.
    public func seal(
        path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
        head: UnsafeRawBufferPointer, payload: Pieces,
        into out: UnsafeMutableRawPointer
    ) -> Int {
        setNonce(path, packetNumber)
        let target = out.assumingMemoryBound(to: UInt8.self)
        let length = head.count + payload.count
        if let expanded {
            braid_gcm_seal(
                expanded, nonce, piece(associated), piece(head), piece(payload.first),
                piece(payload.second), target)
            return length + Self.tagBytes
        }
        let context = ready(sealing, encrypting: true)
        var at = target
        update(EVP_EncryptUpdate, context, nil, associated)
        update(EVP_EncryptUpdate, context, at, head)
        at += head.count
        update(EVP_EncryptUpdate, context, at, payload.first)
        at += payload.first.count
        update(EVP_EncryptUpdate, context, at, payload.second)
        at += payload.second.count
        var none: Int32 = 0
        let done =
            EVP_EncryptFinal_ex(context, at, &none) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), at) == 1
        precondition(done, "libcrypto: sealing")
        return length + Self.tagBytes
    }

    /// Opens `record` (ciphertext and tag) in place; the plaintext's length, or nil where it is not
    /// authentic (what `record` holds then is of no use).
    public func open(
        path: UInt32, packetNumber: UInt64, associated: UnsafeRawBufferPointer,
        record: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard record.count >= Self.tagBytes else { return nil }
        setNonce(path, packetNumber)
        let length = record.count - Self.tagBytes
        let start = record.baseAddress!.assumingMemoryBound(to: UInt8.self)
        if let expanded {
            return braid_gcm_open(expanded, nonce, piece(associated), start, record.count) == 1
                ? length : nil
        }
        let context = ready(opening, encrypting: false)
        update(EVP_DecryptUpdate, context, nil, associated)
        update(
            EVP_DecryptUpdate, context, start, UnsafeRawBufferPointer(start: start, count: length))
        let tagged = EVP_CIPHER_CTX_ctrl(
            context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagBytes), start + length)
        precondition(tagged == 1, "libcrypto: opening")
        var none: Int32 = 0
        return EVP_DecryptFinal_ex(context, start + length, &none) == 1 ? length : nil
    }
}

// What the two implementations need.
extension RecordCipher {
    @inline(__always) private func setNonce(_ path: UInt32, _ packetNumber: UInt64) {
        UnsafeMutableRawPointer(nonce).storeBytes(of: path.bigEndian, as: UInt32.self)
        UnsafeMutableRawPointer(nonce + 4).storeBytes(of: packetNumber.bigEndian, as: UInt64.self)
    }

    @inline(__always) private func piece(_ bytes: UnsafeRawBufferPointer) -> braid_piece {
        braid_piece(
            bytes: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), count: bytes.count)
    }

    /// The kept context with the nonce just set; made and keyed at its first use.
    private func ready(_ kept: Kept, encrypting: Bool) -> OpaquePointer {
        let direction: Int32 = encrypting ? 1 : 0
        if kept.pointee == nil {
            guard let made = EVP_CIPHER_CTX_new() else { fatalError("libcrypto: out of memory") }
            let cipher = suite == .aes256GCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305()
            let done = EVP_CipherInit_ex(
                made, cipher, nil, key?.assumingMemoryBound(to: UInt8.self), nil,
                direction)
            precondition(done == 1, "libcrypto: cipher")
            kept.pointee = made
        }
        // With neither cipher nor key this only sets the nonce: no allocation, no key schedule.
        let done = EVP_CipherInit_ex(kept.pointee, nil, nil, nil, nonce, direction)
        precondition(done == 1, "libcrypto: nonce")
        return kept.pointee!
    }

    private typealias Update = (
        OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<Int32>?,
        UnsafePointer<UInt8>?, Int32
    ) -> Int32

    @inline(__always)
    private func update(
        _ call: Update, _ context: OpaquePointer, _ out: UnsafeMutablePointer<UInt8>?,
        _ bytes: UnsafeRawBufferPointer
    ) {
        guard bytes.count > 0 else { return }
        var length: Int32 = 0
        let done = call(
            context, out, &length,
            bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), Int32(bytes.count))
        precondition(done == 1 && Int(length) == bytes.count, "libcrypto: update")
    }
}

import CLibcrypto

/// Unpredictable bytes from a 32-byte seed: a ChaCha20 key stream. The shell seeds it from the
/// system, the simulator from its seed. Copies share one stream, so that no bytes are ever handed
/// out twice.
///
/// Each refill starts a new key stream whose first 32 bytes become the next key, and what is handed
/// out is wiped (fast key erasure): the state tells nothing about the past.
public struct KeyedRandom: RandomNumberGenerator {
    private let stream: Stream

    /// The same seed gives the same numbers; a real one comes from the kernel.
    public init(seed: Key32) { stream = Stream(seed: seed) }

    /// The next 8 bytes of the keystream; can't be foretold from those before.
    public mutating func next() -> UInt64 {
        var word: UInt64 = 0
        withUnsafeMutableBytes(of: &word) { stream.fill($0) }
        return UInt64(littleEndian: word)
    }

    /// Fills all of `out`.
    public mutating func fill(_ out: UnsafeMutableRawBufferPointer) { stream.fill(out) }

    /// 32 fresh bytes.
    public mutating func key() -> Key32 { Key32(filledBy: { stream.fill($0) }) }

    private final class Stream {
        /// Bytes per refill: a 32-byte key and 992 bytes to hand out.
        static let refill = 1024
        private let context: OpaquePointer
        private let bytes = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Stream.refill, alignment: 64)
        private var used = Stream.refill

        init(seed: Key32) {
            guard let made = EVP_CIPHER_CTX_new(),
                EVP_EncryptInit_ex(made, EVP_chacha20(), nil, nil, nil) == 1
            else { fatalError("libcrypto has no ChaCha20") }
            context = made
            bytes.initializeMemory(as: UInt8.self, repeating: 0)
            seed.withBytes { bytes.copyMemory(from: $0) }
        }
        deinit {
            EVP_CIPHER_CTX_free(context)
            OPENSSL_cleanse(bytes.baseAddress, bytes.count)
            bytes.deallocate()
        }

        func fill(_ out: UnsafeMutableRawBufferPointer) {
            var done = 0
            while done < out.count {
                if used == Stream.refill { turn() }
                let n = min(out.count - done, Stream.refill - used)
                let from = bytes.baseAddress! + used
                (out.baseAddress! + done).copyMemory(from: from, byteCount: n)
                OPENSSL_cleanse(from, n)
                used += n
                done += n
            }
        }

        /// The key lies in the first 32 bytes, the rest is zero: encrypting it all in place gives
        /// the next key and the key stream.
        private func turn() {
            let start = bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)
            let counterAndNonce: (UInt64, UInt64) = (0, 0)
            var length: Int32 = 0
            let done = withUnsafeBytes(of: counterAndNonce) {
                EVP_EncryptInit_ex(
                    context, nil, nil, start,
                    $0.baseAddress!.assumingMemoryBound(to: UInt8.self))
            }
            OPENSSL_cleanse(start, 32)
            let sealed = EVP_EncryptUpdate(context, start, &length, start, Int32(Stream.refill))
            precondition(
                done == 1 && sealed == 1 && Int(length) == Stream.refill, "libcrypto: ChaCha20")
            used = 32
        }
    }
}

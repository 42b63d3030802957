import Measures

/// A running hash over everything that travelled and when: equal for two runs exactly when they did
/// the same.
public struct Trace: Hashable, Sendable {
    /// Compared by `simulate hashes` with Tests/Vectors/trace-hashes.txt.
    public private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    /// How many were mixed in.
    public private(set) var packets = 0
    public init() {}

    private mutating func mix(_ word: UInt64) {
        hash = (hash ^ word) &* 0x9fb2_1c65_1e98_df25
        hash ^= hash >> 32
    }

    /// `lane` tells links and directions apart.
    public mutating func add(_ bytes: UnsafeRawBufferPointer, lane: Int, at now: Instant) {
        packets += 1
        mix(UInt64(bitPattern: now.nanoseconds))
        mix(UInt64(lane) << 32 | UInt64(bytes.count))
        var i = 0
        while i + 8 <= bytes.count {
            mix(bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)); i += 8
        }
        var rest: UInt64 = 0
        while i < bytes.count { rest = rest << 8 | UInt64(bytes[i]); i += 1 }
        mix(rest)
    }
}

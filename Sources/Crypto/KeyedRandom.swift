/// Unpredictable bytes from a 32-byte seed: a ChaCha20 key stream. The shell seeds it from the system,
/// the simulator from its seed.
public struct KeyedRandom: RandomNumberGenerator {
    public init(seed: Key32) { fatalError("stub") }
    public mutating func next() -> UInt64 { fatalError("stub") }
    public mutating func fill(_ out: UnsafeMutableRawBufferPointer) { fatalError("stub") }
    public mutating func key() -> Key32 { fatalError("stub") }
}

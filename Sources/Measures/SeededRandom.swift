/// Repeatable chance from one 64-bit seed (SplitMix64, Steele et al. 2014). Not for secrets: those
/// come from `Crypto.KeyedRandom`.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64
    /// The same seed gives the same numbers, on every machine.
    public init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// True with probability `p` (0 to 1).
    public mutating func chance(_ p: Double) -> Bool { p > 0 && unit() < p }
    /// A number in 0 ..< 1.
    public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }
}

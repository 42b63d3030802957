import Wire

/// Which of a flow's latest sequence numbers have come: the first copy counts.
struct SequenceWindow {
    private static let words = DatagramLimits.window / 64
    /// The newest; nil while none has come.
    private(set) var newest: UInt32?
    /// A bit a number, at its remainder; made with the first one.
    private var bits: [UInt64] = []

    /// How far `b` is ahead of `a`, modulo 2^24; negative where it is behind.
    static func distance(from a: UInt32, to b: UInt32) -> Int {
        Int(Int32(bitPattern: (b &- a) << 8) >> 8)
    }

    /// Whether `accept` would take it.
    func isFresh(_ sequence: UInt32) -> Bool {
        guard let newest else { return true }
        let ahead = Self.distance(from: newest, to: sequence)
        if ahead > 0 { return true }
        return -ahead < DatagramLimits.window && !isSet(sequence)
    }

    /// False for one that came already, or is too far behind to be told from such.
    mutating func accept(_ sequence: UInt32) -> Bool {
        guard let newest else {
            bits = [UInt64](repeating: 0, count: Self.words)
            self.newest = sequence
            set(sequence)
            return true
        }
        let ahead = Self.distance(from: newest, to: sequence)
        guard ahead > 0 else {
            guard -ahead < DatagramLimits.window, !isSet(sequence) else { return false }
            set(sequence)
            return true
        }
        if ahead >= DatagramLimits.window {
            for i in bits.indices { bits[i] = 0 }
        } else {
            for step in 1...ahead { clear(newest &+ UInt32(step)) }
        }
        self.newest = sequence
        set(sequence)
        return true
    }

    private func isSet(_ n: UInt32) -> Bool {
        bits[Int(n >> 6) % Self.words] & 1 << UInt64(n & 63) != 0
    }
    private mutating func set(_ n: UInt32) { bits[Int(n >> 6) % Self.words] |= 1 << UInt64(n & 63) }
    private mutating func clear(_ n: UInt32) {
        bits[Int(n >> 6) % Self.words] &= ~(1 << UInt64(n & 63))
    }
}

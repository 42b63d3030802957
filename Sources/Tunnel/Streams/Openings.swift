import Measures

/// Concentrator: the SYNs that opened a session's latest connections.
///
/// The proxy repeats a SYN until it is answered. One that was held up on its way for longer than
/// its number rests here would open a second connection, and the same request would be made twice.
struct Openings {
    private var items: [(key: UInt64, until: Instant)] = []
    private var oldest = 0
    /// Where in `items` a SYN stands. Looked up, never iterated.
    private var places = DividedDictionary<UInt64, Int>()

    private func key(_ number: UInt16, _ sequence: SubflowSequence) -> UInt64 {
        UInt64(number) << 32 | UInt64(sequence.value)
    }

    mutating func remember(_ number: UInt16, _ sequence: SubflowSequence, at now: Instant) {
        let item = (key: key(number, sequence), until: now + Limits.openingMemory)
        if items.count < Limits.openings {
            places[item.key] = items.count
            items.append(item)
            return
        }
        if places[items[oldest].key] == oldest { places[items[oldest].key] = nil }
        places[item.key] = oldest
        items[oldest] = item
        oldest = (oldest + 1) % items.count
    }

    func contains(_ number: UInt16, _ sequence: SubflowSequence, at now: Instant) -> Bool {
        places[key(number, sequence)].map { items[$0].until > now } ?? false
    }
}

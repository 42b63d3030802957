import Measures

/// Concentrator: the SYNs that opened a session's latest connections.
///
/// The proxy repeats a SYN until it is answered. One that was held up on its way for longer than its number rests
/// here would open a second connection, and the same request would be made twice.
struct Openings {
    private var items: [(number: UInt16, sequence: SubflowSequence, until: Instant)] = []
    private var oldest = 0

    mutating func remember(_ number: UInt16, _ sequence: SubflowSequence, at now: Instant) {
        let item = (number, sequence, now + Limits.openingMemory)
        if items.count < Limits.openings { items.append(item); return }
        items[oldest] = item
        oldest = (oldest + 1) % items.count
    }

    func contains(_ number: UInt16, _ sequence: SubflowSequence, at now: Instant) -> Bool {
        for item in items where item.number == number && item.sequence == sequence { return item.until > now }
        return false
    }
}

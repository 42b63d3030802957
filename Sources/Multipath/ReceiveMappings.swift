import Measures
import Wire

/// The mappings of one subflow that its received bytes still need (RFC 8684 section 3.3.1): from
/// relative subflow sequence to data offset. A mapping never changes; one that contradicts another
/// is refused.
///
/// A sorted array of disjoint entries: what overlaps agrees, and what agrees and touches is one
/// entry, so that a lookup halves and an honest peer needs few.
struct ReceiveMappings {
    private struct Entry {
        /// Subflow sequence as a position that does not wrap.
        var start: Int64
        var length: Int64
        /// Data offset of the first byte.
        var offset: UInt64
        var end: Int64 { start &+ length }
        /// The data offset of `position`, were it mapped by this entry.
        func offset(at position: Int64) -> UInt64 {
            offset &+ UInt64(bitPattern: position &- start)
        }
    }
    /// A peer needs one mapping a segment at the most, and those of a window whose segments come in
    /// turn are one; more outstanding ones than this are a mistake.
    static let maximum = 1024
    /// Mappings that the text of one segment may need; of more it is not taken.
    static let maximumPerSegment = 16

    private var entries: [Entry] = []
    /// Entries before it are forgotten.
    private var head = 0
    // The latest position that everything was received below, as it is on the wire and without
    // wrapping.
    private var low32: UInt32 = 1
    private var low: Int64 = 1

    /// `position` without wrapping: within 2^31 of what was received last.
    private func unwrapped(_ position: UInt32) -> Int64 {
        low &+ Int64(Int32(bitPattern: position &- low32))
    }

    /// The position in `entries` of the first one that ends after `position`.
    private func firstIndex(endingAfter position: Int64) -> Int {
        var from = head, to = entries.count
        while from < to {
            let middle = (from &+ to) >> 1
            if entries[middle].end <= position { from = middle &+ 1 } else { to = middle }
        }
        return from
    }

    /// Notes a mapping; false where it contradicts an earlier one or too many are outstanding.
    mutating func insert(start: UInt32, length: UInt32, offset: UInt64) -> Bool {
        var new = Entry(start: unwrapped(start), length: Int64(length), offset: offset)
        let first = firstIndex(endingAfter: new.start &- 1)  // it may touch
        var i = first, from = first, to = first
        // Overlap: both must say the same of the bytes they share. A neighbour that agrees becomes
        // part of it.
        while i < entries.count, entries[i].start <= new.end {
            let known = entries[i]
            let agrees = known.offset(at: new.start) == new.offset
            if known.end > new.start, known.start < new.end, !agrees { return false }
            if agrees {
                if from == to { from = i }
                to = i &+ 1
            }
            i &+= 1
        }
        if from == to {
            guard entries.count &- head < Self.maximum else { return false }
            // Behind a neighbour that touches and says otherwise.
            let at = first < entries.count && entries[first].end == new.start ? first &+ 1 : first
            entries.insert(new, at: at)
            return true
        }
        let end = max(new.end, entries[to &- 1].end)
        if entries[from].start < new.start { new = entries[from] }
        new.length = end &- new.start
        entries[from] = new
        if to > from &+ 1 { entries.removeSubrange((from &+ 1)..<to) }
        return true
    }

    /// The data offset of the byte at `position`, and how many bytes from there are mapped in one
    /// piece.
    func locate(_ position: UInt32) -> (offset: UInt64, count: Int)? {
        if head == entries.count { return nil }
        let place = unwrapped(position), i = firstIndex(endingAfter: place)
        guard i < entries.count, entries[i].start <= place else { return nil }
        return (entries[i].offset(at: place), Int(entries[i].end &- place))
    }

    /// Forgets mappings that end at or before `position`: everything below was received.
    mutating func removeBelow(_ position: UInt32) {
        low = unwrapped(position)
        low32 = position
        if head == entries.count { return }
        head = firstIndex(endingAfter: low)
        if head == entries.count {
            entries.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 32, head > entries.count / 2 {
            entries.removeSubrange(0..<head)
            head = 0
        }
    }
}

import Measures
import Wire

/// The mappings of one subflow that its received bytes still need (RFC 8684 section 3.3.1): from relative
/// subflow sequence to data offset. A mapping never changes; one that contradicts another is refused.
struct ReceiveMappings {
    struct Entry {
        var start: UInt32      // relative subflow sequence
        var length: UInt32
        var offset: UInt64     // data offset of the first byte
    }
    /// A peer needs one mapping a segment at the most; more outstanding ones than this are a mistake.
    static let most = 4096
    private var entries: [Entry] = []

    /// Notes a mapping; false where it contradicts an earlier one or too many are outstanding.
    mutating func insert(start: UInt32, length: UInt32, offset: UInt64) -> Bool {
        for e in entries {
            let ahead = Int64(Int32(bitPattern: start &- e.start))
            guard ahead < Int64(e.length), ahead + Int64(length) > 0 else { continue }
            // Overlap: both must say the same of the bytes they share.
            if offset &- UInt64(bitPattern: ahead) != e.offset { return false }
            if ahead >= 0, ahead + Int64(length) <= Int64(e.length) { return true }
        }
        guard entries.count < Self.most else { return false }
        entries.append(Entry(start: start, length: length, offset: offset))
        return true
    }

    /// The data offset of the byte at `position`, and how many bytes from there are mapped in one piece.
    func locate(_ position: UInt32) -> (offset: UInt64, count: Int)? {
        for e in entries {
            let ahead = Int64(Int32(bitPattern: position &- e.start))
            if ahead >= 0, ahead < Int64(e.length) {
                return (e.offset &+ UInt64(ahead), Int(Int64(e.length) - ahead))
            }
        }
        return nil
    }

    /// Forgets mappings that end at or before `position`: everything below was received.
    mutating func removeBelow(_ position: UInt32) {
        guard !entries.isEmpty else { return }
        entries.removeAll { Int32(bitPattern: ($0.start &+ $0.length) &- position) <= 0 }
    }
}

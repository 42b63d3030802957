import Measures
import Wire

/// The blocks of the last acknowledgement: what they cover needs no second look.
///
/// Blocks are kept as offsets from SND.UNA, 0 <= start < end <= SND.NXT - SND.UNA: compared as
/// signed distances, three blocks half of sequence space apart would each lie behind the next, for
/// ever.
struct SeenBlocks {
    /// Part of what is unacknowledged: `start < end`, in sequence numbers from SND.UNA on.
    struct Part: Equatable {
        var start: UInt32
        var end: UInt32
    }

    private var parts = InlineArray<4, Part>(repeating: Part(start: 0, end: 0))
    private(set) var count = 0

    /// The block as offsets from `unacknowledged`; nil where it reports nothing that is
    /// outstanding.
    static func part(
        of block: SACKBlocks.Block, unacknowledged: SubflowSequence,
        next: SubflowSequence
    ) -> Part? {
        let start = block.start.value &- unacknowledged.value
        let end = block.end.value &- unacknowledged.value
        guard start < end, end <= next.value &- unacknowledged.value else { return nil }
        return Part(start: start, end: end)
    }

    mutating func removeAll() { count = 0 }

    mutating func append(_ part: Part) {
        assert(part.start < part.end)
        guard count < SACKBlocks.capacity else { return }
        parts[count] = part
        count &+= 1
    }

    /// SND.UNA moved `n` numbers on: what lies behind it is stale.
    mutating func advance(by n: UInt32) {
        var kept = 0
        for i in 0..<count where parts[i].end > n {
            parts[kept] = Part(start: max(parts[i].start, n) &- n, end: parts[i].end &- n)
            kept &+= 1
        }
        count = kept
    }

    /// The first part of `from ..< end` that none covers: it starts at or after `from`.
    func uncovered(from: UInt32, to end: UInt32) -> Part? {
        var start = from
        // Each pass but the last goes past the end of one more part, so there are no more passes
        // than parts.
        for _ in 0..<count {
            let before = start
            for i in 0..<count where parts[i].start <= start && start < parts[i].end {
                start = parts[i].end
            }
            if start == before { break }
        }
        guard start < end else { return nil }
        var stop = end
        for i in 0..<count where start < parts[i].start && parts[i].start < stop {
            stop = parts[i].start
        }
        return Part(start: start, end: stop)
    }
}

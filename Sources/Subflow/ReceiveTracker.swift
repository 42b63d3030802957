import Buffers
import Measures
import Wire

/// Which sequence numbers have arrived. The payload itself is the owner's.
struct ReceiveTracker {
    /// The most ranges ahead of a gap; what would make one more is not taken and comes again. Every
    /// fifth of 12,000 full segments in flight may be missing.
    static let rangeLimit = 2048
    /// The same for text of less than `smallText` bytes, of which a datagram may hold a hundred
    /// segments.
    static let smallRangeLimit = 256
    static let smallText = 256
    /// `position` starts here, so that a number behind it never lies below zero.
    private static let origin: UInt64 = 1 << 33

    enum Outcome { case nothing, inOrder, filledGap, ahead, duplicate, refused }

    /// RCV.NXT, and the same as a 64-bit position that does not wrap.
    private(set) var next: SubflowSequence
    private var position = ReceiveTracker.origin
    private var ranges = OffsetRanges()
    private var finPosition = UInt64.max
    private(set) var hasFinished = false
    /// A place in each range that grew last, the latest first (RFC 2018 section 4).
    private var recent = InlineArray<4, UInt64>(repeating: 0)
    private var recentCount = 0
    /// What arrived twice and is to be reported (RFC 2883).
    private var duplicate: SACKBlocks.Block?

    /// `next`: the number after the peer's SYN and what came with it.
    init(next: SubflowSequence) { self.next = next }

    var hasGap: Bool { !ranges.isEmpty }

    /// Takes a segment's payload and FIN. `window`: bytes the owner can take from `next` on.
    /// Returns the new part of the payload, as indices into it.
    mutating func place(
        _ sequence: SubflowSequence, length: Int, isFIN: Bool, window: Int
    )
        -> (text: Range<Int>, outcome: Outcome)
    {
        let offset = next.distance(to: sequence)
        if offset == 0, ranges.isEmpty, length <= window, !isFIN, finPosition == .max {
            guard length > 0 else { return (0..<0, .nothing) }
            advance(length)
            return (0..<length, .inOrder)
        }
        return placeSlowly(offset: offset, length: length, isFIN: isFIN, window: window)
    }

    private mutating func placeSlowly(
        offset: Int, length: Int, isFIN: Bool, window: Int
    )
        -> (text: Range<Int>, outcome: Outcome)
    {
        guard !hasFinished else { return (0..<0, length > 0 || isFIN ? .duplicate : .nothing) }
        let start = position &+ UInt64(bitPattern: Int64(offset)), end = start &+ UInt64(length)
        if isFIN, end >= position, end <= position &+ UInt64(window) {
            finPosition = min(finPosition, end)
        }
        var low = max(start, position)
        var high = min(end, position &+ UInt64(window), finPosition)
        trim(&low, &high)
        let had = position, hadGap = !ranges.isEmpty
        if low < high {
            guard low == position || ranges.count < Self.limit(length) else {
                return (0..<0, .refused)
            }
            take(low, high)
        }
        if position == finPosition {
            hasFinished = true
            position &+= 1
            next += 1
            ranges.removeAll()
            recentCount = 0
        }
        let text = low < high ? Int(low &- start)..<Int(high &- start) : 0..<0
        if position != had {
            return (text, hadGap || (hasFinished && had == position &- 1) ? .filledGap : .inOrder)
        }
        if low < high || (isFIN && finPosition == end) { return (text, .ahead) }
        guard length > 0 || isFIN else { return (text, .nothing) }
        if end <= position || ranges.contains(start, end) {
            // RFC 2883 section 4 (3): the block it lies in comes second.
            if start > position { noteRecent(start) }
            noteDuplicate(start, end)
            return (text, .duplicate)
        }
        return (text, .refused)
    }

    private static func limit(_ length: Int) -> Int {
        length < smallText ? smallRangeLimit : rangeLimit
    }

    /// Cuts off what the ends have in common with what is there.
    private func trim(_ low: inout UInt64, _ high: inout UInt64) {
        guard low < high, !ranges.isEmpty, low < ranges[ranges.count - 1].end else { return }
        low = min(high, ranges.contiguousEnd(from: low))
        guard low < high else { return }
        let i = ranges.firstIndex(endingAfter: high &- 1)
        if i < ranges.count, ranges[i].start < high, ranges[i].start >= low {
            high = ranges[i].start
        }
    }

    private mutating func take(_ low: UInt64, _ high: UInt64) {
        ranges.insert(low, high)
        if low == position {
            advance(Int(ranges[0].end &- position))
            ranges.removeBelow(position)
            forgetRecentBelow()
        } else {
            noteRecent(low)
        }
    }

    private mutating func advance(_ n: Int) {
        position &+= UInt64(n)
        next += n
    }

    private mutating func noteRecent(_ place: UInt64) {
        let range = ranges.span(containing: place)
        var kept = InlineArray<4, UInt64>(repeating: place), n = 1
        for i in 0..<recentCount where n < 4 {
            if let range, recent[i] >= range.start, recent[i] < range.end { continue }
            kept[n] = recent[i]
            n += 1
        }
        recent = kept
        recentCount = n
    }

    private mutating func forgetRecentBelow() {
        var n = 0
        for i in 0..<recentCount where recent[i] >= position { recent[n] = recent[i]; n += 1 }
        recentCount = n
    }

    private mutating func noteDuplicate(_ start: UInt64, _ end: UInt64) {
        duplicate = SACKBlocks.Block(start: sequence(start), end: sequence(end))
    }

    /// A segment wholly behind `next` came: reported once as D-SACK.
    mutating func noteOldDuplicate(_ start: SubflowSequence, length: Int) {
        guard length > 0 else { return }
        duplicate = SACKBlocks.Block(start: start, end: start + length)
    }

    private func sequence(_ place: UInt64) -> SubflowSequence {
        next + Int(truncatingIfNeeded: place &- position)
    }

    var hasBlocks: Bool { recentCount > 0 || duplicate != nil }

    /// Writes at most `limit` blocks: a duplicate first, then the ranges that grew last.
    mutating func writeBlocks(_ blocks: inout SACKBlocks, limit: Int) {
        if let d = duplicate, limit > 0 { blocks.append(d); duplicate = nil }
        for i in 0..<recentCount where blocks.count < limit {
            guard let s = ranges.span(containing: recent[i]) else { continue }
            blocks.append(SACKBlocks.Block(start: sequence(s.start), end: sequence(s.end)))
        }
    }

    mutating func releaseMemory() { if ranges.isEmpty { ranges = OffsetRanges() } }
}

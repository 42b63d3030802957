/// Disjoint half-open ranges of 64-bit offsets in ascending order; what arrived ahead of its turn.
///
/// A sorted array with its first range anywhere in it: found by halving, taken from the front for
/// nothing. A new range in the middle moves the shorter side. Its owner limits their number. Keeps
/// its memory.
public struct OffsetRanges {
    /// One range, `start ..< end`; never empty inside an `OffsetRanges`.
    public struct Span: Hashable, Sendable {
        /// Its first offset.
        public var start: UInt64
        /// The offset behind its last one.
        public var end: UInt64
        /// The caller keeps `start <= end`.
        @inlinable public init(start: UInt64, end: UInt64) { self.start = start; self.end = end }
        /// Offsets in it.
        @inlinable public var count: Int { Int(end &- start) }
    }
    /// What was taken from the front lies before `head`.
    @usableFromInline var items: [Span] = []
    @usableFromInline var head = 0
    /// No range.
    public init() {}

    /// All ranges, in ascending order.
    public var spans: ArraySlice<Span> { items[head...] }
    /// There is no range.
    @inlinable public var isEmpty: Bool { head == items.count }
    /// The number of ranges.
    @inlinable public var count: Int { items.count &- head }
    /// The range with this index, below `count`.
    @inlinable public subscript(i: Int) -> Span { items[head &+ i] }

    /// The index of the first range that ends after `offset`; `count` where none does.
    public func firstIndex(endingAfter offset: UInt64) -> Int {
        // What is new lies at the end, mostly.
        if head == items.count || items[items.count &- 1].end <= offset { return count }
        var low = head, high = items.count &- 1
        while low < high {
            let middle = (low &+ high) >> 1
            if items[middle].end <= offset { low = middle &+ 1 } else { high = middle }
        }
        return low &- head
    }

    /// Adds `start ..< end`, merging what it touches; the number of bytes that were not there
    /// before.
    @discardableResult public mutating func insert(_ start: UInt64, _ end: UInt64) -> Int {
        guard start < end else { return 0 }
        // The first range that touches or lies after `start`.
        let i = head &+ (start == 0 ? 0 : firstIndex(endingAfter: start &- 1))
        guard i < items.count, items[i].start <= end else {
            insert(Span(start: start, end: end), at: i)
            return Int(end &- start)
        }
        var fresh = Int(end &- start), j = i
        var merged = Span(start: min(start, items[i].start), end: end)
        while j < items.count, items[j].start <= end {
            let a = max(items[j].start, start), b = min(items[j].end, end)
            if a < b { fresh &-= Int(b &- a) }
            merged.end = max(merged.end, items[j].end)
            j &+= 1
        }
        items[i] = merged
        if j > i &+ 1 { remove(i &+ 1, j) }
        return fresh
    }

    /// Adds all of `others`: a pass through both, where one insertion after the other would move
    /// thousands of ranges for each.
    public mutating func insert(_ others: OffsetRanges) {
        if others.isEmpty { return }
        if isEmpty { self = others; return }
        // A pass through thousands for a few costs more than moving them.
        if others.count <= 4 {
            for k in 0..<others.count { insert(others[k].start, others[k].end) }
            return
        }
        var merged: [Span] = []
        merged.reserveCapacity(count &+ others.count)
        var i = head, j = others.head
        while i < items.count || j < others.items.count {
            let takesOwn =
                j == others.items.count
                || i < items.count && items[i].start <= others.items[j].start
            let next = takesOwn ? items[i] : others.items[j]
            if takesOwn { i &+= 1 } else { j &+= 1 }
            if let last = merged.last, next.start <= last.end {
                merged[merged.count &- 1].end = max(last.end, next.end)
            } else {
                merged.append(next)
            }
        }
        items = merged
        head = 0
    }

    private mutating func insert(_ span: Span, at i: Int) {
        if head == items.count {
            removeAll()
            items.append(span)
        } else if head > 0, i &- head < items.count &- i {
            for k in head..<i { items[k &- 1] = items[k] }
            head &-= 1
            items[i &- 1] = span
        } else {
            items.insert(span, at: i)
        }
    }

    /// Takes `from ..< to` out, positions in `items`.
    private mutating func remove(_ from: Int, _ to: Int) {
        if from &- head < items.count &- to {
            var k = from
            while k > head {
                k &-= 1
                items[k &+ (to &- from)] = items[k]
            }
            head &+= to &- from
        } else {
            items.removeSubrange(from..<to)
        }
    }

    /// Forgets everything below `offset`.
    @inlinable public mutating func removeBelow(_ offset: UInt64) {
        if head != items.count { takeBelow(offset) }
    }

    @usableFromInline mutating func takeBelow(_ offset: UInt64) {
        head &+= items[head].end > offset ? 0 : firstIndex(endingAfter: offset)
        if head == items.count { return removeAll() }
        if items[head].start < offset { items[head].start = offset }
        // Taken out of the memory when it is more than half of it: each range is moved once.
        if head > 32, head > items.count / 2 {
            items.removeSubrange(0..<head)
            head = 0
        }
    }

    /// The range that contains `offset`.
    public func span(containing offset: UInt64) -> Span? {
        let i = firstIndex(endingAfter: offset)
        return i < count && self[i].start <= offset ? self[i] : nil
    }

    /// Where the range that contains `offset` ends; `offset` itself where none does.
    public func contiguousEnd(from offset: UInt64) -> UInt64 {
        span(containing: offset)?.end ?? offset
    }

    /// Whether one range holds all of `start ..< end`; of an empty one, whether its place touches a
    /// range.
    public func contains(_ start: UInt64, _ end: UInt64) -> Bool {
        let i = end == 0 ? 0 : firstIndex(endingAfter: end &- 1)
        return i < count && self[i].start <= start
    }

    /// Forgets all ranges and keeps the memory.
    public mutating func removeAll() {
        items.removeAll(keepingCapacity: true)
        head = 0
    }
}

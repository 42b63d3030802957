/// Disjoint half-open ranges of 64-bit offsets in ascending order; what arrived ahead of its turn.
///
/// A sorted array: in practice a handful of ranges, changed near the end. Keeps its memory.
public struct OffsetRanges {
    public struct Span: Hashable, Sendable {
        public var start: UInt64
        public var end: UInt64
        @inlinable public init(start: UInt64, end: UInt64) { self.start = start; self.end = end }
        @inlinable public var count: Int { Int(end &- start) }
    }
    public private(set) var spans: [Span] = []
    public init() {}

    public var isEmpty: Bool { spans.isEmpty }
    public var count: Int { spans.count }
    public subscript(i: Int) -> Span { spans[i] }

    /// Adds `start ..< end`, merging what it touches; the number of bytes that were not there before.
    @discardableResult public mutating func insert(_ start: UInt64, _ end: UInt64) -> Int {
        guard start < end else { return 0 }
        var i = spans.count
        while i > 0, spans[i - 1].end >= start { i -= 1 }   // first span that touches or lies after `start`
        var merged = Span(start: start, end: end), fresh = merged.count, j = i
        while j < spans.count, spans[j].start <= end {
            let a = max(spans[j].start, start), b = min(spans[j].end, end)
            if a < b { fresh -= Int(b - a) }
            merged.start = min(merged.start, spans[j].start)
            merged.end = max(merged.end, spans[j].end)
            j += 1
        }
        if j == i { spans.insert(merged, at: i) } else {
            spans[i] = merged
            if j > i + 1 { spans.removeSubrange((i + 1)..<j) }
        }
        return fresh
    }

    /// Forgets everything below `offset`.
    public mutating func removeBelow(_ offset: UInt64) {
        var drop = 0
        while drop < spans.count, spans[drop].end <= offset { drop += 1 }
        if drop > 0 { spans.removeSubrange(0..<drop) }
        if let first = spans.first, first.start < offset { spans[0].start = offset }
    }

    /// Where the range that contains `offset` ends; `offset` itself where none does.
    public func contiguousEnd(from offset: UInt64) -> UInt64 {
        for s in spans {
            if s.start > offset { break }
            if offset < s.end { return s.end }
        }
        return offset
    }

    public func contains(_ start: UInt64, _ end: UInt64) -> Bool {
        for s in spans {
            if s.start > start { break }
            if end <= s.end { return true }
        }
        return false
    }

    public mutating func removeAll() { spans.removeAll(keepingCapacity: true) }
}

import Measures

/// SACK blocks in a sealed segment: their number, then for each one the distance of its start from
/// the end of the one before (the first: from the acknowledgement) and its length, as
/// variable-length integers.
///
/// A distance may be negative (most recent first, and RFC 2883 reports duplicates below the
/// acknowledgement), so the sign is folded into the lowest bit. Seven bits a byte, the lowest
/// first, bit 7 says that more follow.
extension SACKBlocks {
    /// Returns the bytes written, at most 41.
    func writeCompact(to p: UnsafeMutableRawPointer, from acknowledgement: SubflowSequence) -> Int {
        p.put(UInt8(truncatingIfNeeded: count), 0)
        var at = 1, last = acknowledgement
        for i in 0..<count {
            let block = self[i]
            let ahead = Int32(bitPattern: block.start.value &- last.value)
            at += Self.put(UInt32(bitPattern: ahead << 1 ^ ahead >> 31), p + at)
            at += Self.put(block.end.value &- block.start.value, p + at)
            last = block.end
        }
        return at
    }

    /// The bytes that `writeCompact` takes.
    func compactLength(from acknowledgement: SubflowSequence) -> Int {
        let blocks = self
        return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) {
            blocks.writeCompact(to: $0.baseAddress!, from: acknowledgement)
        }
    }

    /// Returns the bytes read.
    mutating func readCompact(
        _ bytes: UnsafeRawBufferPointer, from acknowledgement: SubflowSequence
    )
        throws(WireError) -> Int
    {
        guard bytes.count >= 1, let p = bytes.baseAddress else { throw .truncated }
        let n = Int(p.byte(0))
        guard n <= Self.capacity else { throw .notASegmentFrame }
        removeAll()
        var at = 1, last = acknowledgement.value
        for _ in 0..<n {
            let folded = try Self.number(p, bytes.count, &at)
            let start = last &+ (folded >> 1 ^ (0 &- (folded & 1)))
            let end = start &+ (try Self.number(p, bytes.count, &at))
            append(Block(start: SubflowSequence(start), end: SubflowSequence(end)))
            last = end
        }
        return at
    }

    private static func put(_ value: UInt32, _ p: UnsafeMutableRawPointer) -> Int {
        var rest = value, at = 0
        while rest > 0x7f {
            p.put(UInt8(truncatingIfNeeded: rest) | 0x80, at)
            rest >>= 7
            at += 1
        }
        p.put(UInt8(truncatingIfNeeded: rest), at)
        return at + 1
    }

    /// At most five bytes, of which the last has four bits.
    private static func number(
        _ p: UnsafeRawPointer, _ count: Int,
        _ at: inout Int
    ) throws(WireError) -> UInt32 {
        var value: UInt32 = 0, shift: UInt32 = 0
        while true {
            guard at < count else { throw .truncated }
            let byte = p.byte(at)
            at += 1
            guard shift < 28 || byte < 0x10 else { throw .notASegmentFrame }
            value |= UInt32(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
    }
}

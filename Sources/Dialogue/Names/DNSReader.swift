/// Reads a message from its beginning on; every step strictly advances or fails.
struct DNSReader {
    let bytes: UnsafeRawBufferPointer
    var at: Int
    /// Where the times to live of the records that were read stand, in ascending order. They are
    /// counted down in what clients get: no name may lead through one.
    var lifetimes: [Int] = []
    /// Pointers in one name: servers write one or two, and a name has 127 labels at most.
    private static let maximumPointers = 16
    /// Of the rest of a name that a pointer led to, by where it begins; empty before the first one.
    private var rests: [Rest] = []
    /// Where the name that is being passed was looked at behind its first pointer.
    private var steps: [Step] = []

    /// How often `passName` has looked at a label or a pointer behind the first one.
    private(set) var looks = 0

    /// What passing over the rest of a name found. It never changes: nothing that is read later
    /// stands before it.
    private struct Rest {
        /// Bytes of its labels, zero where nothing is known.
        var length: UInt8 = 0
        var pointers: UInt8 = 0
        /// Where its first pointer leads; zero where it has none.
        var target: UInt16 = 0
    }
    private struct Step { var position, length, pointers: Int }

    init(_ bytes: UnsafeRawBufferPointer, at: Int) {
        self.bytes = bytes
        self.at = at
    }

    mutating func word16() -> UInt16? {
        guard bytes.count - at >= 2 else { return nil }
        defer { at += 2 }
        return UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
    }

    mutating func word32() -> UInt32? {
        guard let high = word16(), let low = word16() else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }

    /// Passes over a name, and looks at all of it: nil where it is longer than a name may be, or
    /// where a pointer leads anywhere but backwards. `into` gets its bytes in lower case.
    mutating func name(into found: inout [UInt8]) -> Bool {
        var position = at, length = 0, end: Int?
        // RFC 1035 section 4.1.4: a prior occurrence. What leads further back each time ends.
        var lowest = at, pointers = 0
        found.removeAll(keepingCapacity: true)
        while true {
            guard position < bytes.count else { return false }
            let head = bytes[position]
            switch head >> 6 {
            case 0:
                let size = Int(head)
                guard position + 1 + size <= bytes.count else { return false }
                guard end == nil || isStable(position..<(position + 1 + size)) else {
                    return false
                }
                length += 1 + size
                guard length <= DNSName.maximumLength else { return false }
                found.append(head)
                for b in bytes[(position + 1)..<(position + 1 + size)] {
                    found.append(DNSName.lowered(b))
                }
                position += 1 + size
                if size == 0 {
                    at = end ?? position
                    return true
                }
            case 3:
                pointers += 1
                guard pointers <= Self.maximumPointers,
                    let target = target(at: position, isBehind: end != nil, lowest)
                else { return false }
                lowest = target
                if end == nil { end = position + 2 }
                position = target
            default: return false  // RFC 6891 section 5: extended labels are obsolete
            }
        }
    }

    /// Passes over a name as `name(into:)` does, looking at each byte of the message once at most,
    /// however many names lead to it; how many bytes it has without pointers, nil where that one
    /// says false.
    mutating func passName() -> Int? {
        var position = at, length = 0, end: Int?
        var lowest = at, pointers = 0, rest = Rest(length: 0, pointers: 0, target: 0)
        // Of a pointer among the steps: which of them it is, and where it leads.
        var jumps: [(step: Int, target: Int)] = []
        steps.removeAll(keepingCapacity: true)
        walk: while true {
            guard position < bytes.count else { return nil }
            if end != nil {
                if position < rests.count, rests[position].length > 0 {
                    rest = rests[position]
                    guard rest.target == 0 || rest.target < lowest else { return nil }
                    length += Int(rest.length)
                    pointers += Int(rest.pointers)
                    break walk
                }
                looks += 1
                steps.append(Step(position: position, length: length, pointers: pointers))
            }
            let head = bytes[position]
            switch head >> 6 {
            case 0:
                let next = position + 1 + Int(head)
                guard next <= bytes.count, end == nil || isStable(position..<next) else {
                    return nil
                }
                length += next - position
                guard length <= DNSName.maximumLength else { return nil }
                position = next
            case 3:
                pointers += 1
                guard pointers <= Self.maximumPointers,
                    let target = target(at: position, isBehind: end != nil, lowest)
                else { return nil }
                if end != nil { jumps.append((steps.count - 1, target)) }
                lowest = target
                if end == nil { end = position + 2 }
                position = target
            default: return nil
            }
            if head == 0 { break walk }
        }
        guard length <= DNSName.maximumLength, pointers <= Self.maximumPointers else { return nil }
        remember(length, pointers, rest, jumps)
        at = end ?? position
        return length
    }

    /// Where a pointer leads; nil where it is cut short, or does not lead to before `lowest`.
    /// `isBehind`: another pointer led to it.
    private func target(at position: Int, isBehind: Bool, _ lowest: Int) -> Int? {
        guard position + 1 < bytes.count, !isBehind || isStable(position..<(position + 2)) else {
            return nil
        }
        let target = Int(bytes[position] & 0x3f) << 8 | Int(bytes[position + 1])
        return target >= DNSHeader.length && target < lowest ? target : nil
    }

    /// Notes what the steps of a name have led to, in all.
    private mutating func remember(
        _ length: Int, _ pointers: Int, _ last: Rest, _ jumps: [(step: Int, target: Int)]
    ) {
        guard !steps.isEmpty else { return }
        // A pointer reaches no further.
        if rests.isEmpty { rests = [Rest](repeating: Rest(), count: min(bytes.count, 1 << 14)) }
        var jump = jumps.count - 1, target = Int(last.target)
        for i in steps.indices.reversed() {
            if jump >= 0, jumps[jump].step == i { target = jumps[jump].target; jump -= 1 }
            let step = steps[i]
            guard step.position < rests.count else { continue }
            rests[step.position] = Rest(
                length: UInt8(truncatingIfNeeded: length - step.length),
                pointers: UInt8(truncatingIfNeeded: pointers - step.pointers),
                target: UInt16(truncatingIfNeeded: target))
        }
    }

    /// Whether these bytes, to which a pointer of the name at `at` led, lie before that name, and
    /// no time to live stands in them.
    private func isStable(_ range: Range<Int>) -> Bool {
        guard range.upperBound <= at else { return false }
        // The first one that ends behind the range's beginning.
        var low = 0, high = lifetimes.count
        while low < high {
            let middle = (low + high) / 2
            if lifetimes[middle] + 4 <= range.lowerBound { low = middle + 1 } else { high = middle }
        }
        return low == lifetimes.count || lifetimes[low] >= range.upperBound
    }
}

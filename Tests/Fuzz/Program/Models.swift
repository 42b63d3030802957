import Crypto
import Measures

@testable import Buffers
@testable import Multipath

// Data structures of the engine beside naive ones that do the same slowly.

/// `ByteRing` beside an array with an offset.
enum ByteRingTarget {
    static func run(_ input: inout Input) {
        let limit = 1 + input.below(20_000)
        // A growth by small steps, as only large rings have it elsewhere, and some that never ends.
        var ring = ByteRing(limit: limit, step: limit & 1 == 0 ? 32 : ByteRing.usualStep)
        // As a sender's, which is appended to, or a receiver's, into which is placed.
        let isSender = limit & 2 == 0
        var kept: [UInt8] = []  // from `base` on, to `end`
        var base: UInt64 = 0, ahead: [UInt64: UInt8] = [:], salt: UInt8 = 1
        while !input.isEmpty {
            let op = input.byte() % 6
            salt &+= 37
            switch op {
            case 0 where isSender:
                let bytes = pattern(amount(&input, 9_000, from: base + UInt64(kept.count)), &salt)
                let taken = bytes.withUnsafeBytes { ring.append($0) }
                check(
                    taken == max(0, min(bytes.count, limit - kept.count)), "append takes what fits")
                for i in 0..<taken { ahead[base + UInt64(kept.count + i)] = nil }
                kept += bytes[..<taken]
            case 1 where isSender:
                let piece = ring.appendSpace(input.below(9_000))
                check(piece.count <= max(0, limit - kept.count), "no more space than the limit")
                let n = piece.isEmpty ? 0 : input.below(min(piece.count, 60_000) + 1)
                for i in 0..<n {
                    salt &+= 1
                    piece[i] = salt
                    ahead[base + UInt64(kept.count)] = nil
                    kept.append(salt)
                }
                ring.commit(n)
            case 0...2 where !isSender:
                let start = input.below(limit + 1),
                    bytes = pattern(
                        min(amount(&input, 3_000, from: base + UInt64(start)), limit - start), &salt
                    )
                guard start >= kept.count else { continue }
                bytes.withUnsafeBytes { ring.place($0, at: base + UInt64(start)) }
                for (i, b) in bytes.enumerated() { ahead[base + UInt64(start + i)] = b }
            case 3:
                var end = base + UInt64(kept.count)
                while let b = ahead.removeValue(forKey: end) { kept.append(b); end += 1 }
                ring.advanceEnd(to: end)
            case 4:
                let n = input.below(kept.count + 1)
                ring.discard(to: base + UInt64(n))
                kept.removeFirst(n)
                base += UInt64(n)
            default:
                if ahead.isEmpty { ring.releaseIfEmpty() }
            }
            check(
                ring.base == base && ring.count == kept.count, "count \(ring.count), \(kept.count)")
            let from = kept.isEmpty ? 0 : input.below(kept.count)
            let pieces = ring.pieces(from: base + UInt64(from), count: kept.count - from)
            check(Array(pieces.first) + Array(pieces.second) == Array(kept[from...]), "other bytes")
        }
    }

    /// A length below `most`, or one that ends at a multiple of 4,096, where a ring may wrap, or
    /// close to it.
    private static func amount(_ input: inout Input, _ maximum: Int, from start: UInt64) -> Int {
        let n = input.below(maximum)
        return n & 1 == 0 ? max(0, 4_096 - Int(start & 4_095) + n % 5 - 2) : n
    }

    static func pattern(_ n: Int, _ salt: inout UInt8) -> [UInt8] {
        (0..<n).map { _ in
            salt &+= 1; return salt
        }
    }
}

/// `OffsetRanges` beside a table with one flag a number.
enum RangesTarget {
    static func run(_ input: inout Input) {
        var ranges = OffsetRanges(), flags = [Bool](repeating: false, count: 512)
        let base: UInt64 = input.bit() ? 0 : 1 << 40
        while !input.isEmpty {
            let op = input.byte() % 5, a = input.below(500), b = min(a + input.below(64), 511)
            switch op {
            case 0, 1:
                var fresh = 0
                for i in a..<b where !flags[i] { flags[i] = true; fresh += 1 }
                check(ranges.insert(base + UInt64(a), base + UInt64(b)) == fresh, "fresh bytes")
            case 2:
                ranges.removeBelow(base + UInt64(a))
                for i in 0..<a { flags[i] = false }
            case 3:
                var end = a
                while end < 512, flags[end] { end += 1 }
                check(
                    ranges.contiguousEnd(from: base + UInt64(a)) == base + UInt64(end),
                    "contiguous end")
            default:
                guard a < b else { continue }
                check(
                    ranges.contains(base + UInt64(a), base + UInt64(b))
                        == flags[a..<b].allSatisfy { $0 }, "contains")
            }
            var last: UInt64?
            for span in ranges.spans {
                check(span.start < span.end, "an empty range")
                if let last { check(span.start > last, "ranges out of order or touching") }
                last = span.end
            }
            check(
                ranges.spans.reduce(0) { $0 + $1.count } == flags.count { $0 }, "sum of the ranges")
        }
    }
}

/// `DataReceiver` beside an array of known bytes.
enum ReassemblyTarget {
    static func byte(_ offset: UInt64) -> UInt8 {
        UInt8(truncatingIfNeeded: (offset &* 2_654_435_761) >> 11)
    }

    /// Bytes that arrived, by offset: kept from input to input, as 256 kB take long to make.
    nonisolated(unsafe) private static var has = [Bool](repeating: false, count: 1 << 18)

    static func run(_ input: inout Input) {
        let limit = 4_096 + input.below(60_000)
        var receiver = DataReceiver(limit: limit), now = Instant.zero
        var next = 0, taken = 0, highest = 0, fin: Int?
        defer { for i in 0..<highest { has[i] = false } }
        while !input.isEmpty, next < 190_000 {
            switch input.byte() % 5 {
            case 0, 1:
                let start = max(0, next - 2_000 + input.below(limit + 4_000)),
                    length = input.below(3_000)
                let accepted = receiver.accepts(UInt64(start), UInt64(start + length))
                check(!accepted || start + length <= taken + limit, "accepts beyond the limit")
                if let fin { check(!accepted || start + length <= fin, "accepts beyond the end") }
                guard accepted else { continue }
                let bytes = (start..<(start + length)).map { byte(UInt64($0)) }
                let before = next
                for i in start..<(start + length) { has[i] = true }
                highest = length > 0 ? max(highest, start + length) : highest
                while has[next] { next += 1 }
                let moved = bytes.withUnsafeBytes { receiver.place($0, at: UInt64(start)) }
                check(moved == (next > before), "moved or not")
            case 2:
                let readable = Int(receiver.ring.count), n = input.below(readable + 1)
                let pieces = receiver.ring.pieces(from: receiver.ring.base, count: n)
                for (i, b) in (Array(pieces.first) + Array(pieces.second)).enumerated() {
                    check(b == byte(UInt64(taken + i)), "wrong byte at \(taken + i)")
                }
                now += .microseconds(Int64(input.byte()) * 500)
                receiver.consume(n, roundTrip: .milliseconds(20), at: now)
                taken += n
            case 3:
                let at = next + input.below(5_000)
                let isRight = fin.map { $0 == at } ?? (at >= highest)
                check(receiver.finish(at: UInt64(at)) == isRight, "where it ends")
                if isRight { fin = at }
            default:
                let offered = receiver.offered
                receiver.advertise()
                check(receiver.offered >= offered, "a promise is kept")
            }
            check(
                Int(receiver.next) == next && Int(receiver.ring.base) == taken,
                "in order to \(next)")
            check(receiver.isFinReached == (fin == next), "the end")
        }
    }
}

/// `ReceiveMappings` beside a table with the data offset of every byte.
enum MappingsTarget {
    static func run(_ input: inout Input) {
        var mappings = ReceiveMappings(), offsets: [Int: UInt64] = [:], ever: [Int: UInt64] = [:]
        let base: UInt32 = input.bit() ? 1 : .max - 300
        var from = 0
        while !input.isEmpty {
            switch input.byte() % 3 {
            case 0:
                let start = from + input.below(500), length = 1 + input.below(60)
                let offset = UInt64(input.bit() ? start + 1_000 : input.below(2_000))
                var agrees = true, agreed = true
                for i in 0..<length {
                    if let known = offsets[start + i], known != offset + UInt64(i) {
                        agrees = false
                    }
                    if let known = ever[start + i], known != offset + UInt64(i) { agreed = false }
                }
                let taken = mappings.insert(
                    start: base &+ UInt32(start), length: UInt32(length), offset: offset)
                // Of a mapping that was forgotten in part the rest is still known: it may be
                // refused for it.
                check(agrees || !taken, "a mapping that contradicts another")
                check(taken || !agreed, "a mapping that contradicts none is refused")
                guard taken else { continue }
                for i in 0..<length {
                    offsets[start + i] = offset + UInt64(i)
                    ever[start + i] = offset + UInt64(i)
                }
            case 1:
                let position = from + input.below(600)
                let found = mappings.locate(base &+ UInt32(position))
                check(found?.offset == offsets[position], "the offset of \(position)")
                guard let found else { continue }
                for i in 0..<found.count {
                    check(offsets[position + i] == found.offset + UInt64(i), "mapped in one piece")
                }
            default:
                from += input.below(100)
                mappings.removeBelow(base &+ UInt32(from))
                for key in offsets.keys where key < from { offsets[key] = nil }
            }
        }
    }
}

/// `ReplayWindow` beside a set of all numbers.
enum ReplayTarget {
    static func run(_ input: inout Input) {
        var window = ReplayWindow(), seen: Set<UInt64> = [0], taken: [UInt64] = [],
            highest: UInt64 = 0
        while !input.isEmpty {
            let number: UInt64 =
                switch input.byte() % 6 {
                // Once more what was taken, and as far ahead of it as the window is wide, give or
                // take a block.
                case 3: taken.isEmpty ? 1 : taken[input.below(min(taken.count, 256))]
                case 4:
                    (taken.isEmpty ? 1 : taken[input.below(min(taken.count, 256))])
                        + ReplayWindow.width + 64 - UInt64(input.byte() % 130)
                case 0: highest &+ UInt64(input.byte())
                case 1: highest &+ UInt64(input.word(UInt16.self))
                case 2: highest - min(highest, UInt64(input.word(UInt16.self)))
                default: input.word(UInt64.self) >> 8
                }
            let isFresh =
                number > highest
                || (highest - number < ReplayWindow.width && !seen.contains(number))
            // Number 0 is never sent; whether the window takes it once does not matter.
            guard number > 0 else { continue }
            check(window.isFresh(number) == isFresh, "\(number) behind \(highest)")
            if input.bit() { continue }
            check(window.accept(number) == isFresh, "\(number) taken behind \(highest)")
            if seen.insert(number).inserted { taken.append(number) }
            highest = max(highest, number)
            check(window.highest == highest, "the highest")
        }
    }
}

import Buffers
import Measures
import Testing

private func read(_ pieces: Pieces) -> [UInt8] { Array(pieces.first) + Array(pieces.second) }
/// The byte of an endless stream at `offset`.
private func byte(_ offset: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: (offset &* 0x9e37_79b9) >> 11)
}
private func bytes(_ range: Range<Int>) -> [UInt8] { range.map(byte) }

@Suite struct ByteRingTests {
    @Test(arguments: 0..<12 as Range<UInt64>) func senderSideAgreesWithAnArray(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let limit = [1, 100, 4_096, 5_000, 70_000][Int(seed % 5)]
        var ring = ByteRing(limit: limit), base = 0, end = 0
        for _ in 0..<250 {
            switch random.next() % 4 {
            case 0:
                let wanted = Int(random.next() % 9_000),
                    taken = bytes(end..<(end + wanted)).withUnsafeBytes { ring.append($0) }
                #expect(taken == min(wanted, limit - (end - base)))
                end += taken
            case 1:
                let space = ring.appendSpace(Int(random.next() % 3_000))
                let n = space.isEmpty ? 0 : Int(random.next() % UInt64(space.count + 1))
                for i in 0..<n { space[i] = byte(end + i) }
                ring.commit(n)
                end += n
            case 2:
                base += Int(random.next() % UInt64(end - base + 1))
                ring.discard(to: UInt64(base))
                if random.next() % 8 == 0 { ring.releaseIfEmpty() }
            default:
                let from = base + Int(random.next() % UInt64(end - base + 1)),
                    n = Int(random.next() % UInt64(end - from + 1))
                #expect(read(ring.pieces(from: UInt64(from), count: n)) == bytes(from..<(from + n)))
            }
            #expect(
                ring.count == end - base && ring.space == limit - ring.count
                    && ring.base == UInt64(base) && ring.end == UInt64(end))
            #expect(ring.footprint <= max(4_096, 2 * limit))
        }
        #expect(read(ring.pieces(from: UInt64(base), count: end - base)) == bytes(base..<end))
    }

    @Test(arguments: 0..<12 as Range<UInt64>) func receiverSideFillsHolesInAnyOrder(_ seed: UInt64)
    {
        var random = SeededRandom(seed: seed &+ 100), ranges = OffsetRanges()
        let limit = [3_000, 4_096, 60_000][Int(seed % 3)]
        var ring = ByteRing(limit: limit), base = 0
        for _ in 0..<400 {
            // Mostly near the first hole, so that it fills.
            let first = Int(ring.end), spread = random.next() % 2 == 0 ? UInt64(limit) : 300
            let start = min(max(first - 100 + Int(random.next() % spread), base), base + limit),
                n = min(Int(random.next() % 2_000), base + limit - start)
            bytes(start..<(start + n)).withUnsafeBytes { ring.place($0, at: UInt64(start)) }
            ranges.insert(UInt64(start), UInt64(start + n))
            ring.advanceEnd(to: max(ring.end, ranges.contiguousEnd(from: ring.end)))
            if random.next() % 3 == 0 {
                let upTo = base + Int(random.next() % UInt64(ring.count + 1))
                #expect(
                    read(ring.pieces(from: UInt64(base), count: upTo - base)) == bytes(base..<upTo))
                ring.discard(to: UInt64(upTo))
                base = upTo
                ranges.removeBelow(UInt64(base))
            }
        }
        #expect(base > 0)
    }

    @Test func memoryComesBackWhenEmpty() {
        var ring = ByteRing(limit: 8_000)
        #expect(ring.footprint == 0)
        #expect(bytes(0..<8_000).withUnsafeBytes { ring.append($0) } == 8_000)
        #expect(
            ring.appendSpace(1).isEmpty && bytes(0..<1).withUnsafeBytes { ring.append($0) } == 0)
        ring.releaseIfEmpty()
        #expect(ring.footprint == 8_192)
        ring.discard(to: 8_000)
        ring.releaseIfEmpty()
        #expect(ring.footprint == 0 && ring.base == 8_000 && ring.end == 8_000)
        #expect(bytes(8_000..<8_100).withUnsafeBytes { ring.append($0) } == 100)
        #expect(read(ring.pieces(from: 8_000, count: 100)) == bytes(8_000..<8_100))
    }
}

@Suite struct OffsetRangesTests {
    /// All ranges of one into another at once, beside one by one.
    @Test(arguments: 0..<16 as Range<UInt64>) func manyAtOnce(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        func drawn(_ n: UInt64) -> OffsetRanges {
            var ranges = OffsetRanges()
            for _ in 0..<(random.next() % n) {
                let start = random.next() % 400
                ranges.insert(start, start + random.next() % 12)
            }
            ranges.removeBelow(random.next() % 100)
            return ranges
        }
        for _ in 0..<40 {
            var atOnce = drawn(40)
            let others = drawn(40)
            var oneByOne = atOnce
            for span in others.spans { oneByOne.insert(span.start, span.end) }
            atOnce.insert(others)
            #expect(Array(atOnce.spans) == Array(oneByOne.spans))
            atOnce.insert(390, 500)
            oneByOne.insert(390, 500)
            #expect(Array(atOnce.spans) == Array(oneByOne.spans))
        }
    }

    @Test(arguments: 0..<16 as Range<UInt64>) func agreesWithASet(_ seed: UInt64) {
        var random = SeededRandom(seed: seed), ranges = OffsetRanges(), naive = Set<UInt64>()
        let space: UInt64 = seed % 2 == 0 ? 60 : 400
        for _ in 0..<120 {
            let start = random.next() % space, end = start + random.next() % 20
            if random.next() % 8 == 0 {
                ranges.removeBelow(start)
                naive = naive.filter { $0 >= start }
            } else {
                let before = naive.count
                naive.formUnion(start..<end)
                #expect(ranges.insert(start, end) == naive.count - before)
            }
            #expect(Set(ranges.spans.flatMap { $0.start..<$0.end }) == naive)
            for (a, b) in zip(ranges.spans, ranges.spans.dropFirst()) {
                #expect(a.end < b.start, "touching spans are one")
            }
            #expect(
                ranges.spans.allSatisfy { $0.start < $0.end } && ranges.count == ranges.spans.count)
            var reach = start
            while naive.contains(reach) { reach += 1 }
            #expect(ranges.contiguousEnd(from: start) == reach)
            #expect(
                ranges.contains(start, end)
                    == (start == end
                        ? ranges.contains(start, end) : naive.isSuperset(of: start..<end)))
        }
        ranges.removeAll()
        #expect(ranges.isEmpty)
    }
}

/// What rings take of a budget, and what they are refused.
@Suite struct MemoryTests {
    private static let prepaid = ByteRing.prepaid

    private func fill(_ ring: inout ByteRing, _ n: Int) -> Int {
        [UInt8](repeating: 7, count: n).withUnsafeBytes { ring.append($0) }
    }

    @Test func whatIsTakenIsGivenBack() {
        let budget = MemoryBudget(limit: 16 << 20), share = MemoryShare(of: budget)
        do {
            var ring = ByteRing(limit: 1 << 20, share: share)
            #expect(fill(&ring, Self.prepaid) == Self.prepaid && share.used == 0)
            #expect(fill(&ring, 100_000) == 100_000)
            #expect(share.used == (128 << 10) - Self.prepaid && budget.used == share.used)
            ring.discard(to: ring.end - 5000)
            ring.shrink()
            #expect(ring.footprint == 8192 && share.used == 0 && ring.count == 5000)
            let kept = ring.pieces(from: ring.base, count: 5000)
            #expect(
                kept.first.allSatisfy { $0 == 7 } && kept.second.allSatisfy { $0 == 7 }
                    && kept.count == 5000)
            #expect(fill(&ring, 60_000) == 60_000 && share.used > 0)
            ring.discard(to: ring.end)
            ring.releaseIfEmpty()
            #expect(share.used == 0)
            #expect(fill(&ring, 60_000) == 60_000 && share.used > 0)
        }
        #expect(share.used == 0 && budget.used == 0, "a ring that ends gives all back")
    }

    /// A large ring that grows moves nothing at once: what it holds is read in its place all the
    /// while, what comes meanwhile does not get lost, and a second growth waits for the end of the
    /// first.
    @Test func aLargeRingGrowsInSteps() {
        let budget = MemoryBudget(limit: 64 << 20), share = MemoryShare(of: budget)
        var ring = ByteRing(limit: 16 << 20, share: share)
        let half = 1 << 20
        var bytes = (0..<4 * half).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
        func place(_ range: Range<Int>) {
            bytes[range].withUnsafeBytes { ring.place($0, at: UInt64(range.lowerBound)) }
        }
        func isRight(_ range: Range<Int>) -> Bool {
            let pieces = ring.pieces(from: UInt64(range.lowerBound), count: range.count)
            return pieces.bytes.elementsEqual(bytes[range])
        }
        place(0..<half)
        ring.advanceEnd(to: UInt64(half))
        #expect(ring.footprint == half)
        place(half + 1_000..<half + 2_400)
        #expect(ring.footprint == 3 * half && share.used >= 3 * half - Self.prepaid)
        let mayGrowAgain = ring.canHold(3 * half)
        #expect(!mayGrowAgain)
        // Wholly old, wholly new, and from the one into the other.
        #expect(isRight(half / 2..<half / 2 + 1_400))
        #expect(isRight(half + 1_000..<half + 2_400))
        place(half..<half + 1_000)
        ring.advanceEnd(to: UInt64(half + 2_400))
        #expect(isRight(half - 700..<half + 700))
        ring.discard(to: 5_000)
        #expect(isRight(5_000..<7_000))
        // What is written over a hole that has not been moved is not moved over.
        bytes[40_000..<41_000] = bytes[0..<1_000]
        place(40_000..<41_000)
        #expect(isRight(39_000..<42_000) && isRight(5_000..<half + 2_400))
        #expect(ring.footprint == 2 * half && share.used == 2 * half - Self.prepaid)
        let mayGrowAtLast = ring.canHold(3 * half)
        #expect(mayGrowAtLast)
    }

    @Test(arguments: [8193, 1 << 32, 1 << 62, 1 << 62 + 1, .max]) func nothingHoldsMoreThanItsLimit(
        _ needed: Int
    ) {
        var ring = ByteRing(limit: 8192)
        let isHeld = ring.canHold(needed)
        #expect(!isHeld)
    }

    /// However many rings there are, they keep to the budget, and each gets what was paid for it.
    @Test func ringsKeepToTheBudget() {
        let budget = MemoryBudget(limit: 4 << 20), share = MemoryShare(of: budget)
        func grow(_ left: Int) {
            guard left > 0 else { return }
            var ring = ByteRing(limit: 16 << 20, share: share)
            let taken = fill(&ring, 2 << 20)
            #expect(
                taken >= Self.prepaid && share.used <= budget.limit / 2,
                "no user has more than half")
            let holdsMore = ring.canHold(8 << 20), holdsLittle = ring.canHold(Self.prepaid)
            #expect(!holdsMore && holdsLittle)
            grow(left - 1)
        }
        grow(60)
        #expect(budget.used == 0)
    }

    @Test func aUserAlwaysFindsRoom() {
        let budget = MemoryBudget(limit: 64 << 20)
        let shares = (0..<7).map { _ in MemoryShare(of: budget) }
        for share in shares {
            #expect(share.free >= budget.limit >> 8)
            while share.free >= 4096 { share.change(by: 4096) }
        }
        #expect(budget.free > 0)
        let alone = MemoryShare(of: MemoryBudget(limit: 1000), isOnlyOne: true)
        alone.change(by: 900)
        #expect(alone.free == 100)
        #expect(MemoryShare(of: budget, maximum: 5000).free <= 5000)
    }

    /// A window is a promise: it shrinks with what is left, long before nothing is.
    @Test func promisesShrink() {
        let budget = MemoryBudget(limit: 16 << 20), share = MemoryShare(of: budget)
        let ring = ByteRing(limit: 16 << 20, share: share)
        #expect(ring.promisable(1 << 20) == 1 << 20 && ring.promisable(8 << 20) == 2 << 20)
        share.change(by: 7 << 20)
        #expect(ring.promisable(1 << 20) == 256 << 10)
        share.change(by: 4 << 20)
        #expect(ring.promisable(1 << 20) == Self.prepaid)
    }
}

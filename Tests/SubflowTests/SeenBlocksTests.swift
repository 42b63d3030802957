import Measures
import Testing
import Wire

@testable import Subflow

/// What a peer's SACK blocks may do: count where they lie between SND.UNA and SND.NXT, and nothing
/// else.
@Suite struct SeenBlocksTests {
    /// Three ACKs whose blocks lie in the other half of sequence space. Compared as signed
    /// distances, each block lay before the next and the last before the first: the loop over them
    /// never ended.
    @Test(arguments: InitialSequences.all)
    func blocksOfTheOtherHalfAreNoOnes(_ start: InitialSequences) {
        let s = Script(ours: SubflowSequence(start.ours), theirs: SubflowSequence(start.theirs))
        s.toSend = 40_000
        #expect(s.out().count == 10)
        s.inject(
            "A", seq: 1, ack: 1,
            sack: [
                2_147_503_650..<2_147_503_650, 2_147_478_649..<2_147_513_648, 11_001..<2_147_493_650
            ])
        _ = s.out()
        s.inject("A", seq: 1, ack: 10_001)
        #expect(s.out().count >= 10)
        s.inject(
            "A", seq: 1, ack: 10_001,
            sack: [
                2_147_483_650..<4_294_987_296, 2_147_483_650..<2_147_493_651, 10_002..<20_001
            ])
        _ = s.out()
        #expect(s.subflow.board.deliveredCount <= 10)
        #expect(s.subflow.sendUnacknowledged == s.ours + 10_001)
    }

    /// Whatever the blocks are, what they deliver is what lies wholly within a sane one.
    @Test func anyBlocksAtAnyTime() {
        var random = Chance(seed: 6)
        for _ in 0..<300 { flood(&random) }
    }

    private func flood(_ random: inout Chance) {
        let s = Script(ours: SubflowSequence(random.next32()), theirs: SubflowSequence(7))
        s.toSend = 30_000
        _ = s.out()
        for _ in 0..<12 {
            let una = s.ours.distance(to: s.subflow.sendUnacknowledged)
            let next = s.ours.distance(to: s.subflow.sendNext)
            let ack = una + Int(random.next32()) % max(1, next - una + 1) / 1_000 * 1_000
            let places = [
                una, next, ack, una + 1_000, next - 1_000, una + 1 << 31, next + 1 << 31,
                una + 1 << 31 - 1, next + 1 << 31 + 1, una + 1 << 30, una + 3 << 30
            ]
            var blocks: [Range<Int>] = []
            for _ in 0..<(1 + Int(random.next32() % 4)) {
                let a = places[Int(random.next32()) % places.count]
                let b = places[Int(random.next32()) % places.count]
                blocks.append(min(a, b)..<max(a, b))
            }
            let wasDelivered = s.subflow.board.deliveredCount
            s.inject("A", seq: 1, ack: ack, sack: blocks)
            let isReported = blocks.contains { $0.lowerBound >= ack && $0.upperBound <= next }
            if !isReported { #expect(s.subflow.board.deliveredCount <= wasDelivered) }
            if random.next32() & 3 == 0 { s.wait(50) }
            _ = s.out()
        }
    }

    /// Beside a set of numbers.
    @Test func partsBesideASet() {
        var random = Chance(seed: 7)
        for _ in 0..<2_000 {
            var seen = SeenBlocks(), covered = Set<UInt32>()
            for _ in 0..<(random.next32() % 5) {
                let start = random.next32() % 40, end = start + 1 + random.next32() % 12
                seen.append(SeenBlocks.Part(start: start, end: end))
                covered.formUnion(start..<end)
            }
            let by = random.next32() % 20
            seen.advance(by: by)
            covered = Set(covered.filter { $0 >= by }.map { $0 - by })
            let from = random.next32() % 40, end = from + random.next32() % 20
            var found: [UInt32] = [], cursor = from, steps = 0
            while let part = seen.uncovered(from: cursor, to: end), steps < 10 {
                #expect(part.start >= cursor && part.end > part.start && part.end <= end)
                found += Array(part.start..<part.end)
                cursor = part.end
                steps += 1
            }
            #expect(found == (from..<end).filter { !covered.contains($0) })
            #expect(steps <= SACKBlocks.capacity + 1)
        }
    }
}

/// Numbers that are the same in every run (SplitMix64).
struct Chance {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next32() -> UInt32 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return UInt32(truncatingIfNeeded: z >> 32)
    }
}

import Measures
import Testing
import Wire

@testable import Multipath

/// The mappings a peer may have outstanding (RFC 8684 section 3.3.1).
@Suite struct MappingTests {
    @Test func neighboursThatAgreeAreOne() {
        var m = ReceiveMappings()
        for i in 0..<5_000 as Range<UInt32> {
            let taken = m.insert(start: 1 + 10 * i, length: 10, offset: UInt64(700 + 10 * i))
            #expect(taken)
        }
        #expect(m.locate(1)?.offset == 700 && m.locate(1)?.count == 50_000)
        #expect(m.locate(40_001)?.offset == 40_700 && m.locate(50_001) == nil)
        let contradicts = m.insert(start: 25, length: 3, offset: 0)
        let agrees = m.insert(start: 49_000, length: 5_000, offset: 49_699)
        #expect(!contradicts && agrees)
        #expect(m.locate(53_999)?.count == 1)
        m.removeBelow(40_001)
        #expect(m.locate(40_001)?.offset == 40_700)
    }

    @Test func noMoreThanTheMost() {
        var m = ReceiveMappings(), taken = 0
        for i in 0..<5_000 as Range<UInt32>
        where m.insert(start: 2 * i, length: 1, offset: UInt64(i) * 100) { taken += 1 }
        #expect(taken == ReceiveMappings.maximum)
        m.removeBelow(200)
        let isTaken = m.insert(start: 9_999, length: 1, offset: 0)
        #expect(isTaken)
    }

    /// Beside a table, around the wrap of the subflow's numbers.
    @Test(arguments: [1, .max - 300] as [UInt32]) func besideATable(_ base: UInt32) {
        var seed: UInt64 = 3
        func random(_ n: Int) -> Int {
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(seed >> 33) % n
        }
        for _ in 0..<200 {
            var m = ReceiveMappings(), table: [Int: UInt64] = [:], from = 0
            m.removeBelow(base)
            for _ in 0..<120 {
                switch random(4) {
                case 0, 1:
                    let start = from + random(300), length = 1 + random(40)
                    let offset = UInt64(random(3) == 0 ? random(900) : start + 5_000)
                    let same = (0..<length).allSatisfy { i in
                        table[start + i].map { $0 == offset + UInt64(i) } ?? true
                    }
                    let taken = m.insert(
                        start: base &+ UInt32(start), length: UInt32(length), offset: offset)
                    if !same { #expect(!taken) }
                    if taken { for i in 0..<length { table[start + i] = offset + UInt64(i) } }
                case 2:
                    let at = from + random(350), found = m.locate(base &+ UInt32(at))
                    #expect(found?.offset == table[at])
                    for i in 0..<min(found?.count ?? 0, 60) {
                        #expect(table[at + i] == found!.offset + UInt64(i))
                    }
                default:
                    from += random(30)
                    m.removeBelow(base &+ UInt32(from))
                    table = table.filter { $0.key >= from }
                }
            }
        }
    }
}

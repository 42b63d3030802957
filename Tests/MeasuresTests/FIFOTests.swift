import Measures
import Testing

/// The queue beside an array that is obviously right.
@Suite struct FIFOTests {
    @Test func whatGoesInFirstComesOutFirst() {
        var queue = FIFO<Int>(), model: [Int] = []
        var random = SeededRandom(seed: 3), next = 0
        for round in 0..<5_000 {
            // Long stretches of growing and of shrinking: the head is moved away now and then.
            let grows = (round / 300).isMultiple(of: 2)
            if random.next() % 8 < (grows ? 6 : 2) {
                queue.append(next)
                model.append(next)
                next += 1
            } else {
                #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            }
            #expect(queue.count == model.count && queue.first == model.first)
            #expect(queue.isEmpty == model.isEmpty)
        }
        #expect(Array(queue.all) == model)
    }

    /// A long one is a list of pieces: it grows and shrinks over many of them.
    @Test func longOnesAreListsOfPieces() {
        var queue = FIFO<Int>(), next = 0, expected = 0
        for (added, taken) in [
            (70_000, 5_000), (1, 64_000), (3_000, 4_001), (2_048, 1_024), (500, 1_524)
        ] {
            for _ in 0..<added { queue.append(next); next += 1 }
            for _ in 0..<taken {
                #expect(queue.first == expected)
                guard queue.popFirst() == expected else {
                    return #expect(Bool(false), "\(expected)")
                }
                expected += 1
            }
            #expect(queue.count == next - expected && queue.isEmpty == (next == expected))
            #expect(Array(queue.all) == Array(expected..<next))
        }
        #expect(queue.isEmpty && queue.popFirst() == nil)
        for i in 0..<5_000 { queue.append(i) }
        for _ in 0..<10 { queue.popFirst() }
        queue.removeAll { $0.isMultiple(of: 2) }
        #expect(Array(queue.all) == (10..<5_000).filter { !$0.isMultiple(of: 2) })
    }

    @Test func whatIsTakenOutOfTheMiddleLeavesTheOrder() {
        var queue = FIFO<Int>()
        for i in 0..<200 { queue.append(i) }
        for _ in 0..<50 { queue.popFirst() }
        queue.removeAll { $0.isMultiple(of: 3) }
        #expect(Array(queue.all) == (50..<200).filter { !$0.isMultiple(of: 3) })
        #expect(queue.popFirst() == 50)
    }
}

import Measures
import Testing

/// The queue in one array, beside an array that is obviously right.
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

    @Test func whatIsTakenOutOfTheMiddleLeavesTheOrder() {
        var queue = FIFO<Int>()
        for i in 0..<200 { queue.append(i) }
        for _ in 0..<50 { queue.popFirst() }
        queue.removeAll { $0.isMultiple(of: 3) }
        #expect(Array(queue.all) == (50..<200).filter { !$0.isMultiple(of: 3) })
        #expect(queue.popFirst() == 50)
    }
}

import Measures
import Testing

@testable import Subflow

/// The retransmission queue beside an array of what each span is.
@Suite struct ScoreboardTests {
    private struct Model {
        var sentAt: Int64, isDelivered = false, isLost = false
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func besideAnArray(_ seed: UInt64) {
        var random = Chance(seed: seed), board = Scoreboard(), model: [Model] = [], clock: Int64 = 0
        var sequence: UInt32 = .max - 50_000
        for _ in 0..<4_000 {
            clock += Int64(random.next32() % 3)
            let i = model.isEmpty ? 0 : Int(random.next32()) % model.count
            switch random.next32() % 12 {
            case 0..<6 where model.count < 700:
                _ = board.append(
                    SpanRecord(
                        sequence: SubflowSequence(sequence), length: 10, streamOffset: 0,
                        sentAt: Instant(nanoseconds: clock), flags: []))
                model.append(Model(sentAt: clock))
                sequence &+= 10
            case 6 where !model.isEmpty && !model[i].isDelivered:
                for k in i..<min(model.count, i + 90) where !model[k].isDelivered {
                    board.markDelivered(board.number(at: k))
                    model[k].isDelivered = true
                    model[k].isLost = false
                }
            case 7:
                for _ in 0..<(random.next32() % 60) where board.oldestSent != Scoreboard.absent {
                    let k = board.index(of: board.oldestSent)
                    board.markLost(board.oldestSent)
                    model[k].isLost = true
                }
            case 8:
                guard let lost = board.nextLost() else { continue }
                let k = board.index(of: lost)
                board.record(lost).pointee.sentAt = Instant(nanoseconds: clock)
                board.resent(lost)
                model[k].isLost = false
                model[k].sentAt = clock
            case 9 where !model.isEmpty:
                for _ in 0..<min(model.count, 1 + i % 40) {
                    board.removeFirst()
                    model.removeFirst()
                }
            case 10 where random.next32() % 4 == 0:
                board.reviveLost()
                for k in model.indices { model[k].isLost = false }
            case 11 where random.next32() % 8 == 0:
                board.forgetDeliveries()
                for k in model.indices { model[k].isDelivered = false }
            default: continue
            }
            compare(board, model, from: i)
        }
    }

    private func compare(_ board: borrowing Scoreboard, _ model: [Model], from i: Int) {
        let lost = board.nextLost().map { board.index(of: $0) }
        #expect(lost == model.firstIndex { $0.isLost })
        let next = board.nextUndelivered(from: i)
        #expect(next == model.indices.first { $0 >= i && !model[$0].isDelivered } ?? model.count)
        var at = board.oldestSent, last = Int64.min, walked = 0
        while at != Scoreboard.absent, walked <= model.count {
            let k = board.index(of: at)
            #expect(!model[k].isDelivered && !model[k].isLost && model[k].sentAt >= last)
            last = model[k].sentAt
            at = board.record(at).pointee.newer
            walked += 1
        }
        #expect(walked == model.count { !$0.isDelivered && !$0.isLost })
    }

    /// Every other one of 16,000 spans is delivered, the others are held for lost, and none was:
    /// what took the square of that once, minutes, takes no time worth measuring.
    @Test func revivalAndReneging() {
        var board = Scoreboard()
        for i in 0..<Scoreboard.limit {
            _ = board.append(
                SpanRecord(
                    sequence: SubflowSequence(UInt32(i * 10)), length: 10, streamOffset: 0,
                    sentAt: Instant(nanoseconds: Int64(i)), flags: []))
        }
        let isFull = board.isFull
        #expect(isFull)
        for i in stride(from: 1, to: board.count, by: 2) {
            board.markDelivered(board.number(at: i))
        }
        let clock = ContinuousClock(), start = clock.now
        for _ in 0..<20 {
            _ = board.markAllLost()
            // A new transmission, behind which the lost ones have their place.
            board.resent(board.nextLost()!)
            board.reviveLost()
            board.forgetDeliveries()
            for i in stride(from: 1, to: board.count, by: 2) {
                board.markDelivered(board.number(at: i))
            }
        }
        #expect(clock.now - start < .seconds(10))
    }

    /// Text of a byte each, every other one: of so small pieces few are kept.
    @Test func smallRanges() {
        var tracker = ReceiveTracker(next: SubflowSequence(1))
        var taken = 0
        for i in 1...1_000 {
            let (text, outcome) = tracker.place(
                SubflowSequence(UInt32(1 + 2 * i)), length: 1, isFIN: false, window: 1 << 20)
            if !text.isEmpty { taken += 1 } else { #expect(outcome == .refused) }
        }
        #expect(taken == ReceiveTracker.smallRangeLimit)
        let full = tracker.place(
            SubflowSequence(100_000), length: 1_400, isFIN: false, window: 1 << 20
        ).text
        #expect(full.count == 1_400)
    }
}

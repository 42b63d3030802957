import Measures
import Testing

@testable import Subflow

/// The retransmission queue beside an array of what each span is.
@Suite struct ScoreboardTests {
    private struct Model {
        var sentAt: Int64, isDelivered = false, isLost = false
        /// In the order of transmission, of those that were sent more than once; zero: once.
        var again = 0
        var length: Int
        var isInFlight: Bool { !isDelivered && !isLost }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>) func besideAnArray(_ seed: UInt64) {
        var random = Chance(seed: seed), board = Scoreboard(), model: [Model] = [], clock: Int64 = 0
        var sequence: UInt32 = .max - 50_000, repetitions = 0
        for _ in 0..<6_000 {
            clock += Int64(random.next32() % 3)
            let i = model.isEmpty ? 0 : Int(random.next32()) % model.count
            switch random.next32() % 15 {
            case 0..<6 where model.count < 700:
                let length = 1 + random.next32() % 9
                _ = board.append(
                    SpanRecord(
                        sequence: SubflowSequence(sequence), length: length, streamOffset: 0,
                        sentAt: Instant(nanoseconds: clock), flags: []))
                model.append(Model(sentAt: clock, length: Int(length)))
                sequence &+= length
            case 6 where !model.isEmpty && !model[i].isDelivered:
                for k in i..<min(model.count, i + 90) where !model[k].isDelivered {
                    board.markDelivered(board.number(at: k))
                    model[k].isDelivered = true
                    model[k].isLost = false
                }
            case 7:
                for _ in 0..<(random.next32() % 60) {
                    let once = board.oldestOnce().map {
                        board.number($0.bits.trailingZeroBitCount, of: $0)
                    }
                    guard let oldest = once ?? board.oldestAgain() else { break }
                    let k = board.index(of: oldest)
                    board.markLost(oldest)
                    model[k].isLost = true
                }
            case 8, 9:
                for _ in 0..<(random.next32() % 20) {
                    guard let lost = board.nextLost() else { break }
                    let k = board.index(of: lost)
                    board.record(lost).pointee.sentAt = Instant(nanoseconds: clock)
                    board.resent(lost)
                    repetitions += 1
                    model[k].isLost = false
                    model[k].sentAt = clock
                    model[k].again = repetitions
                }
            case 10 where !model.isEmpty:
                for _ in 0..<min(model.count, 1 + i % 40) {
                    board.removeFirst()
                    model.removeFirst()
                }
            case 11 where random.next32() % 4 == 0:
                board.reviveLost()
                for k in model.indices { model[k].isLost = false }
            case 12 where random.next32() % 8 == 0:
                board.forgetDeliveries()
                for k in model.indices { model[k].isDelivered = false }
            case 13 where !model.isEmpty:
                // Many at once.
                let isFromFront = random.next32() % 4 == 0, start = isFromFront ? 0 : i
                let end = min(model.count, start + 1 + Int(random.next32() % 200))
                var k = start
                while k < end {
                    let stretch = board.stretch(from: k, to: end)
                    k += stretch.count
                    let fresh = stretch.with(board.undelivered(stretch))
                    if fresh.bits == 0 { continue }
                    board.markDelivered(fresh, bytes: board.bytes(of: fresh.bits, in: stretch))
                }
                for k in start..<end {
                    model[k].isDelivered = true
                    model[k].isLost = false
                }
                guard isFromFront else { continue }
                board.removeFirst(delivered: end)
                model.removeFirst(end)
            case 14:
                guard let stretch = board.oldestOnce() else { continue }
                let bits = stretch.bits & (UInt64(random.next32()) << 32 | UInt64(random.next32()))
                for bit in 0..<64 where bits >> UInt64(bit) & 1 != 0 {
                    model[board.index(of: board.number(bit, of: stretch))].isLost = true
                }
                let n = bits == 0 ? 0 : board.markLost(stretch.with(bits))
                #expect(n == bits.nonzeroBitCount)
            default: continue
            }
            compare(&board, model, from: i)
        }
        #expect(repetitions > 100)
    }

    private func compare(_ board: inout Scoreboard, _ model: [Model], from i: Int) {
        let lost = board.nextLost().map { board.index(of: $0) }
        #expect(lost == model.firstIndex { $0.isLost })
        let next = board.nextUndelivered(from: i)
        #expect(next == model.indices.first { $0 >= i && !model[$0].isDelivered } ?? model.count)
        let once = board.oldestOnce().map {
            board.index(of: board.number($0.bits.trailingZeroBitCount, of: $0))
        }
        #expect(once == model.firstIndex { $0.isInFlight && $0.again == 0 })
        let again = board.oldestAgain().map { board.index(of: $0) }
        let oldest = model.indices.filter { model[$0].isInFlight && model[$0].again > 0 }
            .min { model[$0].again < model[$1].again }
        #expect(again == oldest)
        let counts = [board.count, board.lostCount, board.deliveredCount, board.inFlight]
        let isInFlight = model.reduce(0) { $0 + ($1.isInFlight ? $1.length : 0) }
        #expect(
            counts == [
                model.count, model.count { $0.isLost }, model.count { $0.isDelivered }, isInFlight
            ])
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

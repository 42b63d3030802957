import Measures

@testable import Subflow

/// `Scoreboard` beside an array of records, and the list by time beside a sort.
enum ScoreboardTarget {
    struct Record {
        var sequence: UInt32, length: Int, offset: UInt64, isFIN = false
        var isDelivered = false, isLost = false
        var sentAt: Int64, turn: Int
    }

    static func run(_ input: inout Input) {
        var board = Scoreboard(), model: [Record] = [], turn = 0, clock: Int64 = 0
        var next: UInt32 = input.bit() ? 1 : .max - 2_000, offset: UInt64 = 0
        while !input.isEmpty {
            turn += 1
            clock += Int64(input.byte() & 15)
            let op = input.byte() % 9
            switch op {
            case 0, 1:
                let length = input.below(1_400)
                var record = SpanRecord(
                    sequence: SubflowSequence(next), length: UInt32(length), streamOffset: offset,
                    sentAt: Instant(nanoseconds: clock), flags: [])
                let isFIN = length == 0
                if isFIN { record.flags = .fin }
                _ = board.append(record)
                model.append(
                    Record(
                        sequence: next, length: length, offset: offset, isFIN: isFIN, sentAt: clock,
                        turn: turn))
                next &+= UInt32(length) &+ (isFIN ? 1 : 0)
                offset += UInt64(length)
            case 2:
                guard let i = pick(&input, model, where: { !$0.isDelivered }) else { continue }
                board.markDelivered(board.number(at: i))
                model[i].isDelivered = true
                model[i].isLost = false
            case 3:
                guard let i = pick(&input, model, where: { !$0.isDelivered && !$0.isLost }) else {
                    continue
                }
                board.markLost(board.number(at: i))
                model[i].isLost = true
            case 4:
                let lost = board.nextLost()
                let expected = model.firstIndex { $0.isLost }
                check(lost.map { board.index(of: $0) } == expected, "the first lost span")
                guard let lost, let i = expected else { continue }
                board.record(lost).pointee.sentAt = Instant(nanoseconds: clock)
                board.resent(lost)
                model[i].isLost = false
                model[i].sentAt = clock
                model[i].turn = turn
            case 5:
                guard !model.isEmpty else { continue }
                let extent = model[0].length + (model[0].isFIN ? 1 : 0)
                if input.bit(), extent > 1 {
                    let n = 1 + input.below(extent - 1)
                    board.trimFirst(n)
                    model[0].sequence &+= UInt32(n)
                    model[0].length -= n
                    model[0].offset += UInt64(n)
                } else {
                    board.removeFirst()
                    model.removeFirst()
                }
            case 6:
                let bytes = model.reduce(0) { $0 + ($1.isDelivered || $1.isLost ? 0 : $1.length) }
                check(board.markAllLost() == bytes, "bytes in flight that are lost")
                for i in model.indices where !model[i].isDelivered { model[i].isLost = true }
            case 7:
                board.reviveLost()
                for i in model.indices { model[i].isLost = false }
            default:
                board.forgetDeliveries()
                for i in model.indices { model[i].isDelivered = false }
            }
            compare(board, model)
        }
    }

    static func pick(_ input: inout Input, _ model: [Record], where fits: (Record) -> Bool) -> Int?
    {
        guard !model.isEmpty else { return nil }
        let start = input.below(min(model.count, 256))
        return model.indices.dropFirst(start).first { fits(model[$0]) }
    }

    static func compare(_ board: borrowing Scoreboard, _ model: [Record]) {
        let count = board.count, inFlight = board.inFlight, lost = board.lostCount,
            delivered = board.deliveredCount
        check(count == model.count, "count")
        check(
            inFlight == model.reduce(0) { $0 + ($1.isDelivered || $1.isLost ? 0 : $1.length) },
            "in flight")
        check(lost == model.count { $0.isLost }, "lost")
        check(delivered == model.count { $0.isDelivered }, "delivered")
        for (i, record) in model.enumerated() {
            let span = board.span(board.number(at: i))
            check(
                span.sequence.value == record.sequence && span.length == record.length
                    && span.streamOffset == record.offset && span.isDelivered == record.isDelivered,
                "span \(i)")
            let found = board.firstIndex(startingAtOrAfter: SubflowSequence(record.sequence))
            check(
                model[..<i].allSatisfy { $0.sequence != record.sequence } ? found == i : found <= i,
                "found by number")
        }
        // The list: everything in flight once, in the order of the latest transmission.
        var at = board.oldestSent, last: Int64 = .min, walked = 0, before = Scoreboard.absent
        while at != Scoreboard.absent {
            let i = board.index(of: at)
            check(
                i < count && !model[i].isDelivered && !model[i].isLost,
                "in the list, but not in flight")
            check(model[i].sentAt >= last, "the list is in the order of time")
            check(board.record(at).pointee.older == before, "linked both ways")
            last = model[i].sentAt
            before = at
            at = board.record(at).pointee.newer
            walked += 1
        }
        let newest = board.newestSent
        check(
            newest == before && walked == model.count { !$0.isDelivered && !$0.isLost },
            "the whole list")
    }
}

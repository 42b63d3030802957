import Measures

@testable import Subflow

/// `Scoreboard` beside an array of records.
enum ScoreboardTarget {
    struct Record {
        var sequence: UInt32, length: Int, offset: UInt64, isFIN = false
        var isDelivered = false, isLost = false
        var sentAt: Int64
        /// When it was sent again; nil: never.
        var again: Int?
    }

    static func run(_ input: inout Input) {
        var board = Scoreboard(), model: [Record] = [], turn = 0, clock: Int64 = 0
        var next: UInt32 = input.bit() ? 1 : .max - 2_000, offset: UInt64 = 0
        while !input.isEmpty {
            turn += 1
            clock += Int64(input.byte() & 15)
            let op = input.byte() % 11
            switch op {
            case 0, 1:
                // Nothing follows a FIN.
                guard model.last?.isFIN != true else { continue }
                let length = input.below(1_400)
                var record = SpanRecord(
                    sequence: SubflowSequence(next), length: UInt32(length), streamOffset: offset,
                    sentAt: Instant(nanoseconds: clock), flags: [])
                let isFIN = length == 0
                if isFIN { record.flags = .fin }
                _ = board.append(record)
                model.append(
                    Record(
                        sequence: next, length: length, offset: offset, isFIN: isFIN, sentAt: clock)
                )
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
                model[i].again = turn
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
            case 8:
                board.forgetDeliveries()
                for i in model.indices { model[i].isDelivered = false }
            case 9:
                guard !model.isEmpty else { continue }
                deliverMany(&input, &board, &model)
            default:
                guard let stretch = board.oldestOnce() else { continue }
                let bits = stretch.bits & UInt64(truncatingIfNeeded: input.below(1 << 16))
                for bit in 0..<64 where bits >> UInt64(bit) & 1 != 0 {
                    model[board.index(of: board.number(bit, of: stretch))].isLost = true
                }
                if bits != 0 { _ = board.markLost(stretch.with(bits)) }
            }
            compare(&board, model)
        }
    }

    /// Spans in a row are delivered; from the front, they are removed.
    static func deliverMany(
        _ input: inout Input, _ board: inout Scoreboard, _ model: inout [Record]
    ) {
        let start = input.bit() ? 0 : input.below(min(model.count, 256))
        let end = min(model.count, start + 1 + input.below(200))
        var i = start
        while i < end {
            let stretch = board.stretch(from: i, to: end)
            i += stretch.count
            let fresh = stretch.with(board.undelivered(stretch))
            if fresh.bits == 0 { continue }
            let sum = model[(i - stretch.count)..<i].reduce(0) {
                $0 + ($1.isDelivered ? 0 : $1.length)
            }
            check(board.bytes(of: fresh.bits, in: stretch) == sum, "bytes of a stretch")
            board.markDelivered(fresh, bytes: sum)
        }
        for i in start..<end {
            model[i].isDelivered = true
            model[i].isLost = false
        }
        guard start == 0, input.bit() else { return }
        board.removeFirst(delivered: end)
        model.removeFirst(end)
    }

    static func pick(_ input: inout Input, _ model: [Record], where fits: (Record) -> Bool) -> Int?
    {
        guard !model.isEmpty else { return nil }
        let start = input.below(min(model.count, 256))
        return model.indices.dropFirst(start).first { fits(model[$0]) }
    }

    static func compare(_ board: inout Scoreboard, _ model: [Record]) {
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
        let once = board.oldestOnce().map {
            board.index(of: board.number($0.bits.trailingZeroBitCount, of: $0))
        }
        check(
            once == model.firstIndex { !$0.isDelivered && !$0.isLost && $0.again == nil },
            "the oldest sent once")
        let again = board.oldestAgain().map { board.index(of: $0) }
        let oldest = model.indices.filter {
            !model[$0].isDelivered && !model[$0].isLost && model[$0].again != nil
        }.min { model[$0].again! < model[$1].again! }
        check(again == oldest, "the oldest sent again")
    }
}

import Measures
import Testing

@testable import Wire

/// A channel that loses, repeats and reorders frames, with a crude TCP over it: what is read is
/// exactly what was meant, or refused.
@Suite struct SealedOmissionTests {
    struct Frame {
        var bytes: [UInt8]
        var meant: Segment
        var at: Int
        var order: UInt64
        /// The packet number of its record: copies of one frame are one record's.
        var record: UInt64
    }
    struct Tally { var read = 0, refused = 0, bulk = 0, data = 0, acknowledged = 0 }

    struct Chance {
        var loss: Double, repeats: Double, reorder: Double
        /// How late a reordered frame comes, in ticks; the channel itself takes `delay`.
        var late: Int, delay: Int
        /// How often acknowledgement, window and data acknowledgement of the data sender change.
        var change: Double
        /// How often a segment takes the general form, which says everything and proposes nothing.
        var general = 0.0
    }

    @Test(arguments: 0..<120) func exactUnderLossReorderingAndDuplication(_ seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let chance = Chance(
            loss: random.unit() * 0.3, repeats: random.unit() * 0.2,
            reorder: random.unit() * 0.3,
            late: 1 + random.below(60), delay: 1 + random.below(20),
            change: [0, 0.01, 0.1, 0.9][random.below(4)],
            general: [0, 0.1, 0.6][random.below(3)])
        let tally = Self.run(chance, ticks: 800, &random)
        #expect(tally.read > 100)
        if chance.change <= 0.01, chance.loss < 0.1, chance.general == 0 {
            #expect(tally.bulk * 5 > tally.data, "hardly anything was left out")
        }
    }

    /// On a short path a late frame has been overtaken by more changes than there are eras.
    @Test(arguments: 200..<240) func stragglersOfSixErasAgoAreRefused(_ seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let chance = Chance(
            loss: 0.02, repeats: 0.3, reorder: 0.1, late: 400, delay: 1, change: 0.9)
        let tally = Self.run(chance, ticks: 3000, &random)
        #expect(tally.acknowledged > 300_000, "it stands still")
    }

    @Test func withoutLossAndChangesOnlyTheFirstRoundTripIsExplicit() {
        var random = SeededRandom(seed: 1)
        let tally = Self.run(
            Chance(loss: 0, repeats: 0, reorder: 0, late: 1, delay: 5, change: 0),
            ticks: 2000, &random)
        #expect(tally.refused == 0 && tally.acknowledged > 1_000_000)
        #expect((tally.data - tally.bulk) * 5 < tally.data)
    }

    static func run(_ chance: Chance, ticks: Int, _ random: inout SeededRandom) -> Tally {
        var pair = SealedPair(initialSequences: (random.word(), random.word()))
        var tally = Tally(), channel: [Frame] = [], order: UInt64 = 0, record: UInt64 = 0
        // The initiator's data: sent up to `next`, acknowledged up to `base`; the listener has
        // `got` of it.
        var next = 0, base = 0, got: Set<Int> = [], inOrder = 0
        let unit = 1000, window = 30
        var ack = 1, dataAck: UInt64 = 70, offered: UInt16 = 500

        for tick in 0..<ticks {
            if random.chance(chance.change) {
                switch random.below(3) {
                case 0: ack += random.below(3000)
                case 1: dataAck += UInt64(random.below(3000))
                default: offered = UInt16(random.below(4)) * 100
                }
            }
            var segments: [(Segment, Int)] = []
            for _ in 0..<random.below(4) where next - base < window {
                var s = pair.data(next * unit, unit, ack: ack, window: offered, dataAck: dataAck)
                if random.chance(chance.general / 4) { s.options.dss.acknowledgementWidth = .eight }
                segments.append((s, unit))
                next += 1
            }
            if next > base, random.chance(0.3) {
                // A retransmission: of one segment, of two at once, or across a border; at times in
                // the general form.
                let from = base * unit + (random.chance(0.2) ? unit / 2 : 0)
                let length = min(random.chance(0.3) ? 2 * unit : unit, next * unit - from)
                var s = pair.data(from, length, ack: ack, window: offered, dataAck: dataAck)
                if random.chance(chance.general) { s.options.dss.mapping?.width = .eight }
                segments.append((s, length))
            }
            if random.chance(0.1) {
                segments.append(
                    (pair.data(next * unit, 0, ack: ack, window: offered, dataAck: dataAck), 0))
            }
            for (segment, length) in segments {
                var s = segment
                if random.chance(0.05) { s.flags.insert(.psh) }
                if random.chance(0.1) {
                    s.options.sack.removeAll()
                    for _ in 0...random.below(3) {
                        let start = s.acknowledgement + random.below(1 << 20)
                        s.options.sack.append(.init(start: start, end: start + 1_400))
                    }
                    s.options.present.insert(.sack)
                }
                let head = SealedSegment.headLength(
                    of: &s, payloadLength: length, context: &pair.initiator)
                let bytes = pair.write(s, [UInt8](repeating: 0, count: length), fromInitiator: true)
                #expect(head == bytes.count - length, "measured otherwise than written")
                if length > 0 {
                    tally.data += 1
                    if bytes.count - length == SealedSegment.bulkHead { tally.bulk += 1 }
                }
                record += 1
                for _ in 0..<(random.chance(chance.repeats) ? 2 : 1)
                where !random.chance(chance.loss) {
                    order += 1
                    let late = random.chance(chance.reorder) ? random.below(chance.late) : 0
                    channel.append(
                        Frame(
                            bytes: bytes, meant: s, at: tick + chance.delay + late, order: order,
                            record: record))
                }
            }
            // What arrives now, and the acknowledgement it causes.
            let due = channel.filter { $0.at <= tick }.sorted {
                ($0.at, $0.order) < ($1.at, $1.order)
            }
            channel.removeAll { $0.at <= tick }
            for frame in due {
                guard
                    let (s, _, length) = try? pair.read(
                        frame.bytes, byInitiator: false, record: frame.record)
                else {
                    tally.refused += 1
                    continue
                }
                tally.read += 1
                if let what = difference(frame.meant, s) { Issue.record("\(what)") }
                let offset = pair.initiator.sendInitial.distance(to: s.sequence) - 1
                // Half units: retransmissions may begin in the middle of one.
                for half in stride(from: offset, to: offset + length, by: unit / 2) {
                    got.insert(half / (unit / 2))
                }
                while got.contains(inOrder) { inOrder += 1 }
            }
            if !due.isEmpty, !random.chance(chance.loss) {
                let bytes = pair.acknowledgement(of: inOrder * unit / 2)
                if let back = try? pair.carry(bytes, [], fromInitiator: false) {
                    let n =
                        pair.initiator.sendInitial.distance(to: back.segment.acknowledgement) - 1
                    base = max(base, n / unit)
                    tally.acknowledged = n
                }
            }
        }
        return tally
    }
}

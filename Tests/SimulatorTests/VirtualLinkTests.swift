import Buffers
import Measures
import Simulator
import Testing

/// A link with a pool, and what came out of it.
private final class Bench {
    let pool = PacketPool(slotSize: 2048, limit: 4096)
    let link: VirtualLink
    private let data = UnsafeMutableRawBufferPointer.allocate(byteCount: 2048, alignment: 8)
    deinit { data.deallocate() }
    var arrivals: [(at: Int64, count: Int)] = []

    init(_ conditions: LinkConditions, seed: UInt64 = 1, radio: Radio? = nil) {
        link = VirtualLink(conditions, pool: pool, seed: seed, radio: radio)
        data.initializeMemory(as: UInt8.self, repeating: 0xa5)
    }

    func offer(_ bytes: Int, at ns: Int64) {
        drain(before: ns)
        let packet = pool.packet(copying: UnsafeRawBufferPointer(rebasing: data[0..<bytes]))!
        link.offer(packet, at: Instant(nanoseconds: ns))
    }

    /// Collects everything due before `ns`, at its own time.
    func drain(before ns: Int64 = .max) {
        while link.nextDelivery.nanoseconds < ns {
            let now = link.nextDelivery
            while let packet = link.deliver(at: now) {
                arrivals.append((now.nanoseconds, packet.count))
            }
        }
    }
}

private let megabyteASecond = LinkConditions(
    rate: Rate(bytesPerSecond: 1_000_000),
    delay: .milliseconds(10), queueLimit: 5000)

@Suite struct VirtualLinkTests {
    @Test func timesAreExact() {
        let bench = Bench(megabyteASecond)
        for _ in 0..<4 { bench.offer(1000, at: 0) }  // 1 ms each on the line
        bench.offer(500, at: 20_000_000)
        bench.drain()
        #expect(
            bench.arrivals.map(\.at) == [11_000_000, 12_000_000, 13_000_000, 14_000_000, 30_500_000]
        )
        #expect(bench.pool.inUse == 0)
    }

    @Test func roundsUpToWholeNanoseconds() {
        let bench = Bench(
            LinkConditions(rate: Rate(bytesPerSecond: 3), delay: .zero, queueLimit: 10))
        bench.offer(1, at: 0)
        bench.drain()
        #expect(bench.arrivals.map(\.at) == [333_333_334])
    }

    @Test func dropsTheTail() {
        let bench = Bench(megabyteASecond)
        for _ in 0..<10 { bench.offer(1000, at: 0) }  // one on the line, five in the queue
        #expect(bench.link.backlog == 5000)
        bench.drain()
        #expect(bench.arrivals.count == 6)
        #expect(bench.link.statistics.droppedQueue == 4)
        #expect(bench.link.backlog == 0)
    }

    @Test func aChangedRateAppliesToWhatWaits() {
        let bench = Bench(megabyteASecond)
        for _ in 0..<3 { bench.offer(1000, at: 0) }
        bench.link.change(
            to: megabyteASecond.with { $0.rate = Rate(bytesPerSecond: 500_000) },
            at: Instant(nanoseconds: 500_000))
        bench.drain()
        #expect(bench.arrivals.map(\.at) == [11_000_000, 13_000_000, 15_000_000])
    }

    @Test func aShorterDelayDoesNotReorder() {
        let bench = Bench(megabyteASecond)
        bench.offer(1000, at: 0)
        bench.offer(100, at: 0)
        bench.drain(before: 1_050_000)
        bench.link.change(
            to: megabyteASecond.with { $0.delay = .zero }, at: Instant(nanoseconds: 1_050_000))
        bench.drain()
        #expect(bench.arrivals.map(\.count) == [1000, 100])
        #expect(bench.arrivals.map(\.at) == [11_000_000, 11_000_000])
    }

    @Test func blackHoleAndStall() {
        let bench = Bench(megabyteASecond)
        bench.offer(1000, at: 0)
        bench.offer(1000, at: 0)
        // The first has left the transmitter, the second is in it and vanishes.
        bench.link.change(
            to: megabyteASecond.with { $0.outage = .blackHole },
            at: Instant(nanoseconds: 1_500_000))
        bench.offer(1000, at: 3_000_000)
        bench.link.change(
            to: megabyteASecond.with { $0.outage = .stall },
            at: Instant(nanoseconds: 4_000_000))
        bench.offer(1000, at: 5_000_000)
        bench.drain(before: 20_000_000)
        bench.link.change(to: megabyteASecond, at: Instant(nanoseconds: 20_000_000))
        bench.drain()
        #expect(bench.arrivals.map(\.at) == [11_000_000, 31_000_000])
        #expect(bench.link.statistics.droppedOutage == 2)
    }

    @Test func clearDropsEverything() {
        let bench = Bench(megabyteASecond)
        for _ in 0..<4 { bench.offer(1000, at: 0) }
        bench.link.clear(at: Instant(nanoseconds: 1_500_000))
        #expect(bench.pool.inUse == 0)
        #expect(bench.link.nextDelivery == .distantFuture)
        bench.offer(1000, at: 2_000_000)
        bench.drain()
        #expect(bench.arrivals.map(\.at) == [13_000_000])
    }

    @Test func aSleepingRadioDelaysBothDirections() {
        let radio = Radio(sleepsAfter: .seconds(1), wakeTime: .milliseconds(500))
        let up = Bench(megabyteASecond, radio: radio), down = Bench(megabyteASecond, radio: radio)
        up.offer(1000, at: 0)
        down.offer(1000, at: 100_000_000)
        up.drain(before: 1_000_000_000)
        down.drain(before: 1_000_000_000)
        up.offer(1000, at: 1_000_000_000)  // still awake
        up.drain(before: 5_000_000_000)
        up.offer(1000, at: 5_000_000_000)  // asleep again
        up.drain()
        #expect(up.arrivals.map(\.at) == [511_000_000, 1_011_000_000, 5_511_000_000])
        #expect(down.arrivals.map(\.at) == [511_000_000])
        #expect(radio.wakeUps == 2)
    }

    @Test(arguments: [LinkConditions.Loss.random(0.1), .bursts(enter: 0.02, leave: 0.18, inside: 1)]
    )
    func losesTheShareItShould(_ loss: LinkConditions.Loss) {
        let bench = Bench(megabyteASecond.with { $0.loss = loss }, seed: 7)
        for i in 0..<20_000 { bench.offer(100, at: Int64(i) * 1_000_000) }
        bench.drain()
        let share = Double(bench.link.statistics.droppedLoss) / 20_000
        #expect(abs(share - 0.1) < 0.015, "lost \(share)")
        #expect(bench.pool.inUse == 0)
    }

    @Test func duplicatesReordersCorrupts() {
        let bench = Bench(
            megabyteASecond.with {
                $0.duplication = 0.1; $0.reordering = 0.1; $0.corruption = 0.1
            })
        for i in 0..<5000 { bench.offer(100 + i % 900, at: Int64(i) * 1_000_000) }
        bench.drain()
        let s = bench.link.statistics
        #expect(s.packetsDelivered == 5000 + s.duplicated)
        for n in [s.duplicated, s.reordered, s.corrupted] { #expect((400...600).contains(n)) }
        #expect(bench.pool.inUse == 0)
    }

    @Test func sameSeedSameFate() {
        func run(_ seed: UInt64) -> [Int64] {
            let bench = Bench(
                megabyteASecond.with {
                    $0.loss = .random(0.2); $0.reordering = 0.3
                },
                seed: seed)
            for i in 0..<500 { bench.offer(100, at: Int64(i) * 300_000) }
            bench.drain()
            return bench.arrivals.map(\.at)
        }
        #expect(run(3) == run(3))
        #expect(run(3) != run(4))
    }
}

@Suite struct StreamPatternTests {
    @Test func anyPieceIsTheSame() {
        let pattern = StreamPattern(key: 42)
        var whole = [UInt8](repeating: 0, count: 100)
        whole.withUnsafeMutableBytes { pattern.fill($0, from: 3) }
        for i in 0..<100 { #expect(whole[i] == pattern[UInt64(3 + i)]) }
        #expect(whole[5..<90].withUnsafeBytes { pattern.firstDifference($0, from: 8) } == nil)
        whole[77] ^= 1
        #expect(whole[5..<90].withUnsafeBytes { pattern.firstDifference($0, from: 8) } == 72)
    }
}

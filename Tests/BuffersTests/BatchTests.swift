import Buffers
import Measures
import Testing

private let here = IPAddress(v4: 0x0a00_0001)
private let there = SocketAddress(IPAddress(v4: 0xc000_0201), port: 443)

@Suite struct DatagramBatchTests {
    private func add(
        _ batch: DatagramBatch, _ length: Int, lane: Int = 0, uplink: Int = 0,
        remote: SocketAddress = there,
        local: IPAddress = here, mark: UInt8 = 0
    ) -> Bool {
        guard let room = batch.reserve(lane: lane) else { return false }
        room.initializeMemory(as: UInt8.self, repeating: mark, count: length)
        batch.commit(
            lane: lane, length: length, uplink: UplinkNumber(uplink), remote: remote, local: local)
        return true
    }

    /// (segment size, datagrams, length) of every run.
    private func shape(_ batch: DatagramBatch) -> [[Int]] {
        batch.runs.map { [$0.segmentSize, $0.datagrams, $0.length] }
    }

    @Test func equalSizesAreOneRunAndAShorterOneEndsIt() {
        let batch = DatagramBatch()
        for length in [1_400, 1_400, 1_400, 900, 900, 1_400] { #expect(add(batch, length)) }
        #expect(shape(batch) == [[1_400, 4, 5_100], [900, 1, 900], [1_400, 1, 1_400]])
        #expect(batch.runs.map(\.offset) == [0, 5_100, 6_000])
    }

    @Test func whatDiffersStartsARun() {
        let batch = DatagramBatch()
        #expect(
            add(batch, 100) && add(batch, 100, uplink: 1)
                && add(batch, 100, uplink: 1, local: .unspecifiedV4))
        #expect(
            add(
                batch, 100, uplink: 1, remote: SocketAddress(there.address, port: 444),
                local: .unspecifiedV4))
        #expect(shape(batch) == Array(repeating: [100, 1, 100], count: 4))
        batch.removeAll()
        #expect(batch.isEmpty && add(batch, 100) && batch.runs[0].offset == 0)
    }

    /// The kernel asks for the first of a run alone which process it is for.
    @Test func aRunIsForOneReceiver() {
        let batch = DatagramBatch(receiverBits: 0x00c0_00f0)
        for head in [
            [0x40, 0, 0x05], [0x41, 7, 0x3f], [0x40, 0, 0x45], [0x40, 0, 0x85], [0x40, 0, 0x85],
            [0x10, 0, 0x85]
        ] as [[UInt8]] {
            let room = batch.reserve(lane: 0)!
            room.initializeMemory(as: UInt8.self, repeating: 0, count: 100)
            room.copyMemory(from: head, byteCount: 3)
            batch.commit(lane: 0, length: 100, uplink: 0, remote: there, local: here)
        }
        #expect(
            shape(batch) == [[100, 2, 200], [100, 1, 100], [100, 2, 200], [100, 1, 100]])
    }

    @Test func lanesDoNotMix() {
        let batch = DatagramBatch()
        for _ in 0..<3 {
            for lane in 0..<DatagramBatch.laneCount {
                #expect(add(batch, 50, lane: lane, uplink: lane))
            }
        }
        #expect(shape(batch) == Array(repeating: [50, 3, 150], count: DatagramBatch.laneCount))
        #expect(
            batch.runs.map(\.offset) == (0..<DatagramBatch.laneCount).map { $0 * batch.laneBytes })
    }

    @Test func runsKeepTheKernelsLimits() {
        let small = DatagramBatch(laneBytes: 1 << 20)
        for _ in 0..<130 { #expect(add(small, 64)) }
        #expect(shape(small) == [[64, 64, 4_096], [64, 64, 4_096], [64, 2, 128]])
        let large = DatagramBatch(laneBytes: 1 << 20)
        for _ in 0..<60 { #expect(add(large, 1_472)) }
        #expect(shape(large) == [[1_472, 44, 64_768], [1_472, 16, 23_552]])
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func everyDatagramLiesInItsRun(_ seed: UInt64) {
        var random = SeededRandom(seed: seed),
            expected = [[[UInt8]]](repeating: [], count: DatagramBatch.laneCount)
        let batch = DatagramBatch(laneBytes: 16 << 10)
        for i in 0..<400 {
            let lane = Int(random.next() % 8)
            let length = random.next() % 3 == 0 ? Int(random.next() % 2_048) + 1 : 700
            if add(batch, length, lane: lane, uplink: lane, mark: UInt8(i & 255)) {
                expected[lane].append([UInt8](repeating: UInt8(i & 255), count: length))
            } else {
                #expect(
                    expected[lane].reduce(0) { $0 + $1.count } > batch.laneBytes
                        - DatagramBatch.maximumDatagram)
            }
        }
        var found = [[[UInt8]]](repeating: [], count: DatagramBatch.laneCount)
        for run in batch.runs {
            var at = 0
            for _ in 0..<run.datagrams {
                let length = min(run.segmentSize, run.length - at)
                found[run.uplink.value].append(
                    Array(
                        UnsafeRawBufferPointer(start: batch.arena + run.offset + at, count: length))
                )
                at += length
            }
            #expect(at == run.length)
        }
        #expect(found == expected)
    }
}

@Suite struct PacketPoolTests {
    @Test func slotsComeBackByThemselves() {
        let pool = PacketPool(slotSize: 64, limit: 256)
        let bytes = [UInt8](0..<64)
        bytes.withUnsafeBytes { bytes in
            let one = pool.packet(copying: bytes)!
            let empty = pool.packet(copying: UnsafeRawBufferPointer(start: nil, count: 0))!
            #expect(pool.inUse == 2 && one.count == 64 && empty.count == 0)
            #expect(Array(one.bytes) == Array(bytes))
        }
        #expect(pool.inUse == 0)
    }

    @Test func limits() {
        let pool = PacketPool(slotSize: 64, limit: 256)
        [UInt8](repeating: 0, count: 65).withUnsafeBytes { bytes in
            let tooLong = pool.packet(copying: bytes)
            let refused = isNone(tooLong)
            #expect(refused)
        }
        withPackets(256, pool) {
            [1].withUnsafeBytes { bytes in
                let oneTooMany = pool.packet(copying: bytes)
                let refused = isNone(oneTooMany)
                #expect(refused)
            }
            #expect(pool.inUse == 256)
        }
        #expect(pool.inUse == 0)
    }

    private func isNone(_ packet: borrowing Packet?) -> Bool {
        switch packet {
        case .some: false
        case .none: true
        }
    }

    /// Holds `n` packets while `body` runs.
    private func withPackets(_ n: Int, _ pool: PacketPool, _ body: () -> Void) {
        if n == 0 { return body() }
        [1].withUnsafeBytes { bytes in
            let held = pool.packet(copying: bytes)
            withPackets(n - 1, pool, body)
            _ = consume held
        }
    }
}

import Buffers
import Measures
import Testing

@testable import Wire

@Suite struct RawSegmentTests {
    static let v4 = (IPAddress(v4: 0x0a00_0001), IPAddress(v4: 0xc000_0205))
    static let v6 = (IPAddress("2001:db8::1")!, IPAddress("2001:db8::9")!)

    static func write(
        _ s: Segment, _ payload: [UInt8], isIPv4: Bool, splitAt: Int = 0,
        capacity: Int = 4096
    ) -> [UInt8]? {
        var out = [UInt8](repeating: 0xee, count: capacity + 64)
        let (from, to) = isIPv4 ? v4 : v6
        let n = out.withUnsafeMutableBytes { buffer in
            Pieces.of(payload, splitAt: splitAt) { pieces in
                RawSegment.write(
                    s, payload: pieces, from: from, to: to, into: buffer.baseAddress!,
                    capacity: capacity)
            }
        }
        guard let n else { return nil }
        if !out[n...].allSatisfy({ $0 == 0xee }) { Issue.record("written beyond the packet") }
        return Array(out[..<n])
    }

    static func read(
        _ packet: some Collection<UInt8>
    ) throws -> (
        Segment, payload: [UInt8],
        IPAddress, IPAddress
    ) {
        let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: packet.count, alignment: 1)
        defer { exact.deallocate() }
        exact.copyBytes(from: packet)
        var s = Segment()
        let result = try RawSegment.read(UnsafeRawBufferPointer(exact), into: &s)
        return (s, Array(exact[result.payload]), result.from, result.to)
    }

    @Test func randomSegmentsComeBack() throws {
        var random = SeededRandom(seed: 1)
        var written = 0
        for _ in 0..<2000 {
            let s = random.segment(maximumOptions: 3)
            let payload = random.bytes(random.below(100)), isIPv4 = random.chance(0.5)
            guard
                let packet = Self.write(
                    s, payload, isIPv4: isIPv4,
                    splitAt: random.below(payload.count + 1))
            else {
                #expect(s.options.tightOctets > 40)
                continue
            }
            written += 1
            let back = try Self.read(packet)
            #expect(difference(s, back.0) == nil)
            #expect(back.payload == payload)
            #expect((back.2, back.3) == (isIPv4 ? Self.v4 : Self.v6))
        }
        #expect(written > 1200)
    }

    @Test func everyPrefixIsRefused() {
        var random = SeededRandom(seed: 2)
        for _ in 0..<100 {
            let s = random.segment(maximumOptions: 2)
            guard
                let packet = Self.write(
                    s, random.bytes(random.below(20)),
                    isIPv4: random.chance(0.5))
            else {
                continue
            }
            for n in packet.indices {
                #expect(throws: WireError.truncated) { try Self.read(packet[..<n]) }
            }
        }
    }

    @Test func everyFlippedBitOfAnIPv4PacketIsNoticed() throws {
        var random = SeededRandom(seed: 3)
        let s = random.segment(maximumOptions: 0)
        let packet = try #require(Self.write(s, random.bytes(11), isIPv4: true))
        for bit in 0..<packet.count * 8 {
            var damaged = packet
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: WireError.self) { try Self.read(damaged) }
        }
    }

    @Test func rubbishNeverTraps() {
        var random = SeededRandom(seed: 4)
        for _ in 0..<20_000 {
            var packet = random.bytes(random.below(120))
            if packet.count > 10, random.chance(0.9) {
                packet[0] = random.chance(0.5) ? 0x45 : 0x60
                packet[9] = 6
                packet[6] = random.chance(0.5) ? 6 : [0, 43, 60][random.below(3)]
                packet[4] = 0
            }
            _ = try? Self.read(packet)
        }
    }

    @Test func aSYNAsLinuxWritesIt() throws {
        var s = Segment()
        s.flags = .syn
        s.options.maximumSegmentSize = 1460
        s.options.windowScale = 7
        s.options.timestamps = Timestamps(value: 1, echo: 0)
        s.options.present = [
            .maximumSegmentSize, .windowScale, .timestamps, .sackPermitted,
            .multipathCapable
        ]
        let packet = try #require(Self.write(s, [], isIPv4: true))
        #expect(
            hex(packet[40...]) == "020405b4" + "0402080a0000000100000000" + "01030307" + "1e040101")
    }

    /// What Linux wrote is read, and written again byte by byte the same behind the IP header.
    @Test func packetsOfLinuxAreWrittenAsLinuxWritesThem() throws {
        let packets = try vectorLines("linux-packets.txt")
        #expect(packets.count > 10)
        for line in packets {
            let packet = unhex(line)
            let (segment, payload, from, to) = try Self.read(packet)
            var out = [UInt8](repeating: 0, count: 2000)
            let n = out.withUnsafeMutableBytes { buffer in
                Pieces.of(payload) {
                    RawSegment.write(
                        segment, payload: $0, from: from, to: to,
                        into: buffer.baseAddress!, capacity: 2000)
                }
            }
            #expect(hex(out[20..<(n ?? 20)]) == hex(packet[20...]))
        }
    }

    @Test func optionsArePackedTighterWhenTheyMust() throws {
        // Timestamps padded 12, DSS with everything 28, MP_PRIO 4: 44 padded, 41 tight; without the
        // checksum 39.
        var s = Segment()
        s.flags = .ack
        s.options.timestamps = Timestamps(value: 1, echo: 2)
        s.options.dss = try OptionVector.named("dss-all").dss
        s.options.present = [.timestamps, .dss, .priority]
        #expect(Self.write(s, [], isIPv4: true) == nil)
        s.options.dss.mapping?.checksum = nil
        #expect(s.options.octets() == 44)
        let packet = try #require(Self.write(s, [1, 2, 3], isIPv4: true))
        #expect(packet.count == 20 + 60 + 3)
        #expect(difference(s, try Self.read(packet).0) == nil)
    }

    @Test func anIPv6AdvertisementWithPortDoesNotFitBesideAWideDataAcknowledgement() throws {
        var s = Segment()
        s.flags = .ack
        s.options.addAddress = try OptionVector.named("add-v6-port").addAddress
        s.options.dss = try OptionVector.named("dss-ack-8").dss
        s.options.present = [.dss, .addAddress]
        #expect(s.options.octets() == 44 && Self.write(s, [], isIPv4: false) == nil)
    }

    @Test func capacityAndFamiliesAreKept() {
        let s = Segment()
        #expect(Self.write(s, [], isIPv4: true, capacity: 39) == nil)
        #expect(Self.write(s, [], isIPv4: true, capacity: 40)?.count == 40)
        var room = [UInt8](repeating: 0, count: 200)
        #expect(
            room.withUnsafeMutableBytes {
                RawSegment.write(
                    s, payload: .empty, from: Self.v4.0, to: Self.v6.1,
                    into: $0.baseAddress!, capacity: 200)
            } == nil)
    }

    @Test func extensionHeadersAreSkippedAndFragmentsRefused() throws {
        let packet = try #require(Self.write(Segment(), [9, 9], isIPv4: false))
        for kind: UInt8 in [0, 43, 60] {
            var longer =
                Array(packet[..<40]) + [6, 1] + [UInt8](repeating: 0, count: 14) + packet[40...]
            longer[6] = kind
            longer[5] += 16
            #expect(try Self.read(longer).payload == [9, 9])
        }
        var fragment = Array(packet[..<40]) + [6, 0, 0, 1, 0, 0, 0, 1] + packet[40...]
        fragment[6] = 44
        fragment[5] += 8
        #expect(throws: WireError.fragment) { try Self.read(fragment) }
    }
}

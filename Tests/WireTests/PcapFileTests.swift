import Buffers
import Measures
import Testing

@testable import Wire

@Suite struct PcapFileTests {
    /// The packets of one record as segments.
    static func packets(_ s: Segment, _ payload: [UInt8]) throws -> [(Segment, payload: [UInt8])] {
        let room = PcapFile.maximumOctets(payloadLength: payload.count)
        var out = [UInt8](repeating: 0, count: room)
        let n = out.withUnsafeMutableBytes { buffer in
            Pieces.of(payload) {
                PcapFile.write(
                    s, payload: $0, from: RawSegmentTests.v6.0,
                    to: RawSegmentTests.v6.1, at: 1_700_000_000_123_456_789,
                    into: buffer.baseAddress!, capacity: room)
            }
        }
        var rest = out[..<(try #require(n))]
        var packets: [(Segment, payload: [UInt8])] = []
        while !rest.isEmpty {
            let head = Array(rest.prefix(16))
            #expect(hex(head[0..<8]) == "00f15365" + "15cd5b07")
            let length = Int(head[8]) | Int(head[9]) << 8
            #expect(head[8..<12] == head[12..<16])
            let read = try RawSegmentTests.read(rest.dropFirst(16).prefix(length))
            packets.append((read.0, read.payload))
            rest = rest.dropFirst(16 + length)
        }
        return packets
    }

    @Test func theHeaderIsNanosecondPcapOfRawIP() {
        #expect(
            hex(PcapFile.header) == "4d3cb2a1" + "02000400" + "0000000000000000" + "ffff0000"
                + "65000000")
    }

    @Test func whatFitsIsOnePacket() throws {
        var s = Segment()
        s.flags = .ack
        s.options.dss = try OptionVector.named("dss-ack-8-map-8").dss
        s.options.present = .dss
        let packets = try Self.packets(s, Array("hello".utf8))
        #expect(packets.count == 1 && packets[0].payload == Array("hello".utf8))
        #expect(difference(s, packets[0].0) == nil)
    }

    @Test func whatDoesNotFitIsSplitAndNothingIsLost() throws {
        var random = SeededRandom(seed: 21)
        for _ in 0..<3000 {
            let s = random.segment(maximumOptions: 10)
            let payload = random.bytes(random.below(50))
            let packets = try Self.packets(s, payload)
            #expect(packets.count <= 5)
            if packets.count == 1, s.options.fitsHeader { continue }
            var merged = s
            merged.options = SegmentOptions()
            for (packet, _) in packets { merged.options.merge(packet.options) }
            // MP_CAPABLE beside MP_JOIN on one SYN has no meaning; of the two the capture keeps
            // one.
            guard
                !(s.flags.contains(.syn)
                    && s.options.present.isSuperset(of: [.multipathCapable, .join]))
            else { continue }
            #expect(difference(s, merged) == nil)
            #expect(
                packets.filter { !$0.payload.isEmpty }.map(\.payload)
                    == (payload.isEmpty ? [] : [payload]))
            #expect(
                packets.filter { $0.0.flags.contains(.syn) }.count
                    == (s.flags.contains(.syn) ? 1 : 0))
        }
    }

    @Test func dataOnACrowdedSYNFollowsIt() throws {
        var s = Segment()
        s.flags = [.syn, .ack]
        s.sequence = SubflowSequence(.max)
        s.options.multipathCapable = try OptionVector.named("capable-syn-ack").multipathCapable
        s.options.dss = try OptionVector.named("dss-ack-4-map-4").dss
        s.options.present = [
            .maximumSegmentSize, .windowScale, .sackPermitted, .timestamps,
            .multipathCapable, .dss
        ]
        let packets = try Self.packets(s, [1, 2, 3, 4, 5])
        try #require(packets.count == 2)
        #expect(packets[0].payload == [] && packets[1].payload == [1, 2, 3, 4, 5])
        #expect(
            packets[1].0.sequence.value == 0 && packets[1].0.flags == .ack
                && packets[1].0.options.present == .dss)
    }
}

@Suite struct PcapRecorderTests {
    @Test func earlyDataFollowsTheFirstKey() throws {
        var recorder = PcapRecorder(), shown: [(Segment, payload: [UInt8])] = []
        let a = RawSegmentTests.v4.0, b = RawSegmentTests.v4.1
        func record(_ s: Segment, _ payload: String, fromInitiator: Bool) {
            Pieces.of(Array(payload.utf8)) { pieces in
                recorder.record(
                    s, payload: pieces, from: fromInitiator ? a : b,
                    to: fromInitiator ? b : a, at: 5
                ) { bytes in
                    guard let read = try? RawSegmentTests.read(Array(bytes.dropFirst(16))) else {
                        return
                    }
                    shown.append((read.0, read.payload))
                }
            }
        }
        func segment(
            _ flags: ControlBits, _ sequence: UInt32, ports: (UInt16, UInt16),
            _ kinds: SegmentOptions.Kinds
        ) -> Segment {
            var s = Segment()
            (s.sourcePort, s.destinationPort) = ports
            s.flags = flags
            s.sequence = SubflowSequence(sequence)
            s.options.present = kinds
            s.options.dss = (try? OptionVector.named("dss-map-4").dss) ?? DSS()
            if flags == [.syn, .ack] {
                s.options.multipathCapable.senderKey = 7
                s.acknowledgement = SubflowSequence(107)
            }
            return s
        }
        let out: (UInt16, UInt16) = (5000, 443), back: (UInt16, UInt16) = (443, 5000)
        record(
            segment(.syn, 100, ports: out, [.multipathCapable, .dss]), "one", fromInitiator: true)
        record(segment([], 104, ports: out, .dss), "two", fromInitiator: true)
        record(
            segment(.syn, 100, ports: out, [.multipathCapable, .dss]), "one", fromInitiator: true)
        record(segment(.ack, 9, ports: (5002, 443), .dss), "other", fromInitiator: true)
        record(
            segment([.syn, .ack], 900, ports: back, [.multipathCapable, .dss]), "",
            fromInitiator: false)
        record(segment(.ack, 107, ports: out, .dss), "three", fromInitiator: true)
        #expect(
            shown.map { String(decoding: $0.payload, as: UTF8.self) } == [
                "", "", "other", "", "one", "two", "", "three"
            ])
        #expect(shown[0].0.options.present == .multipathCapable && shown[0].0.sequence.value == 100)
        #expect(
            shown[4].0.sequence.value == 101 && shown[4].0.flags == .ack
                && shown[4].0.acknowledgement.value == 901)
        #expect(
            shown[3].0.options.present == .multipathCapable
                && shown[3].0.acknowledgement.value == 101)
        #expect(
            shown[6].0.sequence.value == 901 && shown[6].0.acknowledgement.value == 107
                && shown[6].0.flags == .ack)
        #expect(shown[5].0.flags == .ack && shown[5].0.options.present == .dss)
    }
}

extension SegmentOptions {
    /// Takes over what another segment of the same record says.
    mutating func merge(_ other: SegmentOptions) {
        let p = other.present
        if p.contains(.maximumSegmentSize) { maximumSegmentSize = other.maximumSegmentSize }
        if p.contains(.windowScale) { windowScale = other.windowScale }
        if p.contains(.timestamps) { timestamps = other.timestamps }
        if p.contains(.sack) { sack = other.sack }
        if p.contains(.multipathCapable) { multipathCapable = other.multipathCapable }
        if p.contains(.join) { join = other.join }
        if p.contains(.dss) { dss = other.dss }
        if p.contains(.addAddress) { addAddress = other.addAddress }
        if p.contains(.removeAddress) { removeAddress = other.removeAddress }
        if p.contains(.priority) { priority = other.priority }
        if p.contains(.fail) { fail = other.fail }
        if p.contains(.fastClose) { fastClose = other.fastClose }
        if p.contains(.reset) { reset = other.reset }
        present.formUnion(p)
    }
}

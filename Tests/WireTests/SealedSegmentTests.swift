import Buffers
import Measures
import Testing

@testable import Wire

/// Both ends of one subflow, with the SYNs already exchanged unless told otherwise.
struct SealedPair {
    var initiator: SealedContext
    var listener: SealedContext
    static let number: UInt16 = 49_152

    init(initialSequences: (UInt32, UInt32)? = (1_000, 4_294_967_000)) {
        initiator = SealedContext(number: Self.number, isInitiator: true)
        listener = SealedContext(number: Self.number, isInitiator: false)
        guard let (a, b) = initialSequences else { return }
        var syn = Segment()
        syn.flags = .syn
        syn.sequence = SubflowSequence(a)
        var answer = Segment()
        answer.flags = [.syn, .ack]
        answer.sequence = SubflowSequence(b)
        answer.acknowledgement = SubflowSequence(a) + 1
        _ = try? carry(syn, [], fromInitiator: true)
        _ = try? carry(answer, [], fromInitiator: false)
    }

    mutating func write(
        _ s: Segment, _ payload: [UInt8], runsToEnd: Bool = true,
        fromInitiator: Bool
    ) -> [UInt8] {
        var out = [UInt8](repeating: 0xee, count: SealedSegment.maximumHead + 32)
        let n = out.withUnsafeMutableBytes { buffer in
            fromInitiator
                ? SealedSegment.write(
                    s, payloadLength: payload.count, runsToEnd: runsToEnd,
                    context: &initiator, into: buffer.baseAddress!)
                : SealedSegment.write(
                    s, payloadLength: payload.count, runsToEnd: runsToEnd,
                    context: &listener, into: buffer.baseAddress!)
        }
        if n > SealedSegment.maximumHead || !out[n...].allSatisfy({ $0 == 0xee }) {
            Issue.record("written beyond the head")
        }
        return Array(out[..<n]) + payload
    }

    mutating func read(
        _ frame: some Collection<UInt8>,
        byInitiator: Bool, record: UInt64? = nil
    ) throws -> (Segment, head: Int, payload: Int) {
        let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: frame.count, alignment: 1)
        defer { exact.deallocate() }
        exact.copyBytes(from: frame)
        var s = Segment()
        let result =
            byInitiator
            ? try SealedSegment.read(
                UnsafeRawBufferPointer(exact), context: &initiator, record: record, into: &s)
            : try SealedSegment.read(
                UnsafeRawBufferPointer(exact), context: &listener, record: record, into: &s)
        return (s, result.headLength, result.payloadLength)
    }

    /// Writes at one end and reads at the other.
    mutating func carry(
        _ s: Segment, _ payload: [UInt8], runsToEnd: Bool = true, fromInitiator: Bool
    ) throws
        -> (segment: Segment, frame: [UInt8], head: Int, payload: Int)
    {
        let frame = write(s, payload, runsToEnd: runsToEnd, fromInitiator: fromInitiator)
        let (back, head, length) = try read(
            frame + (runsToEnd ? [] : [0x01, 0x02]),
            byInitiator: !fromInitiator)
        if head + length != frame.count {
            Issue.record("\(head) + \(length) bytes of \(frame.count)")
        }
        return (back, frame, head, length)
    }

    /// A data segment of the initiator `offset` bytes behind its SYN.
    func data(
        _ offset: Int, _ length: Int, ack: Int = 1, window: UInt16 = 500,
        dataAck: UInt64? = 77
    ) -> Segment {
        var s = Segment()
        s.sourcePort = Self.number
        s.destinationPort = 443
        s.sequence = initiator.sendInitial + 1 + offset
        s.acknowledgement = listener.sendInitial + ack
        s.flags = .ack
        s.window = window
        s.options.present = .dss
        if let dataAck {
            s.options.dss.acknowledgement = DataSequence(dataAck)
            s.options.dss.acknowledgementWidth = .four
        }
        guard length > 0 else { return s }
        var mapping = DSS.Mapping()
        mapping.dataSequence = DataSequence(UInt64(5_000_000 + offset))
        mapping.width = .four
        mapping.subflowSequence = UInt32(truncatingIfNeeded: 1 + offset)
        mapping.length = UInt16(length)
        s.options.dss.mapping = mapping
        return s
    }

    /// A bare acknowledgement of the listener for `n` bytes of the initiator's data.
    func acknowledgement(of n: Int) -> Segment {
        var s = Segment()
        s.sourcePort = 443
        s.destinationPort = Self.number
        s.sequence = listener.sendInitial + 1
        s.acknowledgement = initiator.sendInitial + 1 + n
        s.flags = .ack
        s.window = 900
        s.options.present = .dss
        s.options.dss.acknowledgement = DataSequence(UInt64(5_000_000 + n))
        s.options.dss.acknowledgementWidth = .four
        return s
    }
}

@Suite struct SealedSegmentTests {
    @Test func aBulkSegmentLeavesRoomFor1436Bytes() throws {
        var pair = SealedPair()
        let payload = [UInt8](repeating: 5, count: 1000)
        let first = try pair.carry(pair.data(0, 1000), payload, fromInitiator: true)
        #expect(first.head == SealedSegment.explicitHead)
        _ = try pair.carry(pair.acknowledgement(of: 1000), [], fromInitiator: false)
        let second = try pair.carry(pair.data(1000, 1000), payload, fromInitiator: true)
        #expect(second.head == SealedSegment.bulkHead)
        #expect(difference(pair.data(1000, 1000), second.segment) == nil)
        // IPv4, UDP, the datagram's clear header, this head, the tag.
        #expect(20 + 8 + 8 + second.head + 16 <= 64)
    }

    @Test func pureAcknowledgementsAreSmall() throws {
        var pair = SealedPair()
        #expect(
            try pair.carry(pair.acknowledgement(of: 9), [], runsToEnd: false, fromInitiator: false)
                .head == 19)
        var s = pair.acknowledgement(of: 10_000)
        for i in 0..<3 {
            let start = s.acknowledgement + 1400 * (2 * i + 1)
            s.options.sack.append(SACKBlocks.Block(start: start, end: start + 1400))
        }
        s.options.present.insert(.sack)
        let back = try pair.carry(s, [], runsToEnd: false, fromInitiator: false)
        #expect(back.head <= 19 + 13)
        #expect(difference(s, back.segment) == nil)
    }

    @Test func randomSegmentsComeBack() throws {
        var random = SeededRandom(seed: 11)
        for _ in 0..<3_000 {
            var pair =
                random.chance(0.8)
                ? SealedPair(initialSequences: (random.word(), random.word()))
                : SealedPair(initialSequences: nil)
            var s = random.segment(maximumOptions: 14)
            let fromInitiator = random.chance(0.5)
            (s.sourcePort, s.destinationPort) =
                fromInitiator ? (SealedPair.number, 443) : (443, SealedPair.number)
            let payload = random.bytes([0, 1, 255, 256, 1500][random.below(5)])
            for runsToEnd in [true, false] {
                let back = try pair.carry(
                    s, payload, runsToEnd: runsToEnd, fromInitiator: fromInitiator)
                #expect(difference(s, back.segment) == nil)
                #expect(back.payload == payload.count)
            }
        }
    }

    @Test func randomCompactShapesComeBack() throws {
        var random = SeededRandom(seed: 12)
        for _ in 0..<3_000 {
            var pair = SealedPair(initialSequences: (random.word(), random.word()))
            let length = random.chance(0.5) ? 0 : 1 + random.below(1500)
            let hasDataAck = random.chance(0.8) || length == 0
            var s = pair.data(
                Int(random.word(UInt32.self)), length, ack: Int(random.word(UInt32.self)),
                window: random.word(), dataAck: hasDataAck ? random.word() : nil)
            if random.chance(0.3) { s.flags.insert(.psh) }
            if random.chance(0.3) {
                s.options.sack = random.sackBlocks()
                s.options.present.insert(.sack)
            }
            if random.chance(0.1), length > 0 { s.options.dss.mapping?.length &+= 1 }
            if random.chance(0.1), length == 0 { s.options.present = [] }
            s.options.dss.mapping?.subflowSequence =
                s.sequence.value &- pair.initiator.sendInitial.value
            let back = try pair.carry(
                s, random.bytes(length), runsToEnd: random.chance(0.5),
                fromInitiator: true)
            #expect(difference(s, back.segment) == nil)
        }
    }

    @Test func everyPrefixOfAHeadIsRefused() throws {
        var random = SeededRandom(seed: 13)
        for round in 0..<300 {
            var pair = SealedPair()
            var s = random.segment(maximumOptions: 4)
            if round & 1 == 0 {
                s = pair.data(0, 40)
                if random.chance(0.5) {
                    s.options.sack = random.sackBlocks()
                    s.options.present.insert(.sack)
                }
            }
            let payload = round & 1 == 0 ? [UInt8](repeating: 1, count: 40) : []
            let frame = pair.write(s, payload, runsToEnd: false, fromInitiator: true)
            for n in frame.indices {
                #expect(throws: WireError.self) { try pair.read(frame[..<n], byInitiator: false) }
            }
        }
    }

    @Test func rubbishNeverTraps() {
        var random = SeededRandom(seed: 14)
        var pair = SealedPair()
        for _ in 0..<20_000 {
            var frame = random.bytes(random.below(60))
            if frame.count >= 3, random.chance(0.95) {
                frame[0] |= 0x80
                frame[1] = UInt8(SealedPair.number >> 8)
                frame[2] = UInt8(SealedPair.number & 255)
            }
            frame.withUnsafeBytes { bytes in
                _ = SealedSegment.peekNumber(bytes)
                _ = SealedSegment.isInitialSYN(bytes)
            }
            _ = try? pair.read(frame, byInitiator: random.chance(0.5))
        }
    }

    @Test func peeking() {
        var pair = SealedPair(initialSequences: nil)
        var syn = Segment()
        syn.flags = .syn
        for (payload, runsToEnd) in [
            ([UInt8](), true), ([1, 2], false), ([1, 2], true),
            ([UInt8](repeating: 0, count: 300), false)
        ] {
            let frame = pair.write(syn, payload, runsToEnd: runsToEnd, fromInitiator: true)
            #expect(frame.withUnsafeBytes { SealedSegment.isInitialSYN($0) })
            #expect(frame.withUnsafeBytes { SealedSegment.peekNumber($0) } == SealedPair.number)
        }
        syn.flags = [.syn, .ack]
        let answer = pair.write(syn, [], fromInitiator: false)
        #expect(answer.withUnsafeBytes { !SealedSegment.isInitialSYN($0) })
        #expect([0x7f, 0, 1].withUnsafeBytes { SealedSegment.peekNumber($0) } == nil)
    }

    @Test func whatIsNotKnownIsRefused() throws {
        var pair = SealedPair()
        let frame = pair.write(pair.data(0, 4), [1, 2, 3, 4], fromInitiator: true)
        var fresh = SealedPair(initialSequences: nil)
        #expect(throws: WireError.unknownInitialSequence) {
            try fresh.read(frame, byInitiator: false)
        }
        var other = SealedPair()
        other.listener = SealedContext(number: 7, isInitiator: false)
        #expect(throws: WireError.wrongSubflow) { try other.read(frame, byInitiator: false) }
        var referring = frame
        referring[0] |= 3
        #expect(throws: WireError.unknownReference) { try pair.read(referring, byInitiator: false) }
    }

    /// A head that makes the frame longer than its payload promises takes a second byte of length.
    @Test func everyLengthIsPassedOver() throws {
        for length in Array(0..<300) + [1_500, 32_000] {
            var pair = SealedPair()
            let payload = [UInt8](repeating: 9, count: length)
            for s in [pair.data(0, length), pair.data(length, length)] {
                let frame = pair.write(s, payload, runsToEnd: false, fromInitiator: true)
                let rest = frame.count - 4 - (frame[3] < 0x80 ? 0 : 1)
                #expect((frame[3] < 0x80) == (rest < 0x80))
                #expect(
                    (frame + [1, 2]).withUnsafeBytes { SealedSegment.extent($0) } == frame.count)
                let (back, _, n) = try pair.read(frame + [1, 2], byInitiator: false)
                #expect(n == length && difference(s, back) == nil)
            }
        }
    }

    @Test func theContextIsSmall() { #expect(MemoryLayout<SealedContext>.size <= 128) }
}

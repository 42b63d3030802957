import Buffers
import Crypto
import Glibc
import Measures
import Wire

private let payloadBytes = 1400

/// A full data segment with its acknowledgement, as a bulk transfer sends them.
private func bulkSegment(_ i: Int) -> Segment {
    var s = Segment()
    s.sourcePort = 40_000
    s.destinationPort = 443
    s.flags = [.ack]
    s.sequence = SubflowSequence(UInt32(truncatingIfNeeded: 1001 + i * payloadBytes))
    s.acknowledgement = SubflowSequence(5001)
    s.window = 8000
    s.options.present = [.dss]
    s.options.dss.acknowledgement = DataSequence(77)
    s.options.dss.acknowledgementWidth = .four
    var mapping = DSS.Mapping()
    mapping.dataSequence = DataSequence(UInt64(1 + i * payloadBytes))
    mapping.width = .four
    mapping.subflowSequence = UInt32(truncatingIfNeeded: 1 + i * payloadBytes)
    mapping.length = UInt16(payloadBytes)
    s.options.dss.mapping = mapping
    return s
}

/// Writing and reading one segment in both encodings.
enum CodecBenchmark {
    static func run() -> [Figure] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
        let source = UnsafeMutableRawBufferPointer.allocate(byteCount: payloadBytes, alignment: 64)
        defer { buffer.deallocate(); source.deallocate() }
        source.initializeMemory(as: UInt8.self, repeating: 7)
        let payload = Pieces(
            first: UnsafeRawBufferPointer(source),
            second: UnsafeRawBufferPointer(start: nil, count: 0))
        let out = buffer.baseAddress!
        var figures: [Figure] = []

        var sender = SealedContext(number: 40_000, isInitiator: true),
            receiver = SealedContext(number: 40_000, isInitiator: false)
        shakeHands(&sender, &receiver, out)
        var segment = bulkSegment(0), read = Segment(), failures = 0
        // First as in the first round trip, everything said; then as in a bulk transfer, after the
        // peer has acknowledged a segment that said it.
        for name in ["said", "unchanged"] {
            var head = 0
            figures.append(
                Figure(
                    name: "sealed segment, write head, fields \(name)",
                    value: nanoseconds(count: 200_000) { i in
                        segment.sequence = SubflowSequence(
                            UInt32(truncatingIfNeeded: 1001 + i * payloadBytes))
                        segment.options.dss.mapping!.dataSequence = DataSequence(
                            UInt64(1 + i * payloadBytes))
                        segment.options.dss.mapping!.subflowSequence = UInt32(
                            truncatingIfNeeded: 1 + i * payloadBytes)
                        head = SealedSegment.write(
                            segment, payloadLength: payloadBytes, runsToEnd: true,
                            context: &sender, into: out)
                    }, unit: "ns"))
            let frame = UnsafeRawBufferPointer(start: out, count: head + payloadBytes)
            figures.append(
                Figure(
                    name: "sealed segment, read head, fields \(name)",
                    value: nanoseconds(count: 200_000) { _ in
                        do {
                            _ = try SealedSegment.read(frame, context: &receiver, into: &read)
                        } catch {
                            failures += 1
                        }
                    }, unit: "ns"))
            precondition(failures == 0, "the sealed segment can't be read")
            figures.append(
                Figure(
                    name: "sealed segment, head on the line, fields \(name)", value: Double(head),
                    unit: "bytes",
                    aim: "≤ \(name == "said" ? SealedSegment.explicitHead : 12)"))
            acknowledge(segment, from: &receiver, to: &sender, out)
        }

        let from = IPAddress(v4: 0x0a00_0001), to = IPAddress(v4: 0x0a00_0002)
        var length = 0
        figures.append(
            Figure(
                name: "raw segment of 1400 bytes with checksum, write",
                value: nanoseconds(count: 50_000) { i in
                    length =
                        RawSegment.write(
                            bulkSegment(i), payload: payload, from: from, to: to, into: out,
                            capacity: 4096) ?? 0
                }, unit: "ns"))
        let packet = UnsafeRawBufferPointer(start: out, count: length)
        figures.append(
            Figure(
                name: "raw segment of 1400 bytes with checksum, read",
                value: nanoseconds(count: 50_000) { _ in
                    do { _ = try RawSegment.read(packet, into: &read) } catch { failures += 1 }
                }, unit: "ns"))
        precondition(failures == 0, "the raw segment can't be read")
        return figures
    }

    /// The peer's bare ACK of everything up to the end of `segment`.
    private static func acknowledge(
        _ segment: Segment, from receiver: inout SealedContext,
        to sender: inout SealedContext,
        _ out: UnsafeMutableRawPointer
    ) {
        var ack = Segment(), read = Segment()
        ack.sourcePort = 443
        ack.destinationPort = 40_000
        ack.flags = .ack
        ack.sequence = SubflowSequence(5001)
        ack.acknowledgement = segment.sequence + payloadBytes
        let n = SealedSegment.write(
            ack, payloadLength: 0, runsToEnd: false, context: &receiver, into: out)
        _ = try? SealedSegment.read(
            UnsafeRawBufferPointer(start: out, count: n), context: &sender,
            into: &read)
    }

    /// SYN and SYN/ACK through both contexts, so that they know the initial sequence numbers.
    private static func shakeHands(
        _ sender: inout SealedContext, _ receiver: inout SealedContext,
        _ out: UnsafeMutableRawPointer
    ) {
        var syn = Segment(), read = Segment()
        syn.sourcePort = 40_000
        syn.destinationPort = 443
        syn.flags = .syn
        syn.sequence = SubflowSequence(1000)
        var n = SealedSegment.write(
            syn, payloadLength: 0, runsToEnd: true, context: &sender, into: out)
        _ = try? SealedSegment.read(
            UnsafeRawBufferPointer(start: out, count: n),
            context: &receiver, into: &read)
        syn.sourcePort = 443
        syn.destinationPort = 40_000
        syn.flags = [.syn, .ack]
        syn.sequence = SubflowSequence(5000)
        syn.acknowledgement = SubflowSequence(1001)
        n = SealedSegment.write(
            syn, payloadLength: 0, runsToEnd: true, context: &receiver, into: out)
        _ = try? SealedSegment.read(
            UnsafeRawBufferPointer(start: out, count: n), context: &sender,
            into: &read)
    }
}

/// Sealing and opening one full record, beside a plain copy of the same bytes.
enum RecordBenchmark {
    static func run() -> [Figure] {
        let bytes = payloadBytes + SealedSegment.explicitHead
        let source = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
        let out = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
        let sealed = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)
        defer { source.deallocate(); out.deallocate(); sealed.deallocate() }
        source.initializeMemory(as: UInt8.self, repeating: 9)
        let head = UnsafeRawBufferPointer(rebasing: source[0..<SealedSegment.explicitHead])
        let payload = Pieces(
            first: UnsafeRawBufferPointer(rebasing: source[64..<(64 + payloadBytes)]),
            second: UnsafeRawBufferPointer(start: nil, count: 0))
        let associated = UnsafeRawBufferPointer(rebasing: source[2048..<2056])
        let copy = nanoseconds(count: 200_000) { i in
            source[5] = UInt8(truncatingIfNeeded: i)
            memcpy(out.baseAddress!, source.baseAddress!, bytes)
            blackHole(out[5])
        }
        var figures = [Figure(name: "plain copy of \(bytes) bytes", value: copy, unit: "ns")]
        for suite in [CipherSuite.aes256GCM, .chaCha20Poly1305] {
            let cipher = RecordCipher(suite: suite, key: .zero)
            let name = "\(suite) of \(cipher.isAccelerated ? "intel-ipsec-mb" : "libcrypto")"
            var length = 0
            let seal = nanoseconds(count: 50_000) { i in
                length = cipher.seal(
                    path: 1, packetNumber: UInt64(i), associated: associated,
                    head: head, payload: payload,
                    into: out.baseAddress!)
            }
            length = cipher.seal(
                path: 1, packetNumber: 7, associated: associated, head: head,
                payload: payload, into: sealed.baseAddress!)
            var failures = 0
            let open = nanoseconds(count: 50_000) { _ in
                // Opening is in place, so the record is put back each time; the copy is taken off
                // below.
                memcpy(out.baseAddress!, sealed.baseAddress!, length)
                if cipher.open(
                    path: 1, packetNumber: 7, associated: associated,
                    record: UnsafeMutableRawBufferPointer(rebasing: out[0..<length])) == nil
                {
                    failures += 1
                }
            }
            precondition(failures == 0, "the record does not open")
            figures.append(Figure(name: "\(name), seal \(bytes) bytes", value: seal, unit: "ns"))
            figures.append(
                Figure(name: "\(name), open \(bytes) bytes", value: open - copy, unit: "ns"))
        }
        return figures
    }
}

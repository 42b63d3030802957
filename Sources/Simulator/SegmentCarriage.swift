import Buffers
import Measures
import Wire

/// How a `SegmentWorld` carries a segment: through the product's own encodings, checked to be lossless.
///
/// A packet holds a copy of the segment's memory (what must come out), then the encoded segment.
struct SegmentCarriage {
    private static let initiatorAddress = IPAddress(v4: 0x0a00_0001), listenerAddress = IPAddress(v4: 0x0a00_0002)
    /// The ends' contexts of one subflow.
    struct Contexts {
        var initiator: SealedContext
        var listener: SealedContext
        init(number: UInt16) {
            initiator = SealedContext(number: number, isInitiator: true)
            listener = SealedContext(number: number, isInitiator: false)
        }
    }

    let isSealed: Bool
    /// Sealed segments refused because they refer to what the receiver no longer holds: legal, but rare.
    private(set) var unknownReferences = 0
    private(set) var failure: String?
    private var decoded = Segment()
    private let expected = UnsafeMutableRawPointer.allocate(byteCount: 256, alignment: 16)
    private let found = UnsafeMutableRawPointer.allocate(byteCount: 256, alignment: 16)

    init(isSealed: Bool) { self.isSealed = isSealed }
    func deallocate() {
        expected.deallocate()
        found.deallocate()
    }

    private static let memory = (MemoryLayout<Segment>.size + 15) & ~15

    /// A packet without its copy of the segment.
    static func encoded(_ packet: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: packet[memory...]) }

    /// The initiator's port of a packet's segment.
    static func subflow(of packet: UnsafeRawBufferPointer, atInitiator: Bool) -> Int {
        let sent = packet.baseAddress!.assumingMemoryBound(to: Segment.self)
        return Int(atInitiator ? sent.pointee.destinationPort : sent.pointee.sourcePort)
    }

    /// Writes a packet into `out` and returns its length.
    mutating func encode(_ segment: Segment, _ payload: Pieces, fromInitiator: Bool, contexts: inout Contexts,
                         into out: UnsafeMutableRawBufferPointer) -> Int {
        withUnsafeBytes(of: segment) { out.copyMemory(from: $0) }
        let base = out.baseAddress! + Self.memory
        guard isSealed else {
            guard let n = RawSegment.write(segment, payload: payload, from: fromInitiator ? Self.initiatorAddress : Self.listenerAddress,
                                           to: fromInitiator ? Self.listenerAddress : Self.initiatorAddress,
                                           into: base, capacity: out.count - Self.memory) else {
                failure = failure ?? Self.text("a segment that does not fit", segment)
                return Self.memory
            }
            return Self.memory + n
        }
        var n = fromInitiator
            ? SealedSegment.write(segment, payloadLength: payload.count, runsToEnd: true, context: &contexts.initiator, into: base)
            : SealedSegment.write(segment, payloadLength: payload.count, runsToEnd: true, context: &contexts.listener, into: base)
        for piece in [payload.first, payload.second] {
            guard let from = piece.baseAddress else { continue }
            (base + n).copyMemory(from: from, byteCount: piece.count)
            n += piece.count
        }
        return Self.memory + n
    }

    /// Reads a packet into `segment`; its payload, or nil where it is refused (a loss to TCP).
    mutating func decode(_ packet: UnsafeRawBufferPointer, atInitiator: Bool, contexts: inout Contexts,
                         into segment: inout Segment) -> UnsafeRawBufferPointer? {
        let sent = packet.baseAddress!.assumingMemoryBound(to: Segment.self).pointee
        let bytes = UnsafeRawBufferPointer(rebasing: packet[Self.memory...])
        segment.reset()
        let payload: UnsafeRawBufferPointer
        do {
            if isSealed {
                let (head, length) = atInitiator ? try SealedSegment.read(bytes, context: &contexts.initiator, into: &segment)
                    : try SealedSegment.read(bytes, context: &contexts.listener, into: &segment)
                payload = UnsafeRawBufferPointer(rebasing: bytes[head..<(head + length)])
            } else {
                payload = UnsafeRawBufferPointer(rebasing: bytes[try RawSegment.read(bytes, into: &segment).payload])
            }
        } catch WireError.unknownReference {
            unknownReferences += 1
            return nil
        } catch WireError.unknownInitialSequence {
            return nil   // overtook the SYN
        } catch {
            failure = failure ?? "a segment can't be read back: \(error)"
            return nil
        }
        compare(sent, segment)
        return payload
    }

    private static func text(_ what: String, _ s: Segment) -> String {
        "\(what): sequence \(s.sequence.value) acknowledgement \(s.acknowledgement.value) flags \(s.flags.rawValue) window \(s.window) "
            + "options \(s.options.present.rawValue) DSS \(s.options.dss)"
    }

    private mutating func compare(_ sent: Segment, _ read: Segment) {
        let a = RawSegment.write(sent, payload: .empty, from: Self.initiatorAddress, to: Self.listenerAddress, into: expected, capacity: 256)
        let b = RawSegment.write(read, payload: .empty, from: Self.initiatorAddress, to: Self.listenerAddress, into: found, capacity: 256)
        guard let a, a == b, UnsafeRawBufferPointer(start: expected, count: a).elementsEqual(UnsafeRawBufferPointer(start: found, count: a)) else {
            if failure == nil { failure = Self.text("a segment came out different: sent", sent) + Self.text("; read", read) }
            return
        }
    }
}

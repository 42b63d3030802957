import Buffers
import Measures
import Wire

/// How a `SegmentWorld` carries a segment: through the product's own encodings, checked to be
/// lossless.
///
/// A packet holds a copy of the segment's memory (what must come out), then the encoded segment.
struct SegmentCarriage {
    private static let initiatorAddress = IPAddress(v4: 0x0a00_0001),
        listenerAddress = IPAddress(v4: 0x0a00_0002)
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
    /// Sealed segments refused because they refer to what the receiver no longer holds: legal, but
    /// rare.
    private(set) var unknownReferences = 0
    private(set) var failure: String?

    init(isSealed: Bool) { self.isSealed = isSealed }

    private static let memory = (MemoryLayout<Segment>.size + 15) & ~15

    /// A packet without its copy of the segment.
    static func encoded(_ packet: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: packet[memory...])
    }

    /// The initiator's port of a packet's segment.
    static func subflow(of packet: UnsafeRawBufferPointer, atInitiator: Bool) -> Int {
        let sent = packet.baseAddress!.assumingMemoryBound(to: Segment.self)
        return Int(atInitiator ? sent.pointee.destinationPort : sent.pointee.sourcePort)
    }

    /// Writes a packet into `out` and returns its length.
    mutating func encode(
        _ segment: Segment, _ payload: Pieces, fromInitiator: Bool, contexts: inout Contexts,
        into out: UnsafeMutableRawBufferPointer
    ) -> Int {
        withUnsafeBytes(of: segment) { out.copyMemory(from: $0) }
        let base = out.baseAddress! + Self.memory
        guard isSealed else {
            guard
                let n = RawSegment.write(
                    segment, payload: payload,
                    from: fromInitiator
                        ? Self.initiatorAddress : Self.listenerAddress,
                    to: fromInitiator ? Self.listenerAddress : Self.initiatorAddress,
                    into: base, capacity: out.count - Self.memory)
            else {
                failure = failure ?? Self.text("a segment that does not fit", segment)
                return Self.memory
            }
            return Self.memory + n
        }
        var n =
            fromInitiator
            ? SealedSegment.write(
                segment, payloadLength: payload.count, runsToEnd: true,
                context: &contexts.initiator, into: base)
            : SealedSegment.write(
                segment, payloadLength: payload.count, runsToEnd: true,
                context: &contexts.listener, into: base)
        for piece in [payload.first, payload.second] {
            guard let from = piece.baseAddress else { continue }
            (base + n).copyMemory(from: from, byteCount: piece.count)
            n += piece.count
        }
        return Self.memory + n
    }

    /// Reads a packet into `segment`; its payload, or nil where it is refused (a loss to TCP).
    mutating func decode(
        _ packet: UnsafeRawBufferPointer, atInitiator: Bool, contexts: inout Contexts,
        into segment: inout Segment
    ) -> UnsafeRawBufferPointer? {
        let sent = packet.baseAddress!.assumingMemoryBound(to: Segment.self).pointee
        let bytes = UnsafeRawBufferPointer(rebasing: packet[Self.memory...])
        segment.reset()
        let payload: UnsafeRawBufferPointer
        do {
            if isSealed {
                let (head, length) =
                    atInitiator
                    ? try SealedSegment.read(bytes, context: &contexts.initiator, into: &segment)
                    : try SealedSegment.read(bytes, context: &contexts.listener, into: &segment)
                payload = UnsafeRawBufferPointer(rebasing: bytes[head..<(head + length)])
            } else {
                payload = UnsafeRawBufferPointer(
                    rebasing: bytes[try RawSegment.read(bytes, into: &segment).payload])
            }
        } catch WireError.unknownReference {
            unknownReferences += 1
            return nil
        } catch WireError.unknownInitialSequence {
            return nil  // overtook the SYN
        } catch {
            failure = failure ?? "a segment can't be read back: \(error)"
            return nil
        }
        compare(sent, segment)
        return payload
    }

    private static func text(_ what: String, _ s: Segment) -> String {
        "\(what): sequence \(s.sequence.value) acknowledgement \(s.acknowledgement.value)"
            + " flags \(s.flags.rawValue) window \(s.window) "
            + "options \(s.options.present.rawValue) DSS \(s.options.dss)"
    }

    private mutating func compare(_ sent: Segment, _ read: Segment) {
        guard failure == nil, !Self.isSame(sent, read) else { return }
        failure = Self.text("a segment came out different: sent", sent) + Self.text("; read", read)
    }

    /// Whether two segments mean the same: fields without meaning may differ, and so may the upper
    /// half of a data sequence number in its 4-octet form.
    private static func isSame(_ a: Segment, _ b: Segment) -> Bool {
        guard a.sourcePort == b.sourcePort,
            a.destinationPort == b.destinationPort,
            a.sequence == b.sequence,
            a.flags == b.flags,
            a.window == b.window, !a.flags.contains(.ack) || a.acknowledgement == b.acknowledgement,
            !a.flags.contains(.urg) || a.urgentPointer == b.urgentPointer,
            a.options.present == b.options.present
        else { return false }
        let x = a.options, y = b.options
        func differs(_ kind: SegmentOptions.Kinds, _ same: Bool) -> Bool {
            x.present.contains(kind) && !same
        }
        if differs(.maximumSegmentSize, x.maximumSegmentSize == y.maximumSegmentSize)
            || differs(.windowScale, x.windowScale == y.windowScale)
            || differs(.timestamps, x.timestamps == y.timestamps)
            || differs(.multipathCapable, x.multipathCapable == y.multipathCapable)
            || differs(.join, shortened(x.join) == shortened(y.join))
            || differs(.priority, x.priority == y.priority)
            || differs(.fastClose, x.fastClose == y.fastClose)
            || differs(.reset, x.reset == y.reset)
            || differs(.dss, shortened(x.dss) == shortened(y.dss))
        {
            return false
        }
        guard x.present.contains(.sack) else { return true }
        return x.sack.count == y.sack.count
            && (0..<x.sack.count).allSatisfy { x.sack[$0] == y.sack[$0] }
    }

    private static func shortened(_ join: MPJoin) -> MPJoin {
        var short = join
        // not carried
        if case .ack = join.form { short.backup = false; short.addressID = .initial }
        return short
    }

    private static func shortened(_ dss: DSS) -> DSS {
        var short = dss
        if let ack = dss.acknowledgement, dss.acknowledgementWidth == .four {
            short.acknowledgement = DataSequence(UInt64(ack.low32))
        }
        if let mapping = dss.mapping, mapping.width == .four {
            short.mapping!.dataSequence = DataSequence(UInt64(mapping.dataSequence.low32))
        }
        if dss.acknowledgement == nil { short.acknowledgementWidth = .eight }
        return short
    }
}

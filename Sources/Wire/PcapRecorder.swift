import Buffers
import Measures

/// Brings segments into the order in which a packet trace of RFC 8684 has them, and writes their
/// records.
///
/// Inside a session data rides on the first SYN and may follow it before the SYN/ACK. Wireshark
/// can't follow a connection whose data mapping it sees before the first key (its dissector gives
/// up on an assertion), so what carries a mapping is held back until the answer with the listener's
/// key: the file then shows the SYN, the SYN/ACK and, stamped like it, the early data and what
/// the SYN/ACK says of it. Nothing else is moved.
public struct PcapRecorder {
    private struct Held {
        var segment: Segment
        var payload: [UInt8]
    }
    /// A first subflow whose SYN/ACK has not been seen, by the initiator's addresses and ports.
    private struct Opening {
        var from: IPAddress, to: IPAddress, sourcePort: UInt16, destinationPort: UInt16
        var initial: SubflowSequence
        var held: [Held] = []
    }
    /// Segments held for one connection: a first flight. What comes beyond goes out in its own
    /// place.
    private static let maximumHeld = 64

    private var openings: [Opening] = []
    private var room: [UInt8] = []

    /// Nothing is held back.
    public init() {}

    /// Hands the records that are due to `emit`, in order. A segment that no packet can carry
    /// leaves none.
    public mutating func record(
        _ segment: borrowing Segment, payload: Pieces, from: IPAddress, to: IPAddress,
        at unixTime: UInt64, emit: (UnsafeRawBufferPointer) -> Void
    ) {
        let isCapable = segment.options.present.contains(.multipathCapable)
        if segment.flags.contains(.syn), !segment.flags.contains(.ack), isCapable {
            var syn = copy segment
            syn.options.present.remove(.dss)
            write(syn, .empty, from, to, unixTime, emit)
            // repeated: its data is held already
            guard openingIndex(segment, from, to) == nil else { return }
            openings.append(
                Opening(
                    from: from, to: to, sourcePort: segment.sourcePort,
                    destinationPort: segment.destinationPort, initial: segment.sequence))
            guard payload.count > 0 else { return }
            var data = copy segment
            data.sequence += 1
            data.flags.remove(.syn)
            data.options.present = .dss
            openings[openings.count - 1].held.append(
                Held(segment: data, payload: payload.bytes))
            return
        }
        if !openings.isEmpty {
            if let i = openingIndex(segment, from, to), openings[i].held.count < Self.maximumHeld {
                openings[i].held.append(Held(segment: copy segment, payload: payload.bytes))
                return
            }
            if let i = answeredIndex(segment, from, to) {
                let opening = openings.remove(at: i)
                answer(opening, segment, payload, at: unixTime, emit)
                return
            }
        }
        write(segment, payload, from, to, unixTime, emit)
    }

    /// What is still held, at the end of the file.
    public mutating func finish(at unixTime: UInt64, emit: (UnsafeRawBufferPointer) -> Void) {
        for opening in openings { release(opening, at: unixTime, acknowledging: nil, emit) }
        openings = []
    }

    private func openingIndex(_ s: borrowing Segment, _ from: IPAddress, _ to: IPAddress) -> Int? {
        for (i, o) in openings.enumerated() where o.from == from && o.to == to {
            if o.sourcePort == s.sourcePort, o.destinationPort == s.destinationPort { return i }
        }
        return nil
    }

    /// The opening to which the segment brings the key, or the end. One that overtook the SYN/ACK
    /// brings neither.
    private func answeredIndex(_ s: borrowing Segment, _ from: IPAddress, _ to: IPAddress) -> Int? {
        let flags = s.flags
        guard flags.contains(.rst) || flags.isSuperset(of: [.syn, .ack]) else { return nil }
        for (i, o) in openings.enumerated() where o.from == to && o.to == from {
            if o.sourcePort == s.destinationPort, o.destinationPort == s.sourcePort { return i }
        }
        return nil
    }

    /// The SYN/ACK (or RST), the data held, and as a segment of its own what the SYN/ACK carries
    /// beside the key.
    private mutating func answer(
        _ opening: Opening, _ segment: borrowing Segment,
        _ payload: Pieces, at unixTime: UInt64,
        _ emit: (UnsafeRawBufferPointer) -> Void
    ) {
        guard segment.flags.contains(.syn), !opening.held.isEmpty else {
            write(segment, payload, opening.to, opening.from, unixTime, emit)
            release(opening, at: unixTime, acknowledging: copy segment, emit)
            return
        }
        var first = copy segment, rest = copy segment
        first.options.present.remove(.dss)
        first.acknowledgement = opening.initial + 1
        rest.sequence += 1
        rest.flags.remove(.syn)
        rest.options.present.formIntersection(.dss)
        write(first, .empty, opening.to, opening.from, unixTime, emit)
        release(opening, at: unixTime, acknowledging: first, emit)
        write(rest, payload, opening.to, opening.from, unixTime, emit)
    }

    private mutating func release(
        _ opening: Opening, at unixTime: UInt64, acknowledging answer: Segment?,
        _ emit: (UnsafeRawBufferPointer) -> Void
    ) {
        for held in opening.held {
            var segment = held.segment
            if let answer, !segment.flags.contains(.ack), !segment.flags.contains(.rst) {
                // Behind a SYN/ACK every segment has ACK.
                segment.flags.insert(.ack)
                segment.acknowledgement = answer.sequence + 1
            }
            held.payload.withUnsafeBytes { bytes in
                write(
                    segment, Pieces(first: bytes, second: Pieces.empty.second), opening.from,
                    opening.to, unixTime, emit)
            }
        }
    }

    private mutating func write(
        _ segment: borrowing Segment, _ payload: Pieces, _ from: IPAddress,
        _ to: IPAddress,
        _ unixTime: UInt64, _ emit: (UnsafeRawBufferPointer) -> Void
    ) {
        let most = PcapFile.maximumOctets(payloadLength: payload.count)
        if room.count < most { room = [UInt8](repeating: 0, count: max(most, 4096)) }
        let whole = copy segment
        room.withUnsafeMutableBytes { buffer in
            guard
                let n = PcapFile.write(
                    whole, payload: payload, from: from, to: to, at: unixTime,
                    into: buffer.baseAddress!, capacity: buffer.count)
            else { return }
            emit(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        }
    }
}

import Buffers
import Measures

/// Segments as raw IP packets, in the pcap format with nanoseconds
/// (draft-ietf-opsawg-pcap), which Wireshark opens. Only the bytes: the shell writes them.
public enum PcapFile {
    /// What a pcap file begins with.
    public static let header: [UInt8] = {
        var bytes = [UInt8](repeating: 0, count: 24)
        bytes.withUnsafeMutableBytes { p in
            p.storeBytes(of: (0xa1b2_3c4d as UInt32).littleEndian, toByteOffset: 0, as: UInt32.self)
            p.storeBytes(of: (2 as UInt16).littleEndian, toByteOffset: 4, as: UInt16.self)
            p.storeBytes(of: (4 as UInt16).littleEndian, toByteOffset: 6, as: UInt16.self)
            p.storeBytes(of: maximumPacket.littleEndian, toByteOffset: 16, as: UInt32.self)
            p.storeBytes(of: linkTypeRaw.littleEndian, toByteOffset: 20, as: UInt32.self)
        }
        return bytes
    }()
    private static let maximumPacket: UInt32 = 65_535
    /// LINKTYPE_RAW: packets begin with an IPv4 or IPv6 header.
    private static let linkTypeRaw: UInt32 = 101

    /// Room that `write` never needs more of: the packet and at most four extra ones.
    public static func maximumOctets(payloadLength: Int) -> Int {
        5 * (16 + 60 + SegmentOptions.room) + payloadLength
    }

    /// Writes the record of one segment, stamped with Unix time in nanoseconds, and returns its
    /// length.
    ///
    /// A sealed segment may carry more options than the 40 bytes of a TCP header. Then it becomes
    /// several packets which together say the same: what the payload does not need goes ahead on
    /// bare acknowledgements, and data on a SYN follows it. Nil where `capacity` is too small, the
    /// packet would be longer than 65,535 bytes, or the addresses are of different families.
    public static func write(
        _ segment: borrowing Segment, payload: Pieces, from: IPAddress,
        to: IPAddress, at unixTime: UInt64,
        into p: UnsafeMutableRawPointer, capacity: Int
    ) -> Int? {
        var record = Record(p: p, capacity: capacity, from: from, to: to, unixTime: unixTime)
        if segment.options.fitsHeader {
            guard record.add(segment, payload) else { return nil }
        } else if segment.flags.contains(.syn) {
            guard record.addSYN(segment, payload) else { return nil }
        } else {
            guard record.addSplit(segment, payload) else { return nil }
        }
        return record.length
    }

    private struct Record {
        let p: UnsafeMutableRawPointer, capacity: Int, from: IPAddress, to: IPAddress,
            unixTime: UInt64
        var length = 0

        mutating func add(_ segment: borrowing Segment, _ payload: Pieces) -> Bool {
            let head = p + length
            guard capacity - length > 16,
                let n = RawSegment.write(
                    segment, payload: payload, from: from, to: to, into: head + 16,
                    capacity: capacity - length - 16)
            else { return false }
            let words = (
                UInt32(truncatingIfNeeded: unixTime / 1_000_000_000),
                UInt32(truncatingIfNeeded: unixTime % 1_000_000_000)
            )
            head.storeBytes(of: words.0.littleEndian, toByteOffset: 0, as: UInt32.self)
            head.storeBytes(of: words.1.littleEndian, toByteOffset: 4, as: UInt32.self)
            head.storeBytes(of: UInt32(n).littleEndian, toByteOffset: 8, as: UInt32.self)
            head.storeBytes(of: UInt32(n).littleEndian, toByteOffset: 12, as: UInt32.self)
            length += 16 + n
            return true
        }

        /// What a SYN says of the connection always fits; its data and their mapping follow.
        mutating func addSYN(_ segment: borrowing Segment, _ payload: Pieces) -> Bool {
            var syn = copy segment
            syn.options.present.formIntersection([
                .maximumSegmentSize, .windowScale, .sackPermitted, .timestamps, .multipathCapable,
                .join
            ])
            guard syn.options.fitsHeader else {
                syn.options.present.remove(.join)
                return add(syn, payload)
            }
            guard add(syn, .empty) else { return false }
            var data = copy segment
            data.sequence += 1
            data.flags.remove(.syn)
            data.options.present.subtract(syn.options.present)
            return addSplit(data, payload)
        }

        /// Moves options onto bare acknowledgements until the rest fits.
        mutating func addSplit(_ segment: borrowing Segment, _ payload: Pieces) -> Bool {
            var main = copy segment, extra = copy segment
            extra.flags = segment.flags.intersection(.ack)
            extra.urgentPointer = 0
            extra.options.present = []
            for kind in Self.movable
            where main.options.present.contains(kind) && !main.options.fitsHeader {
                main.options.present.remove(kind)
                extra.options.present.insert(kind)
                guard !extra.options.fitsHeader else { continue }
                extra.options.present.remove(kind)
                guard add(extra, .empty) else { return false }
                extra.options.present = kind
            }
            if extra.options.present != [] {
                guard add(extra, .empty) else { return false }
            }
            return add(main, payload)
        }

        private static let movable: [SegmentOptions.Kinds] = [
            .sack, .addAddress, .removeAddress, .priority, .fail, .fastClose, .join,
            .multipathCapable,
            .timestamps, .maximumSegmentSize, .windowScale, .sackPermitted
        ]
    }
}

extension SegmentOptions {
    /// Whether `RawSegment` can write them.
    var fitsHeader: Bool { octets() <= Self.room || tightOctets <= Self.room }
}

import Buffers
import Measures

/// A segment as a whole IPv4 or IPv6 packet: IP header, TCP header (RFC 9293 section 3.1), options,
/// payload.
///
/// For a TUN device, for tests against other implementations, and for captures.
public enum RawSegment {
    /// IP and TCP header without options.
    public static func headLength(isIPv4: Bool) -> Int { isIPv4 ? 40 : 60 }

    // MARK: Out

    /// Writes the packet with all its checksums and returns its length; nil where the options take
    /// more than 40 bytes, the packet would not fit into `capacity` or be longer than 65,535 bytes,
    /// or the two addresses are of different families.
    public static func write(
        _ segment: borrowing Segment, payload: Pieces, from: IPAddress, to: IPAddress,
        into packet: UnsafeMutableRawPointer, capacity: Int
    ) -> Int? {
        guard from.isIPv4 == to.isIPv4 else { return nil }
        let ip = from.isIPv4 ? 20 : 40
        let paddedOctets = segment.options.octets()
        let isPadded = paddedOctets <= SegmentOptions.room
        let optionOctets = isPadded ? paddedOctets : (segment.options.tightOctets + 3) & ~3
        guard optionOctets <= SegmentOptions.room else { return nil }
        let tcpLength = 20 + optionOctets + payload.count
        guard ip + tcpLength <= min(capacity, 65_535) else { return nil }

        let tcp = packet + ip
        writeTCPHeader(segment, offset: 20 + optionOctets, to: tcp)
        var at = 20 + segment.options.write(to: tcp + 20, padded: isPadded)
        while at < 20 + optionOctets {
            tcp.put(TCPOptionKind.noOperation, at)
            at += 1
        }
        if !payload.first.isEmpty {
            (tcp + at).copyMemory(from: payload.first.baseAddress!, byteCount: payload.first.count)
        }
        at += payload.first.count
        if !payload.second.isEmpty {
            (tcp + at).copyMemory(
                from: payload.second.baseAddress!,
                byteCount: payload.second.count)
        }

        writeIPHeader(payloadLength: tcpLength, from: from, to: to, into: packet)
        var sum = pseudoHeader(from: from, to: to, length: tcpLength)
        sum.add(UnsafeRawBufferPointer(start: tcp, count: tcpLength))
        tcp.put(sum.value, 16)
        return ip + tcpLength
    }

    private static func writeTCPHeader(
        _ segment: borrowing Segment, offset: Int,
        to tcp: UnsafeMutableRawPointer
    ) {
        tcp.put(segment.sourcePort, 0)
        tcp.put(segment.destinationPort, 2)
        tcp.put(segment.sequence.value, 4)
        tcp.put(segment.flags.contains(.ack) ? segment.acknowledgement.value : 0, 8)
        tcp.put(UInt8(truncatingIfNeeded: offset << 2), 12)
        tcp.put(segment.flags.rawValue, 13)
        tcp.put(segment.window, 14)
        tcp.put(0 as UInt16, 16)
        tcp.put(segment.urgentPointer, 18)
    }

    private static func writeIPHeader(
        payloadLength: Int, from: IPAddress, to: IPAddress,
        into p: UnsafeMutableRawPointer
    ) {
        guard from.isIPv4 else {
            p.put(0x6000_0000 as UInt32, 0)
            p.put(UInt16(truncatingIfNeeded: payloadLength), 4)
            p.put(protocolTCP, 6)
            p.put(hopLimit, 7)
            p.put(from.high, 8)
            p.put(from.low, 16)
            p.put(to.high, 24)
            p.put(to.low, 32)
            return
        }
        p.put(0x4500 as UInt16, 0)
        p.put(UInt16(truncatingIfNeeded: 20 + payloadLength), 2)
        p.put(0 as UInt16, 4)
        p.put(0x4000 as UInt16, 6)  // don't fragment
        p.put(hopLimit, 8)
        p.put(protocolTCP, 9)
        p.put(0 as UInt16, 10)
        p.put(from.v4, 12)
        p.put(to.v4, 16)
        var sum = InternetChecksum()
        sum.add(UnsafeRawBufferPointer(start: p, count: 20))
        p.put(sum.value, 10)
    }

    // MARK: In

    /// Reads one packet, checking its lengths and checksums. `payload` is the payload's place in
    /// `packet`.
    ///
    /// IPv6 hop-by-hop, routing and destination options are skipped; a fragment is refused. Bytes
    /// behind the IP packet's own length (an Ethernet frame's padding) are ignored.
    public static func read(
        _ packet: UnsafeRawBufferPointer, into segment: inout Segment
    ) throws(WireError)
        -> (payload: Range<Int>, from: IPAddress, to: IPAddress)
    {
        guard let p = packet.baseAddress, packet.count > 0 else { throw .truncated }
        let tcp: Range<Int>, from: IPAddress, to: IPAddress
        switch p.byte(0) >> 4 {
        case 4: (tcp, from, to) = try readIPv4(p, packet.count)
        case 6: (tcp, from, to) = try readIPv6(p, packet.count)
        default: throw .notTCP
        }
        guard tcp.count >= 20 else { throw .truncated }
        let t = p + tcp.lowerBound
        let offset = Int(t.byte(12) >> 4) * 4
        guard offset >= 20, offset <= tcp.count else { throw .badHeaderLength }
        var sum = pseudoHeader(from: from, to: to, length: tcp.count)
        sum.add(UnsafeRawBufferPointer(start: t, count: tcp.count))
        guard sum.value == 0 else { throw .badTCPChecksum }

        segment.sourcePort = t.word16(0)
        segment.destinationPort = t.word16(2)
        segment.sequence = SubflowSequence(t.word32(4))
        segment.flags = ControlBits(rawValue: t.byte(13))
        segment.acknowledgement = SubflowSequence(segment.flags.contains(.ack) ? t.word32(8) : 0)
        segment.window = t.word16(14)
        segment.urgentPointer = t.word16(18)
        try segment.options.read(t + 20, count: offset - 20, flags: segment.flags)
        return (tcp.lowerBound + offset..<tcp.upperBound, from, to)
    }

    private static func readIPv4(
        _ p: UnsafeRawPointer, _ count: Int
    ) throws(WireError)
        -> (tcp: Range<Int>, from: IPAddress, to: IPAddress)
    {
        guard count >= 20 else { throw .truncated }
        let header = Int(p.byte(0) & 0x0f) * 4
        let total = Int(p.word16(2))
        guard header >= 20, total >= header else { throw .badHeaderLength }
        guard total <= count else { throw .truncated }
        // RFC 791: more fragments, or a fragment offset.
        guard p.word16(6) & 0x3fff == 0 else { throw .fragment }
        guard p.byte(9) == protocolTCP else { throw .notTCP }
        var sum = InternetChecksum()
        sum.add(UnsafeRawBufferPointer(start: p, count: header))
        guard sum.value == 0 else { throw .badIPChecksum }
        return (header..<total, IPAddress(v4: p.word32(12)), IPAddress(v4: p.word32(16)))
    }

    private static func readIPv6(
        _ p: UnsafeRawPointer, _ count: Int
    ) throws(WireError)
        -> (tcp: Range<Int>, from: IPAddress, to: IPAddress)
    {
        guard count >= 40 else { throw .truncated }
        let end = 40 + Int(p.word16(4))
        guard end <= count else { throw .truncated }
        var next = p.byte(6), at = 40
        while next != protocolTCP {
            switch next {
            case 0, 43, 60:  // RFC 8200 section 4: hop-by-hop, routing, destination options
                guard at + 8 <= end else { throw .truncated }
                next = p.byte(at)
                at += 8 + 8 * Int(p.byte(at + 1))
                guard at <= end else { throw .truncated }
            case 44: throw .fragment
            default: throw .notTCP
            }
        }
        return (
            at..<end, IPAddress(v6High: p.word64(8), low: p.word64(16)),
            IPAddress(v6High: p.word64(24), low: p.word64(32))
        )
    }

    // MARK: Both

    private static let protocolTCP: UInt8 = 6
    private static let hopLimit: UInt8 = 64

    /// RFC 9293 section 3.1 (IPv4) and RFC 8200 section 8.1 (IPv6).
    private static func pseudoHeader(
        from: IPAddress, to: IPAddress, length: Int
    ) -> InternetChecksum {
        var sum = InternetChecksum()
        if from.isIPv4 {
            sum.add(from.v4)
            sum.add(to.v4)
        } else {
            sum.add(from.high)
            sum.add(from.low)
            sum.add(to.high)
            sum.add(to.low)
        }
        sum.add(UInt32(truncatingIfNeeded: length))
        sum.add(UInt16(protocolTCP))
        return sum
    }
}

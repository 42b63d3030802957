import Measures

/// DSS (RFC 8684 section 3.3): a data acknowledgement, a mapping, or both.
public struct DSS: Hashable, Sendable {
    /// How many octets a data sequence number takes on the wire. In the 4-octet form only the low
    /// 32 bits of the value are meaningful; the connection widens them.
    public enum Width: UInt8, Hashable, Sendable { case four = 4, eight = 8 }
    /// Which data numbers the subflow's bytes have.
    public struct Mapping: Hashable, Sendable {
        /// The data sequence number of the first byte.
        public var dataSequence = DataSequence(0)
        /// Octets of `dataSequence` on the wire.
        public var width = Width.eight
        /// Relative to the subflow's initial sequence number; the first data byte has 1.
        public var subflowSequence: UInt32 = 0
        /// Bytes mapped, with 1 for a DATA_FIN; 0 says "to infinity" (section 3.7).
        public var length: UInt16 = 0
        /// Over mapping and payload, where checksums were agreed on (section 3.3.1).
        public var checksum: UInt16?
        /// An option, or a mapping, to be filled in.
        public init() {}
    }
    /// The mapping's last number is a DATA_FIN (section 3.3.3).
    public var dataFin = false
    /// DATA_ACK: the next data sequence number expected.
    public var acknowledgement: DataSequence?
    /// Octets of `acknowledgement` on the wire.
    public var acknowledgementWidth = Width.eight
    /// Nil on a bare acknowledgement.
    public var mapping: Mapping?
    /// An option, or a mapping, to be filled in.
    public init() {}

    /// Bytes on the wire, 4 to 28.
    public var octets: Int {
        var n = 4
        if acknowledgement != nil { n += Int(acknowledgementWidth.rawValue) }
        if let mapping { n += Int(mapping.width.rawValue) + 6 + (mapping.checksum == nil ? 0 : 2) }
        return n
    }

    func write(to p: UnsafeMutableRawPointer) {
        var bits: UInt8 = dataFin ? Self.flagF : 0
        var at = 4
        if let acknowledgement {
            bits |= Self.flagAck
            if acknowledgementWidth == .eight { bits |= Self.flagWideAck }
            at += Self.put(acknowledgement, acknowledgementWidth, p, at)
        }
        if let mapping {
            bits |= Self.flagMap
            if mapping.width == .eight { bits |= Self.flagWideMap }
            at += Self.put(mapping.dataSequence, mapping.width, p, at)
            p.put(mapping.subflowSequence, at)
            p.put(mapping.length, at + 4)
            at += 6
            if let checksum = mapping.checksum {
                p.put(checksum, at)
                at += 2
            }
        }
        MultipathSubtype.writeHead(MultipathSubtype.dss, 0, octets: at, to: p)
        p.put(bits, 3)
    }

    /// The length must be exactly what the flags say, with or without the mapping's checksum.
    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> DSS {
        guard length >= 4 else { throw .malformedMultipathOption(subtype: MultipathSubtype.dss) }
        let bits = p.byte(3)
        let ackWidth: Width = bits & flagWideAck != 0 ? .eight : .four
        let mapWidth: Width = bits & flagWideMap != 0 ? .eight : .four
        var expected = 4
        if bits & flagAck != 0 { expected += Int(ackWidth.rawValue) }
        if bits & flagMap != 0 { expected += Int(mapWidth.rawValue) + 6 }
        let hasChecksum = bits & flagMap != 0 && length == expected + 2
        guard length == expected || hasChecksum else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.dss)
        }
        var option = DSS(), at = 4
        option.dataFin = bits & flagF != 0
        if bits & flagAck != 0 {
            option.acknowledgement = number(ackWidth, p, &at)
            option.acknowledgementWidth = ackWidth
        }
        if bits & flagMap != 0 {
            var mapping = Mapping()
            mapping.dataSequence = number(mapWidth, p, &at)
            mapping.width = mapWidth
            mapping.subflowSequence = p.word32(at)
            mapping.length = p.word16(at + 4)
            if hasChecksum { mapping.checksum = p.word16(at + 6) }
            option.mapping = mapping
        }
        return option
    }

    private static let flagF: UInt8 = 0x10, flagWideMap: UInt8 = 0x08, flagMap: UInt8 = 0x04
    private static let flagWideAck: UInt8 = 0x02, flagAck: UInt8 = 0x01

    @inline(__always)
    private static func put(
        _ n: DataSequence, _ width: Width, _ p: UnsafeMutableRawPointer,
        _ at: Int
    ) -> Int {
        if width == .eight { p.put(n.value, at) } else { p.put(n.low32, at) }
        return Int(width.rawValue)
    }

    @inline(__always) private static func number(
        _ width: Width, _ p: UnsafeRawPointer,
        _ at: inout Int
    ) -> DataSequence {
        defer { at += Int(width.rawValue) }
        return width == .eight ? DataSequence(p.word64(at)) : DataSequence(UInt64(p.word32(at)))
    }
}

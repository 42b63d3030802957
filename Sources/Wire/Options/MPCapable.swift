/// MP_CAPABLE (RFC 8684 section 3.1), version 1.
///
/// SYN: no keys (length 4). SYN/ACK: the sender's key (12). ACK: both keys (20), with data also its
/// length (22) and, where checksums are in use, the checksum (24).
public struct MPCapable: Hashable, Sendable {
    /// 0 to 15; RFC 8684 is 1.
    public var version: UInt8 = 1
    /// A: DSS checksums are required.
    public var checksumRequired = false
    /// B: must be zero; kept so that a refusal can name it.
    public var extensible = false
    /// C: the sender takes no joins to the address of this subflow.
    public var deniesJoinToInitialAddress = false
    /// H: HMAC-SHA256.
    public var hmacSHA256 = true
    /// Whoever sends the segment; nil on a SYN.
    public var senderKey: UInt64?
    /// Nil before the third packet.
    public var receiverKey: UInt64?
    /// Data-level length of the first data, where the third packet carries data; maps it from IDSN
    /// + 1.
    public var dataLength: UInt16?
    /// Of the data that `dataLength` maps.
    public var checksum: UInt16?
    /// A SYN's option, of version 1.
    public init() {}

    /// Bytes on the wire: 4, 12, 20, 22 or 24.
    public var octets: Int {
        guard senderKey != nil else { return 4 }
        guard receiverKey != nil else { return 12 }
        guard dataLength != nil else { return 20 }
        return checksum == nil ? 22 : 24
    }

    func write(to p: UnsafeMutableRawPointer) {
        let n = octets
        MultipathSubtype.writeHead(MultipathSubtype.capable, version & 0x0f, octets: n, to: p)
        p.put(
            (checksumRequired ? Self.flagA : 0) | (extensible ? Self.flagB : 0)
                | (deniesJoinToInitialAddress ? Self.flagC : 0) | (hmacSHA256 ? Self.flagH : 0), 3)
        if n >= 12 { p.put(senderKey!, 4) }
        if n >= 20 { p.put(receiverKey!, 12) }
        if n >= 22 { p.put(dataLength!, 20) }
        if n >= 24 { p.put(checksum!, 22) }
    }

    /// Which length is right follows from the segment: SYN 4, SYN/ACK 12, ACK 20 or more.
    ///
    /// Of another version only version and flags are read, and with flag B the form may be another
    /// one (section 3.1).
    static func read(
        _ p: UnsafeRawPointer, length: Int, flags: ControlBits
    ) throws(WireError) -> MPCapable {
        var option = MPCapable()
        guard length >= 4 else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.capable)
        }
        option.version = p.byte(2) & 0x0f
        let bits = p.byte(3)
        option.checksumRequired = bits & flagA != 0
        option.extensible = bits & flagB != 0
        option.deniesJoinToInitialAddress = bits & flagC != 0
        option.hmacSHA256 = bits & flagH != 0
        guard option.version == 1 else { return option }
        let isRight =
            switch length {
            case 4: flags.isDisjoint(with: .ack)
            case 12: flags.isSuperset(of: [.syn, .ack])
            case 20, 22, 24: flags.isDisjoint(with: .syn)
            default: false
            }
        guard isRight else {
            if option.extensible { return option }
            throw .malformedMultipathOption(subtype: MultipathSubtype.capable)
        }
        if length >= 12 { option.senderKey = p.word64(4) }
        if length >= 20 { option.receiverKey = p.word64(12) }
        if length >= 22 { option.dataLength = p.word16(20) }
        if length >= 24 { option.checksum = p.word16(22) }
        return option
    }

    private static let flagA: UInt8 = 0x80, flagB: UInt8 = 0x40, flagC: UInt8 = 0x20,
        flagH: UInt8 = 0x01
}

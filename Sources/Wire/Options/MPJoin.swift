import Measures

/// MP_JOIN (RFC 8684 section 3.2); which form it takes follows from the segment's SYN and ACK bits.
public struct MPJoin: Hashable, Sendable {
    /// The leftmost 160 bits of an HMAC-SHA256.
    public struct HMAC160: Hashable, Sendable {
        /// Bytes 0 to 7, big-endian.
        public var a: UInt64 = 0  // bytes 0 to 7, big-endian
        /// Bytes 8 to 15.
        public var b: UInt64 = 0  // bytes 8 to 15
        /// Bytes 16 to 19.
        public var c: UInt32 = 0  // bytes 16 to 19
        /// To be filled in.
        public init() {}
        /// From its three parts.
        public init(_ a: UInt64, _ b: UInt64, _ c: UInt32) { self.a = a; self.b = b; self.c = c }
    }
    /// What the option carries, by the packet of the handshake.
    public enum Form: Hashable, Sendable {
        case syn(token: UInt32, nonce: UInt32)
        /// `hmac`: the leftmost 64 bits.
        case synAck(hmac: UInt64, nonce: UInt32)
        case ack(HMAC160)
    }
    /// As the packet of the handshake has it.
    public var form: Form = .syn(token: 0, nonce: 0)
    /// SYN and SYN/ACK only.
    public var backup = false
    /// SYN and SYN/ACK only.
    public var addressID = AddressID.initial
    /// To be filled in.
    public init() {}

    /// Bytes on the wire: 12, 16 or 24.
    public var octets: Int {
        switch form {
        case .syn: 12
        case .synAck: 16
        case .ack: 24
        }
    }

    func write(to p: UnsafeMutableRawPointer) {
        let low: UInt8 = backup ? 1 : 0
        switch form {
        case .syn(let token, let nonce):
            MultipathSubtype.writeHead(MultipathSubtype.join, low, octets: 12, to: p)
            p.put(addressID.value, 3)
            p.put(token, 4)
            p.put(nonce, 8)
        case .synAck(let hmac, let nonce):
            MultipathSubtype.writeHead(MultipathSubtype.join, low, octets: 16, to: p)
            p.put(addressID.value, 3)
            p.put(hmac, 4)
            p.put(nonce, 12)
        case .ack(let hmac):
            MultipathSubtype.writeHead(MultipathSubtype.join, 0, octets: 24, to: p)
            p.put(0 as UInt8, 3)
            p.put(hmac.a, 4)
            p.put(hmac.b, 12)
            p.put(hmac.c, 20)
        }
    }

    static func read(
        _ p: UnsafeRawPointer, length: Int, flags: ControlBits
    ) throws(WireError) -> MPJoin {
        var option = MPJoin()
        let handshake = flags.intersection([.syn, .ack])
        switch (length, handshake) {
        case (12, .syn):
            option.form = .syn(token: p.word32(4), nonce: p.word32(8))
        case (16, [.syn, .ack]):
            option.form = .synAck(hmac: p.word64(4), nonce: p.word32(12))
        case (24, .ack):
            option.form = .ack(HMAC160(p.word64(4), p.word64(12), p.word32(20)))
            return option
        default:
            throw .malformedMultipathOption(subtype: MultipathSubtype.join)
        }
        option.backup = p.byte(2) & 1 != 0
        option.addressID = AddressID(p.byte(3))
        return option
    }
}

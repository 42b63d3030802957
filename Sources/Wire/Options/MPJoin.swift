import Measures

/// MP_JOIN (RFC 8684 section 3.2); which form it takes follows from the segment's SYN and ACK bits.
public struct MPJoin: Hashable, Sendable {
    /// The leftmost 160 bits of an HMAC-SHA256.
    public struct HMAC160: Hashable, Sendable {
        public var a: UInt64 = 0   // bytes 0 to 7, big-endian
        public var b: UInt64 = 0   // bytes 8 to 15
        public var c: UInt32 = 0   // bytes 16 to 19
        public init() {}
        public init(_ a: UInt64, _ b: UInt64, _ c: UInt32) { self.a = a; self.b = b; self.c = c }
    }
    public enum Form: Hashable, Sendable {
        case syn(token: UInt32, nonce: UInt32)
        /// `hmac`: the leftmost 64 bits.
        case synAck(hmac: UInt64, nonce: UInt32)
        case ack(HMAC160)
    }
    public var form: Form = .syn(token: 0, nonce: 0)
    /// SYN and SYN/ACK only.
    public var backup = false
    /// SYN and SYN/ACK only.
    public var addressID = AddressID.initial
    public init() {}
}

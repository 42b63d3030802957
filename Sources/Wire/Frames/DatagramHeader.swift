/// The eight clear bytes at the front of every datagram; for a record they are the associated data.
///
/// ```
/// byte 0      kind (high 4 bits), key epoch modulo 4 (low 2 bits), two bits zero
/// byte 1      path ID
/// bytes 2-4   the receiver's session index; zero in a handshake's first message
/// bytes 5-7   the low 24 bits of the path's packet number; zero in a handshake
/// ```
public struct DatagramHeader: Equatable, Sendable {
    /// What the datagram is.
    public enum Kind: UInt8, Sendable {
        /// Noise message 1 follows.
        case hello = 1
        /// Noise message 2 follows.
        case welcome = 2
        /// The concentrator is busy: the hello is to come again with the cookie that follows.
        case cookie = 3
        /// Sealed frames and a tag follow.
        case record = 4
    }

    /// Bytes of the header.
    public static let size = 8
    /// Of the first four bytes, little-endian, what says which of a concentrator's processes at one
    /// port gets a datagram: the kind, and the two bits of the session that are its generation.
    public static let receiverBits: UInt32 = 0x00c0_00f0
    /// What follows the header.
    public var kind: Kind
    /// The keys' epoch modulo 4.
    public var epoch: UInt8
    /// Number of the path; beyond 15 there is none.
    public var path: UInt8
    /// The receiver's index of the session, 24 bits; zero in a handshake's first message.
    public var session: UInt32
    /// The low 24 bits of the path's packet number; zero in a handshake.
    public var number: UInt32

    /// A header with these fields.
    @inlinable public init(
        kind: Kind, epoch: UInt8 = 0, path: UInt8 = 0, session: UInt32,
        number: UInt32 = 0
    ) {
        self.kind = kind; self.epoch = epoch & 3; self.path = path
        self.session = session & 0xff_ffff; self.number = number & 0xff_ffff
    }

    /// Whether a datagram is, or pretends to be, something else than a session's record.
    @inlinable public static func isOfHandshake(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        bytes.isEmpty || bytes[0] >> 4 != Kind.record.rawValue
    }

    /// Nil for a datagram that is too short or of no known kind.
    @inlinable public init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size,
            bytes[0] & 0x0c == 0,
            let kind = Kind(rawValue: bytes[0] >> 4)
        else { return nil }
        self.kind = kind
        epoch = bytes[0] & 3
        path = bytes[1]
        session = bytes.low24(2)
        number = bytes.low24(5)
    }

    /// Writes `size` bytes.
    @inlinable public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: kind.rawValue << 4 | epoch, as: UInt8.self)
        out.storeBytes(of: path, toByteOffset: 1, as: UInt8.self)
        out.store(low24: session, at: 2)
        out.store(low24: number, at: 5)
    }
}

extension UInt64 {
    /// The packet number nearest to this one (the next expected) whose low 24 bits are `low`.
    @inlinable public func nearestPacketNumber(low: UInt32) -> UInt64 {
        let window: UInt64 = 1 << 24
        let candidate = (self & ~(window - 1)) | UInt64(low & 0xff_ffff)
        if candidate &+ window / 2 < self { return candidate &+ window }
        if candidate > self &+ window / 2, candidate >= window { return candidate &- window }
        return candidate
    }
}

/// The first twelve bytes of a message (RFC 1035 section 4.1.1).
public struct DNSHeader: Hashable, Sendable {
    /// Its 12 bytes (RFC 1035 section 4.1.1).
    public static let length = 12
    /// Of longer messages nothing is known: a length of two bytes goes before each on TCP.
    public static let maximumMessage = 65_535

    /// Tells which question an answer is for.
    public var id: UInt16
    /// Bits as on the wire (`Flag`), with the operation and the code.
    public var flags: UInt16
    /// Entries of the four sections: questions, answers, authority, additional.
    public var counts: (UInt16, UInt16, UInt16, UInt16)

    /// Bits of `flags`.
    public enum Flag {
        /// An answer; of a server that is responsible for the name (RFC 1035 section 4.1.1).
        public static let response: UInt16 = 0x8000, authoritative: UInt16 = 0x0400
        /// Cut short, ask again by TCP; the resolver is to ask others (RFC 1035 section 4.1.1).
        public static let truncated: UInt16 = 0x0200, recursionDesired: UInt16 = 0x0100
        /// The resolver asks others; DNSSEC has proved the data (RFC 4035 section 3.2.3).
        public static let recursionAvailable: UInt16 = 0x0080, authentic: UInt16 = 0x0020
        /// The asker proves the data itself (RFC 4035 section 3.2.2).
        public static let checkingDisabled: UInt16 = 0x0010
    }

    /// 0 is a question.
    public var operation: UInt8 { UInt8(flags >> 11 & 15) }
    /// The lower four bits of the code.
    public var code: UInt8 { UInt8(flags & 15) }
    /// Whether it is an answer.
    public var isResponse: Bool { flags & Flag.response != 0 }
    /// Whether it is cut short.
    public var isTruncated: Bool { flags & Flag.truncated != 0 }

    init(id: UInt16, flags: UInt16, counts: (UInt16, UInt16, UInt16, UInt16)) {
        self.id = id; self.flags = flags; self.counts = counts
    }

    /// Nil where there are fewer than 12 bytes.
    public init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.length else { return nil }
        let word = { (at: Int) in UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1]) }
        self.init(id: word(0), flags: word(2), counts: (word(4), word(6), word(8), word(10)))
    }

    func write(into out: inout [UInt8]) {
        for word in [id, flags, counts.0, counts.1, counts.2, counts.3] {
            out.append(UInt8(word >> 8))
            out.append(UInt8(word & 0xff))
        }
    }

    public static func == (a: DNSHeader, b: DNSHeader) -> Bool {
        a.id == b.id && a.flags == b.flags && a.counts == b.counts
    }
    public func hash(into hasher: inout Hasher) { hasher.combine(id); hasher.combine(flags) }
}

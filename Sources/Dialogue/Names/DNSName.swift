/// A domain name as DNS messages hold it (RFC 1035 section 3.1): labels behind their lengths, and a
/// zero. Upper and lower case mean the same, so it is kept in lower case.
public struct DNSName: Hashable, Sendable {
    /// Bytes of the longest name, the final zero included (RFC 1035 section 2.3.4).
    public static let maximumLength = 255
    /// Bytes of the longest label.
    public static let maximumLabel = 63

    /// As on the wire, in lower case, without pointers.
    public let bytes: [UInt8]

    /// The root: a name without labels.
    public static let root = DNSName(unchecked: [0])

    init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// Reads `example.org`, with a final dot or without; nil where it is no name of host or domain
    /// (letters, digits, hyphen, underscore).
    public init?(_ text: some StringProtocol) {
        let absolute = text.hasSuffix(".") ? text.dropLast() : text[...]
        var bytes: [UInt8] = []
        for label in absolute.split(separator: ".", omittingEmptySubsequences: false) {
            guard (1...Self.maximumLabel).contains(label.utf8.count),
                label.utf8.allSatisfy(Self.isPlain)
            else { return nil }
            bytes.append(UInt8(label.utf8.count))
            bytes += label.utf8.map(Self.lowered)
        }
        bytes.append(0)
        guard bytes.count > 1, bytes.count <= Self.maximumLength else { return nil }
        self.bytes = bytes
    }

    /// Whether it is `suffix` or lies below it.
    public func isWithin(_ suffix: DNSName) -> Bool {
        var at = 0
        while bytes.count - at >= suffix.bytes.count {
            if bytes.count - at == suffix.bytes.count {
                return bytes[at...].elementsEqual(suffix.bytes)
            }
            at += 1 + Int(bytes[at])
        }
        return false
    }

    /// `example.org`, as connections and rules name hosts; nil where a label has other bytes than
    /// letters, digits, hyphens and underscores, and for the root.
    public var hostName: String? {
        var text: [UInt8] = []
        var at = 0
        while at < bytes.count, bytes[at] != 0 {
            let label = bytes[(at + 1)...].prefix(Int(bytes[at]))
            guard label.allSatisfy(Self.isPlain) else { return nil }
            if at > 0 { text.append(0x2e) }
            text += label
            at += 1 + label.count
        }
        return text.isEmpty ? nil : String(decoding: text, as: UTF8.self)
    }

    static func isPlain(_ b: UInt8) -> Bool {
        switch b {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x5f: true
        default: false
        }
    }

    static func lowered(_ b: UInt8) -> UInt8 { (0x41...0x5a).contains(b) ? b | 0x20 : b }
}

/// What a question asks for.
public struct DNSQuestion: Hashable, Sendable {
    /// In lower case.
    public var name: DNSName
    /// The type of the records (RFC 1035 section 3.2.2), any.
    public var type: UInt16
    /// Almost always 1, the Internet's.
    public var recordClass: UInt16

    /// A question for records of one type and class.
    public init(_ name: DNSName, type: UInt16, recordClass: UInt16 = DNSType.internet) {
        self.name = name; self.type = type; self.recordClass = recordClass
    }

    /// As on the wire.
    var bytes: [UInt8] {
        name.bytes + [
            UInt8(type >> 8), UInt8(type & 0xff), UInt8(recordClass >> 8), UInt8(recordClass & 0xff)
        ]
    }
}

/// Numbers of types and classes that something is done about.
public enum DNSType {
    /// Types of records (RFC 1035, 3596, 6672, 6891).
    public static let a: UInt16 = 1, ns: UInt16 = 2, cname: UInt16 = 5, soa: UInt16 = 6
    /// More of them.
    public static let ptr: UInt16 = 12, mx: UInt16 = 15, aaaa: UInt16 = 28, dname: UInt16 = 39
    /// The pseudo-record of EDNS.
    public static let opt: UInt16 = 41
    /// Transfers of zones, which are no questions to a resolver (RFC 1995, 5936).
    public static let ixfr: UInt16 = 251, axfr: UInt16 = 252
    /// The class of the Internet.
    public static let internet: UInt16 = 1
}

/// Codes of answers (RFC 1035 section 4.1.1).
public enum DNSCode {
    /// No error; the message can't be read; the server failed.
    public static let noError: UInt8 = 0, formatError: UInt8 = 1, serverFailure: UInt8 = 2
    /// There is no such name; not implemented; the server does not want to.
    public static let noSuchName: UInt8 = 3, notImplemented: UInt8 = 4, refused: UInt8 = 5
}

/// Reads a message from its beginning on; every step strictly advances or fails.
struct DNSReader {
    let bytes: UnsafeRawBufferPointer
    var at: Int
    /// Where the times to live of the records that were read stand, in ascending order. They are
    /// counted down in what clients get: no name may lead through one.
    var lifetimes: [Int] = []
    /// Pointers in one name: servers write one or two, and a name has 127 labels at most.
    private static let maximumPointers = 16

    init(_ bytes: UnsafeRawBufferPointer, at: Int) {
        self.bytes = bytes
        self.at = at
    }

    mutating func word16() -> UInt16? {
        guard bytes.count - at >= 2 else { return nil }
        defer { at += 2 }
        return UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
    }

    mutating func word32() -> UInt32? {
        guard let high = word16(), let low = word16() else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }

    /// Passes over a name, and looks at all of it: nil where it is longer than a name may be, or
    /// where a pointer leads anywhere but backwards. `into` gets its bytes in lower case.
    mutating func name(into found: inout [UInt8]) -> Bool {
        var position = at, length = 0, end: Int?
        // RFC 1035 section 4.1.4: a prior occurrence. What leads further back each time ends.
        var lowest = at, pointers = 0
        found.removeAll(keepingCapacity: true)
        while true {
            guard position < bytes.count else { return false }
            let head = bytes[position]
            switch head >> 6 {
            case 0:
                let size = Int(head)
                guard position + 1 + size <= bytes.count else { return false }
                guard end == nil || isStable(position..<(position + 1 + size)) else {
                    return false
                }
                length += 1 + size
                guard length <= DNSName.maximumLength else { return false }
                found.append(head)
                for b in bytes[(position + 1)..<(position + 1 + size)] {
                    found.append(DNSName.lowered(b))
                }
                position += 1 + size
                if size == 0 {
                    at = end ?? position
                    return true
                }
            case 3:
                guard position + 1 < bytes.count,
                    end == nil || isStable(position..<(position + 2))
                else { return false }
                let target = Int(head & 0x3f) << 8 | Int(bytes[position + 1])
                pointers += 1
                guard target >= DNSHeader.length, target < lowest,
                    pointers <= Self.maximumPointers
                else { return false }
                lowest = target
                if end == nil { end = position + 2 }
                position = target
            default: return false  // RFC 6891 section 5: extended labels are obsolete
            }
        }
    }

    /// Whether these bytes, to which a pointer of the name at `at` led, lie before that name, and
    /// no time to live stands in them.
    private func isStable(_ range: Range<Int>) -> Bool {
        guard range.upperBound <= at else { return false }
        // The first one that ends behind the range's beginning.
        var low = 0, high = lifetimes.count
        while low < high {
            let middle = (low + high) / 2
            if lifetimes[middle] + 4 <= range.lowerBound { low = middle + 1 } else { high = middle }
        }
        return low == lifetimes.count || lifetimes[low] >= range.upperBound
    }
}

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

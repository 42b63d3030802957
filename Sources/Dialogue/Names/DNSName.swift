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

/// A client's question (RFC 1035 section 4), with what EDNS says beside it (RFC 6891).
public struct DNSQuery: Hashable, Sendable {
    /// The client's number for it.
    public var id: UInt16
    /// RD, AD and CD as the client has set them.
    public var flags: UInt16
    /// What is asked for.
    public var question: DNSQuestion
    /// The question as the client wrote it: an answer repeats it in the client's upper and lower
    /// case.
    public var asWritten: [UInt8]
    /// Nil: the client has said nothing of EDNS, so that its answer must not either.
    public var extended: Extended?

    /// What a client says by an OPT record; its options are for the next hop only, and left out.
    public struct Extended: Hashable, Sendable {
        /// Bytes of the longest UDP answer it takes, 512 at least.
        public var size: UInt16
        /// DO: the signatures are wanted too (RFC 3225).
        public var wantsSignatures: Bool
        /// With what `size` may be.
        public init(size: UInt16, wantsSignatures: Bool) {
            self.size = max(size, 512); self.wantsSignatures = wantsSignatures
        }
    }

    /// Why a message is no question to look into.
    public enum Refusal: Error, Hashable, Sendable {
        /// Nothing is answered: it is an answer itself, or too short for a header.
        case silence
        /// The header comes back with this code.
        case code(UInt8)
        /// EDNS of a version to come (RFC 6891 section 6.1.3).
        case version
    }

    /// The longest UDP answer without EDNS, and what is said by us.
    public static let plainSize: UInt16 = 512, ourSize: UInt16 = 4_096
    /// What servers are told: an answer that is longer than a datagram without fragments comes over
    /// TCP, since a fragment can be forged (DNS flag day 2020).
    public static let askedSize: UInt16 = 1_232

    /// A question of our own.
    public init(id: UInt16, _ question: DNSQuestion, flags: UInt16, extended: Extended?) {
        self.id = id
        self.flags = flags
        self.question = question
        asWritten = question.bytes
        self.extended = extended
    }

    /// Reads a message of any length; what stands behind the records is ignored.
    public init(reading bytes: UnsafeRawBufferPointer) throws(Refusal) {
        guard let header = DNSHeader(bytes), !header.isResponse else { throw .silence }
        guard header.operation == 0 else { throw .code(DNSCode.notImplemented) }
        guard header.counts.0 == 1, header.counts.1 == 0, header.counts.2 == 0 else {
            throw .code(DNSCode.formatError)
        }
        var reader = DNSReader(bytes, at: DNSHeader.length), name: [UInt8] = []
        guard reader.name(into: &name), let type = reader.word16(),
            let recordClass = reader.word16(),
            // A question has nothing before it to point to.
            reader.at == DNSHeader.length + name.count + 4
        else { throw .code(DNSCode.formatError) }
        asWritten = Array(bytes[DNSHeader.length..<reader.at])
        question = DNSQuestion(DNSName(unchecked: name), type: type, recordClass: recordClass)
        id = header.id
        flags =
            header.flags
            & (DNSHeader.Flag.recursionDesired | DNSHeader.Flag.authentic
                | DNSHeader.Flag.checkingDisabled)
        guard !(DNSType.ixfr...DNSType.axfr).contains(type), type != DNSType.opt else {
            throw .code(DNSCode.notImplemented)
        }
        for _ in 0..<header.counts.3 {
            guard let record = DNSRecord(&reader) else {
                throw .code(DNSCode.formatError)
            }
            guard record.type == DNSType.opt else { continue }
            guard extended == nil, record.nameLength == 1 else { throw .code(DNSCode.formatError) }
            guard record.lifetime >> 16 & 0xff == 0 else { throw .version }
            extended = Extended(
                size: record.recordClass, wantsSignatures: record.lifetime & 0x8000 != 0)
        }
    }

    /// The message as it is sent.
    public var bytes: [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(DNSHeader.length + asWritten.count + 11)
        DNSHeader(id: id, flags: flags, counts: (1, 0, 0, extended == nil ? 0 : 1))
            .write(into: &out)
        out += asWritten
        if let extended { DNSRecord.writeOption(extended, code: 0, into: &out) }
        return out
    }

    /// Whether the client gets the AD bit (RFC 6840 section 5.7).
    var wantsAuthentic: Bool {
        flags & DNSHeader.Flag.authentic != 0 || extended?.wantsSignatures == true
    }

    /// The longest answer it takes by UDP.
    public var maximumDatagram: Int { Int(min(extended?.size ?? Self.plainSize, Self.ourSize)) }

    /// An answer that says nothing but `code`.
    public func failure(_ code: UInt8) -> [UInt8] { answer(code: code, records: []) }

    /// An answer with addresses that are known without asking anybody.
    public func answer(addresses: [[UInt8]], lifetime: UInt32) -> [UInt8] {
        answer(code: DNSCode.noError, records: addresses, lifetime: lifetime)
    }

    private func answer(code: UInt8, records: [[UInt8]], lifetime: UInt32 = 0) -> [UInt8] {
        var out: [UInt8] = []
        let flags =
            flags & ~DNSHeader.Flag.authentic | DNSHeader.Flag.response
            | DNSHeader.Flag.recursionAvailable | UInt16(code)
        DNSHeader(
            id: id, flags: flags,
            counts: (1, UInt16(records.count), 0, extended == nil ? 0 : 1)
        ).write(into: &out)
        out += asWritten
        for record in records {
            out += [0xc0, UInt8(DNSHeader.length)]
            out += question.bytes.suffix(4)
            for shift in [24, 16, 8, 0] as [UInt32] {
                out.append(UInt8(truncatingIfNeeded: lifetime >> shift))
            }
            out += [UInt8(record.count >> 8), UInt8(record.count & 0xff)] + record
        }
        if let extended { DNSRecord.writeOption(extended.ours, code: 0, into: &out) }
        return out
    }

    /// What is said to a message that is no question; nil for silence.
    public static func refusal(_ why: Refusal, of bytes: UnsafeRawBufferPointer) -> [UInt8]? {
        guard let header = DNSHeader(bytes), !header.isResponse else { return nil }
        var out: [UInt8] = []
        let kept: UInt16 = 0x7800 | DNSHeader.Flag.recursionDesired
        let flags = header.flags & kept | DNSHeader.Flag.response
        switch why {
        case .silence: return nil
        case .code(let code):
            DNSHeader(id: header.id, flags: flags | UInt16(code), counts: (0, 0, 0, 0))
                .write(into: &out)
        case .version:
            DNSHeader(id: header.id, flags: flags, counts: (0, 0, 0, 1)).write(into: &out)
            // BADVERS is 16: its upper bits stand in the OPT record.
            DNSRecord.writeOption(
                Extended(size: ourSize, wantsSignatures: false), code: 1, into: &out)
        }
        return out
    }
}

extension DNSQuery.Extended {
    /// What an answer of ours says: our size, the client's DO.
    var ours: Self { Self(size: DNSQuery.ourSize, wantsSignatures: wantsSignatures) }
}

/// A resource record without its name (RFC 1035 section 4.1.3).
struct DNSRecord {
    /// Bytes of its name, without pointers: 1 for the root.
    var nameLength: Int
    var type: UInt16
    var recordClass: UInt16
    var lifetime: UInt32
    /// Where its lifetime stands, and its data.
    var lifetimeAt: Int
    var data: Range<Int>

    /// Reads one; nil where it is malformed or cut short.
    init?(_ reader: inout DNSReader) {
        guard let nameLength = reader.passName(), let type = reader.word16(),
            let recordClass = reader.word16(), let lifetime = reader.word32(),
            let length = reader.word16(), reader.bytes.count - reader.at >= Int(length)
        else { return nil }
        self.nameLength = nameLength
        self.type = type
        self.recordClass = recordClass
        self.lifetime = lifetime
        lifetimeAt = reader.at - 6
        reader.lifetimes.append(lifetimeAt)
        data = reader.at..<(reader.at + Int(length))
        reader.at = data.upperBound
    }

    /// `code`: the upper eight bits of the answer's.
    static func writeOption(_ extended: DNSQuery.Extended, code: UInt8, into out: inout [UInt8]) {
        out += [0, 0, UInt8(DNSType.opt)]
        out += [UInt8(extended.size >> 8), UInt8(extended.size & 0xff)]
        out += [code, 0, extended.wantsSignatures ? 0x80 : 0, 0, 0, 0]
    }
}

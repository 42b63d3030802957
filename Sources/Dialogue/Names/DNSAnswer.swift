import Measures

/// A server's answer, looked through to its end once: what it is an answer to, how long it lives,
/// and where its times to live stand, so that a cache can count them down.
///
/// Its OPT record, and what stands behind that, are left out: a server's EDNS is for whoever asked
/// it. (Only the additional section has one, and servers put it last.)
public struct DNSAnswer: Sendable {
    /// The message without the OPT record; the header says so.
    public private(set) var bytes: [UInt8]
    /// What was asked.
    public let question: DNSQuestion
    /// The code, with the bits that EDNS adds.
    public let code: UInt16
    /// How long it may be kept, in seconds: the shortest of its records', or what the SOA says of
    /// a name or type that is not there (RFC 2308 section 5); nil where nothing says it.
    public let lifetime: UInt32?
    /// The addresses of A and AAAA records among the answers.
    public let addresses: [IPAddress]
    /// Where the times to live stand.
    let lifetimes: [UInt16]

    /// Answers kept are not older than a day, and those that say "no" not older than three hours
    /// (RFC 2308 section 5).
    public static let maximumLife: UInt32 = 86_400, maximumNegative: UInt32 = 10_800

    /// Nil where it is no answer with one question, or where anything in it is malformed: names
    /// that are too long or lead in circles, records that are cut short. What a server has cut
    /// (TC) is read as far as it goes.
    public init?(reading message: UnsafeRawBufferPointer) {
        guard message.count <= DNSHeader.maximumMessage, let header = DNSHeader(message),
            header.isResponse, header.operation == 0, header.counts.0 == 1
        else { return nil }
        var reader = DNSReader(message, at: DNSHeader.length), name: [UInt8] = []
        guard reader.name(into: &name), let type = reader.word16(),
            let recordClass = reader.word16(),
            reader.at == DNSHeader.length + name.count + 4
        else { return nil }
        question = DNSQuestion(DNSName(unchecked: name), type: type, recordClass: recordClass)
        var sections = Sections(header: header, type: type, end: reader.at)
        guard sections.read(&reader) || header.isTruncated else { return nil }
        code = UInt16(header.code) | sections.codeExtension
        lifetime = sections.lifetime(code: code)
        addresses = sections.addresses
        lifetimes = sections.lifetimes
        bytes = Array(message[..<sections.end])
        bytes[10] = UInt8(sections.additional >> 8)
        bytes[11] = UInt8(sections.additional & 0xff)
    }

    /// Whether it is cut short.
    public var isTruncated: Bool { bytes[2] & 0x02 != 0 }
    /// The server can't or won't say: another one may.
    public var isFailure: Bool {
        code != UInt16(DNSCode.noError) && code != UInt16(DNSCode.noSuchName)
    }
    /// Whether it is for this question and number.
    public func answers(_ question: DNSQuestion, id: UInt16) -> Bool {
        self.question == question && UInt16(bytes[0]) << 8 | UInt16(bytes[1]) == id
    }

    /// What `query` is told, `age` seconds after the answer came: its number, its case, its flags,
    /// times to live counted down, EDNS where it has spoken of it. Longer than `limit` bytes, only
    /// that it is cut short (RFC 2181 section 9), so that it is asked again over TCP.
    public func reply(to query: DNSQuery, age: UInt32, limit: Int) -> [UInt8] {
        let option = query.extended == nil ? 0 : 11
        guard query.asWritten.count == question.bytes.count else {
            return query.failure(DNSCode.serverFailure)
        }
        var out: [UInt8] = []
        let isCut = isTruncated || bytes.count + option > limit
        if isCut {
            out = Array(bytes[..<(DNSHeader.length + query.asWritten.count)])
            for i in 6..<12 { out[i] = 0 }
            out[2] |= 0x02
        } else {
            out.reserveCapacity(bytes.count + option)
            out += bytes
            for at in lifetimes { Self.countDown(&out, Int(at), by: age) }
        }
        out[0] = UInt8(query.id >> 8)
        out[1] = UInt8(query.id & 0xff)
        // QR, the operation and TC stay; AA is no cache's to say.
        out[2] = out[2] & 0xfa | UInt8(query.flags >> 8) & 0x01
        let kept: UInt8 = query.wantsAuthentic ? 0x2f : 0x0f
        out[3] = out[3] & kept | 0x80 | UInt8(query.flags & DNSHeader.Flag.checkingDisabled)
        for i in query.asWritten.indices { out[DNSHeader.length + i] = query.asWritten[i] }
        guard let extended = query.extended else { return out }
        let additional = (UInt16(out[10]) << 8 | UInt16(out[11])) &+ 1
        out[10] = UInt8(additional >> 8)
        out[11] = UInt8(additional & 0xff)
        DNSRecord.writeOption(extended.ours, code: UInt8(code >> 4 & 0xff), into: &out)
        return out
    }

    private static func countDown(_ out: inout [UInt8], _ at: Int, by age: UInt32) {
        var value: UInt32 = 0
        for i in 0..<4 { value = value << 8 | UInt32(out[at + i]) }
        // RFC 2181 section 8: with the highest bit set it is zero.
        value = value >> 31 == 1 ? 0 : min(value, maximumLife)
        value = value > age ? value - age : 0
        for i in 0..<4 { out[at + i] = UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * i)) }
    }
}

/// What walking over the three sections of records finds.
private struct Sections {
    let header: DNSHeader
    let type: UInt16
    /// Behind the last record that is kept.
    var end: Int
    /// Records of the additional section that are kept.
    var additional: UInt16 = 0
    var lifetimes: [UInt16] = []
    var addresses: [IPAddress] = []
    var codeExtension: UInt16 = 0
    private var shortest = UInt32.max
    private var negative: UInt32?
    private var hasAnswer = false

    init(header: DNSHeader, type: UInt16, end: Int) {
        self.header = header; self.type = type; self.end = end
    }

    /// False where a record is malformed or missing; what was read before it stands.
    mutating func read(_ reader: inout DNSReader) -> Bool {
        for _ in 0..<header.counts.1 {
            guard let record = next(&reader) else { return false }
            noteAnswer(record, reader.bytes)
        }
        for _ in 0..<header.counts.2 {
            guard let record = next(&reader) else { return false }
            if record.type == DNSType.soa { noteAuthority(record, reader.bytes) }
        }
        for _ in 0..<header.counts.3 {
            guard let record = DNSRecord(&reader), check(record, &reader) else { return false }
            if record.type == DNSType.opt {
                codeExtension = UInt16(record.lifetime >> 24) << 4
                return true
            }
            keep(record)
            additional += 1
        }
        return true
    }

    private mutating func next(_ reader: inout DNSReader) -> DNSRecord? {
        guard let record = DNSRecord(&reader), record.type != DNSType.opt,
            check(record, &reader)
        else { return nil }
        keep(record)
        return record
    }

    private mutating func keep(_ record: DNSRecord) {
        lifetimes.append(UInt16(record.lifetimeAt))
        shortest = min(shortest, record.lifetime >> 31 == 1 ? 0 : record.lifetime)
        end = record.data.upperBound
    }

    private mutating func noteAnswer(_ record: DNSRecord, _ bytes: UnsafeRawBufferPointer) {
        if record.type == type || type == 255 { hasAnswer = true }
        guard record.recordClass == DNSType.internet else { return }
        var address: [UInt8] { Array(bytes[record.data]) }
        switch (record.type, record.data.count) {
        case (DNSType.a, 4):
            addresses.append(IPAddress(v4: address.reduce(0) { $0 << 8 | UInt32($1) }))
        case (DNSType.aaaa, 16):
            let word = { (s: ArraySlice<UInt8>) in s.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
            let all = address
            addresses.append(IPAddress(v6High: word(all[..<8]), low: word(all[8...])))
        default: break
        }
    }

    /// The SOA's own life, or its last number, whichever is shorter (RFC 2308 section 4).
    private mutating func noteAuthority(_ record: DNSRecord, _ bytes: UnsafeRawBufferPointer) {
        guard record.data.count >= 22 else { return }
        let minimum = bytes[(record.data.upperBound - 4)..<record.data.upperBound]
            .reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        negative = min(record.lifetime, minimum, DNSAnswer.maximumNegative)
    }

    /// Names inside of records may point too, in the types that RFC 3597 section 4 names.
    private func check(_ record: DNSRecord, _ reader: inout DNSReader) -> Bool {
        var names = 1, skipped = 0, rest = 0
        switch record.type {
        case DNSType.ns, DNSType.cname, DNSType.ptr, DNSType.dname: break
        case DNSType.mx: skipped = 2
        case DNSType.soa: names = 2; rest = 20
        default: return true
        }
        reader.at = record.data.lowerBound + skipped
        for _ in 0..<names { guard reader.passName() != nil else { return false } }
        defer { reader.at = record.data.upperBound }
        return reader.at + rest == record.data.upperBound
    }

    func lifetime(code: UInt16) -> UInt32? {
        if code == UInt16(DNSCode.noError), hasAnswer {
            return min(shortest, DNSAnswer.maximumLife)
        }
        guard code <= UInt16(DNSCode.noSuchName), code != UInt16(DNSCode.formatError),
            code != UInt16(DNSCode.serverFailure), let negative
        else { return nil }
        return min(negative, shortest)
    }
}

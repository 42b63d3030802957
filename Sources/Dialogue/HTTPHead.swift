// The head of an HTTP/1.x message (RFC 9112 sections 2 to 5): where it ends, its lines, its fields.

/// How much of an HTTP message's head is kept; what is longer is refused.
public enum HTTPLimit {
    /// Bytes of the first line: long queries are common, longer ones than this are not.
    public static let startLine = 16 << 10
    /// Bytes of the whole head, cookies included; common servers stop at 8 to 64 KiB.
    public static let head = 64 << 10
    /// Header fields of one head.
    public static let fields = 256
    /// Members that all fields of one name may list together, where each is looked at.
    public static let listMembers = 64
    /// Bytes of a chunk's size line with its extensions.
    public static let chunkLine = 4 << 10
    /// Bytes of all trailer fields together.
    public static let trailers = 16 << 10
    /// Empty lines tolerated in front of a request (RFC 9112 section 2.2).
    public static let leadingEmptyLines = 2
    /// Interim (1xx) responses in front of a final one.
    public static let interimResponses = 16
}

/// What is wrong with a message's head.
public enum HTTPHeadError: Error, Hashable, Sendable {
    case startLineTooLong, headTooLarge, tooManyFields
    case longList
    case bareLineFeed, bareCarriageReturn, controlByte, foldedField, malformedField
}

/// One header field as ranges in the head's bytes; the value without surrounding white space.
struct HTTPField: Hashable, Sendable {
    var name: Range<Int>
    var value: Range<Int>
}

/// A complete head, its fields found but not yet understood.
public struct HTTPHead: Sendable {
    let bytes: [UInt8]
    let startLine: Range<Int>
    let fields: [HTTPField]

    /// The values of every field of this name (in lower case), in order.
    func values(_ name: String) -> [ArraySlice<UInt8>] {
        fields.filter { isNamed($0, name) }.map { bytes[$0.value] }
    }

    func isNamed(_ field: HTTPField, _ name: String) -> Bool {
        ASCII.equals(bytes[field.name], name)
    }

    /// Whether a field whose members are looked at one by one lists more than anybody needs: each
    /// name that Connection lists is compared with every field's.
    var hasLongList: Bool {
        ["connection", "proxy-connection", "transfer-encoding", "content-length"].contains { name in
            let members = values(name).reduce(0) { $0 + $1.count { $0 == UInt8(ascii: ",") } + 1 }
            return members > HTTPLimit.listMembers
        }
    }

    /// The comma-separated members of every field of this name, trimmed and in lower case, without
    /// empty ones.
    func list(_ name: String) -> [String] {
        values(name).flatMap { value in
            value.split(separator: UInt8(ascii: ",")).map { ASCII.lowercased(ASCII.trimmed($0)) }
                .filter { !$0.isEmpty }
        }
    }
}

/// Finds the end of a head in bytes that arrive piece by piece, looking at each byte once.
public struct HTTPHeadReader: Sendable {
    /// What the bytes so far are.
    public enum Reading: Sendable {
        case needMore
        /// The head, and the number of bytes it took with the empty line behind it.
        case head(HTTPHead, length: Int)
        case refused(HTTPHeadError)
    }

    private let isLenient: Bool
    private var scanned = 0
    private var lineStart = 0
    private var leadingEmptyLines = 0
    private var lines: [Range<Int>] = []

    /// `isLenient`: for responses. A line feed alone is a line's end (RFC 9112 section 2.2), space
    /// before a field's colon is removed (section 5.1) and folded fields are unfolded (section
    /// 5.2), since old origins send all three; control characters become spaces (RFC 9110 section
    /// 5.5), and lines that are no fields are left out, as browsers do it. From an application they
    /// are refused, as two readers may disagree about them.
    public init(isLenient: Bool = false) { self.isLenient = isLenient }

    /// `bytes` are all bytes since the message's start: those of the last call and what came since.
    public mutating func read(_ bytes: UnsafeRawBufferPointer) -> Reading {
        while scanned < bytes.count {
            let byte = bytes[scanned]
            let afterCarriageReturn = scanned > lineStart && bytes[scanned - 1] == ASCII.cr
            if byte == ASCII.lf {
                guard afterCarriageReturn || isLenient else { return .refused(.bareLineFeed) }
                let line = lineStart..<(afterCarriageReturn ? scanned - 1 : scanned)
                scanned += 1
                lineStart = scanned
                if !line.isEmpty {
                    guard lines.count <= HTTPLimit.fields else { return .refused(.tooManyFields) }
                    lines.append(line)
                } else if lines.isEmpty {
                    leadingEmptyLines += 1
                    guard leadingEmptyLines <= HTTPLimit.leadingEmptyLines else {
                        return .refused(.malformedField)
                    }
                } else {
                    return finish(bytes.slice(0..<scanned))
                }
                continue
            }
            if afterCarriageReturn, !isLenient { return .refused(.bareCarriageReturn) }
            if ASCII.isControl(byte), byte == 0 || byte != ASCII.cr && !isLenient {
                return .refused(.controlByte)
            }
            scanned += 1
            if lines.isEmpty, scanned - lineStart > HTTPLimit.startLine {
                return .refused(.startLineTooLong)
            }
            if scanned > HTTPLimit.head { return .refused(.headTooLarge) }
        }
        return .needMore
    }

    private mutating func finish(_ received: UnsafeRawBufferPointer) -> Reading {
        var bytes = Array(received)
        if isLenient {
            for i in lines.joined() where ASCII.isControl(bytes[i]) { bytes[i] = ASCII.space }
            unfold(&bytes)
        }
        var fields: [HTTPField] = []
        fields.reserveCapacity(lines.count - 1)
        for line in lines.dropFirst() {
            // RFC 9112 section 5.2: a fold is refused, as two readers may see two messages.
            if ASCII.isSpace(bytes[line.lowerBound]) { return .refused(.foldedField) }
            guard let colon = line.first(where: { bytes[$0] == UInt8(ascii: ":") }) else {
                if isLenient { continue }
                return .refused(.malformedField)
            }
            var name = line.lowerBound..<colon
            while isLenient, let last = name.last, ASCII.isSpace(bytes[last]) {
                name = name.lowerBound..<last
            }
            guard !name.isEmpty, bytes[name].allSatisfy(ASCII.isToken) else {
                if isLenient { continue }
                return .refused(.malformedField)
            }
            var value = (colon + 1)..<line.upperBound
            while let first = value.first, ASCII.isSpace(bytes[first]) {
                value = (first + 1)..<value.upperBound
            }
            while let last = value.last, ASCII.isSpace(bytes[last]) {
                value = value.lowerBound..<last
            }
            fields.append(HTTPField(name: name, value: value))
        }
        let head = HTTPHead(bytes: bytes, startLine: lines[0], fields: fields)
        guard !head.hasLongList else { return .refused(.longList) }
        return .head(head, length: bytes.count)
    }

    /// RFC 9112 section 5.2: each fold becomes spaces. Section 2.2: a line that begins with white
    /// space behind the start line belongs to no field and is dropped.
    private mutating func unfold(_ bytes: inout [UInt8]) {
        var whole = [lines[0]]
        for line in lines.dropFirst() {
            guard ASCII.isSpace(bytes[line.lowerBound]) else { whole.append(line); continue }
            guard whole.count > 1, let last = whole.popLast() else { continue }
            for i in last.upperBound..<line.lowerBound { bytes[i] = ASCII.space }
            whole.append(last.lowerBound..<line.upperBound)
        }
        lines = whole
    }
}

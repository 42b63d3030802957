/// How the length of a message's body is known (RFC 9112 section 6.3).
public enum HTTPBodyFraming: Hashable, Sendable {
    case none
    case length(UInt64)
    case chunked
    /// The body ends with the connection; responses only.
    case untilClose
}

/// What is wrong with a chunked body.
public enum HTTPBodyError: Error, Hashable, Sendable {
    case malformedChunkSize, chunkTooLong, chunkLineTooLong, missingLineEnd, trailersTooLong
}

/// Follows a body that is passed on as it is, to know where it ends.
public struct HTTPBodyReader: Sendable {
    private enum State: Sendable {
        case counted(UInt64)
        case untilClose
        /// In a chunk's size line: digits so far, the value, and the part of the line.
        case size(digits: Int, value: UInt64, SizeLine)
        case data(UInt64)
        /// Behind a chunk's data: 0 expects CR, 1 expects LF.
        case dataEnd(Int)
        /// In the trailers: whether the line is empty so far, and whether CR was seen.
        case trailer(isEmpty: Bool, afterCR: Bool)
        case finished
    }
    private enum SizeLine: Sendable { case digits, space, extensions, end }
    private var state: State
    /// Bytes of the present size line, or of all trailers.
    private var lineLength = 0

    /// Before the first byte of a body that is framed like this.
    public init(_ framing: HTTPBodyFraming) {
        state =
            switch framing {
            case .none, .length(0): .finished
            case .length(let n): .counted(n)
            case .untilClose: .untilClose
            case .chunked: .size(digits: 0, value: 0, .digits)
            }
    }

    /// The whole body was seen. Never true for a body that ends with the connection.
    public var isFinished: Bool { if case .finished = state { true } else { false } }
    /// Whether the connection may end here without cutting the body short.
    public var mayEndHere: Bool {
        switch state {
        case .finished, .untilClose: true
        default: false
        }
    }

    /// The number of bytes at the front of `bytes` that belong to the body; the caller passes them
    /// on and comes back with what lies behind them.
    public mutating func read(_ bytes: UnsafeRawBufferPointer) throws(HTTPBodyError) -> Int {
        var at = 0
        while at < bytes.count {
            switch state {
            case .finished:
                return at
            case .untilClose:
                return bytes.count
            case .counted(let left):
                let n = Int(min(left, UInt64(bytes.count - at)))
                at += n
                state = left == UInt64(n) ? .finished : .counted(left - UInt64(n))
            case .data(let left):
                let n = Int(min(left, UInt64(bytes.count - at)))
                at += n
                state = left == UInt64(n) ? .dataEnd(0) : .data(left - UInt64(n))
            case .dataEnd(let seen):
                guard bytes[at] == (seen == 0 ? ASCII.cr : ASCII.lf) else { throw .missingLineEnd }
                at += 1
                state =
                    seen == 0
                    ? .dataEnd(1) : .size(digits: 0, value: 0, .digits)
            case .size(let digits, let value, let part):
                try readSize(bytes[at], digits, value, part)
                at += 1
            case .trailer(let isEmpty, let afterCR):
                try readTrailer(bytes[at], isEmpty, afterCR)
                at += 1
            }
        }
        return at
    }

    /// RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF.
    private mutating func readSize(
        _ byte: UInt8, _ digits: Int, _ value: UInt64,
        _ part: SizeLine
    ) throws(HTTPBodyError) {
        lineLength += 1
        guard lineLength <= HTTPLimit.chunkLine else { throw .chunkLineTooLong }
        if part == .end {
            guard byte == ASCII.lf else { throw .missingLineEnd }
            lineLength = 0
            state = value == 0 ? .trailer(isEmpty: true, afterCR: false) : .data(value)
            return
        }
        if part == .digits, let digit = Self.hexadecimal(byte) {
            // 15 digits are 2^60 bytes; more can only be meant to overflow somebody's counter.
            guard digits < 15 else { throw .chunkTooLong }
            state = .size(digits: digits + 1, value: value << 4 | digit, .digits)
            return
        }
        guard digits > 0 else { throw .malformedChunkSize }
        switch byte {
        case ASCII.cr:
            state = .size(digits: digits, value: value, .end)
        case ASCII.lf, 0:
            throw .missingLineEnd
        case _ where part == .extensions:
            break
        case UInt8(ascii: ";"):
            state = .size(digits: digits, value: value, .extensions)
        // Some origins pad the size; behind the padding only an extension may come, never another
        // size.
        case ASCII.space, ASCII.tab:
            state = .size(digits: digits, value: value, .space)
        default:
            throw .malformedChunkSize
        }
    }

    /// RFC 9112 section 7.1.2: field lines up to an empty line.
    private mutating func readTrailer(
        _ byte: UInt8, _ isEmpty: Bool, _ afterCR: Bool
    ) throws(HTTPBodyError) {
        lineLength += 1
        guard lineLength <= HTTPLimit.trailers else { throw .trailersTooLong }
        if afterCR {
            guard byte == ASCII.lf else { throw .missingLineEnd }
            state = isEmpty ? .finished : .trailer(isEmpty: true, afterCR: false)
        } else if byte == ASCII.cr {
            state = .trailer(isEmpty: isEmpty, afterCR: true)
        } else {
            guard byte != ASCII.lf, byte != 0 else { throw .missingLineEnd }
            state = .trailer(isEmpty: false, afterCR: false)
        }
    }

    private static func hexadecimal(_ b: UInt8) -> UInt64? {
        switch b {
        case 0x30...0x39: UInt64(b - 0x30)
        case 0x41...0x46: UInt64(b - 0x37)
        case 0x61...0x66: UInt64(b - 0x57)
        default: nil
        }
    }
}

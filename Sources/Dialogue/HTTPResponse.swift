/// What the proxy must know of a request to understand its response.
public struct HTTPResponseContext: Hashable, Sendable {
    /// The request was HEAD: the response has no body.
    public var isHead: Bool
    /// The request asked for another protocol: 101 may be answered.
    public var mayUpgrade: Bool
    /// The application takes neither interim responses nor chunks.
    public var clientIsVersion10: Bool
    /// The application may send another request behind this one.
    public var clientKeepsAlive: Bool

    /// What must be kept of `request` until its response is complete.
    public init(_ request: HTTPRequest) {
        isHead = request.isHead
        mayUpgrade = request.kind == .upgrade
        clientIsVersion10 = request.isVersion10
        clientKeepsAlive = request.keepsAlive
    }
}

/// An origin's response, rewritten for the application.
public struct HTTPResponse: Sendable {
    /// 200 to 999: interim responses are told apart before.
    public var status: Int
    /// The head to send to the application, with its empty line.
    public var head: [UInt8]
    /// How long what follows the head is.
    public var body: HTTPBodyFraming
    /// Whether the origin's stream may carry another request behind this response.
    public var originKeepsAlive: Bool
    /// Whether the application's connection may carry another request behind this response.
    public var clientKeepsAlive: Bool
}

/// Why an origin's response can't be passed on.
public enum HTTPResponseError: Error, Hashable, Sendable {
    case malformedHead(HTTPHeadError)
    case notHTTP
    /// The body's length is contradictory.
    case ambiguousLength
    case unexpectedUpgrade
    case tooManyInterimResponses

    /// The answer for the application, where nothing was passed on yet.
    public var refusal: HTTPRefusal {
        switch self {
        case .malformedHead:
            HTTPRefusal(.badGateway, "The origin's response has a malformed header.")
        case .notHTTP: HTTPRefusal(.badGateway, "The origin's response is not HTTP/1.x.")
        case .ambiguousLength:
            HTTPRefusal(.badGateway, "The length of the origin's response is ambiguous.")
        case .unexpectedUpgrade:
            HTTPRefusal(.badGateway, "The origin switched protocols without being asked to.")
        case .tooManyInterimResponses:
            HTTPRefusal(.badGateway, "The origin sent interim responses without an end.")
        }
    }
}

/// Reads the response to one request, interim responses included.
public struct HTTPResponseReader: Sendable {
    /// What the bytes so far are.
    public enum Reading: Sendable {
        case needMore
        /// Send `head` to the application (empty: nothing) and read on behind `length` bytes.
        case interim(head: [UInt8], length: Int)
        /// 101: send `head`; what follows is a tunnel in both directions.
        case switching(head: [UInt8], length: Int)
        /// The response; its body lies behind `length` bytes.
        case final(HTTPResponse, length: Int)
        case refused(HTTPResponseError)
    }
    private let context: HTTPResponseContext
    private var heads = HTTPHeadReader(isLenient: true)
    private var interimResponses = 0

    /// Of the request that the response answers.
    public init(_ context: HTTPResponseContext) { self.context = context }

    /// `bytes` are all bytes since the present head's start.
    public mutating func read(_ bytes: UnsafeRawBufferPointer) -> Reading {
        switch heads.read(bytes) {
        case .needMore: return .needMore
        case .refused(let error): return .refused(.malformedHead(error))
        case .head(let head, let length):
            heads = HTTPHeadReader(isLenient: true)
            do throws(HTTPResponseError) {
                return try understand(head, length)
            } catch {
                return .refused(error)
            }
        }
    }

    private mutating func understand(
        _ head: HTTPHead, _ length: Int
    ) throws(HTTPResponseError) -> Reading {
        let line = try StatusLine(head)
        if line.status == 101 {
            guard context.mayUpgrade else { throw .unexpectedUpgrade }
            return .switching(
                head: rewrite(head, line, closing: false, dropsLength: true), length: length)
        }
        if line.status < 200 {
            interimResponses += 1
            guard interimResponses <= HTTPLimit.interimResponses else {
                throw .tooManyInterimResponses
            }
            // RFC 9110 section 15.2: an HTTP/1.0 application is not sent any.
            let out =
                context.clientIsVersion10
                ? [] : rewrite(head, line, closing: false, dropsLength: true)
            return .interim(head: out, length: length)
        }
        let body = try framing(head, line)
        let connection = head.list("connection")
        let origin =
            !line.isVersion10 && !connection.contains("close") && body != .untilClose
            && !(head.values("content-length").count > 0
                && head.values("transfer-encoding").count > 0)
        let client = context.clientKeepsAlive && body != .untilClose
        let out = rewrite(head, line, closing: !client, dropsLength: body == .chunked)
        let response = HTTPResponse(
            status: line.status, head: out, body: body, originKeepsAlive: origin,
            clientKeepsAlive: client)
        return .final(response, length: length)
    }

    /// RFC 9112 section 6.3, in its order.
    private func framing(
        _ head: HTTPHead, _ line: StatusLine
    ) throws(HTTPResponseError) -> HTTPBodyFraming {
        if context.isHead || line.status == 204 || line.status == 304 { return .none }
        let codings = transferCodings(head)
        if !codings.isEmpty {
            // RFC 9112 section 6.1 calls it faulty in HTTP/1.0; it is read as browsers and curl
            // read it, and the stream serves no other request.
            return codings.last == "chunked" ? .chunked : .untilClose
        }
        var length: UInt64?
        for value in head.values("content-length") {
            for member in value.split(
                separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
            {
                guard let number = ASCII.decimal(ASCII.trimmed(member)), number == length ?? number
                else {
                    throw .ambiguousLength
                }
                length = number
            }
        }
        guard let length else { return .untilClose }
        return length == 0 ? .none : .length(length)
    }

    /// "identity" says that there is none: RFC 2616 knew it, and old origins send it beside a
    /// Content-Length. Curl and browsers read it so.
    private func transferCodings(_ head: HTTPHead) -> [String] {
        head.list("transfer-encoding").filter { $0 != "identity" }
    }

    /// The head for the application, in the proxy's own version (RFC 9110 section 2.5), hop-by-hop
    /// fields left out.
    private func rewrite(
        _ head: HTTPHead, _ line: StatusLine, closing: Bool, dropsLength: Bool
    ) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(head.bytes.count + 32)
        out += "HTTP/1.1".utf8
        out += line.rest
        out += "\r\n".utf8
        let named = head.list("connection")
        let lengths =
            ["content-length"] + (transferCodings(head).isEmpty ? ["transfer-encoding"] : [])
        head.writeFields(except: HopByHop.response + lengths, named: named, into: &out)
        // One Content-Length, also where the origin repeated it (RFC 9112 section 6.3).
        if !dropsLength, let length = head.list("content-length").first {
            out += "Content-Length: \(length)\r\n".utf8
        }
        if line.status == 101 {
            out += "Connection: Upgrade\r\n".utf8
            for value in head.values("upgrade") {
                out += "Upgrade: ".utf8; out += value; out += "\r\n".utf8
            }
        } else if closing {
            out += "Connection: close\r\n".utf8
        }
        out += "\r\n".utf8
        return out
    }
}

/// `HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4).
private struct StatusLine {
    var status: Int
    var isVersion10: Bool
    /// From the space behind the version to the end.
    var rest: ArraySlice<UInt8>

    init(_ head: HTTPHead) throws(HTTPResponseError) {
        let line = head.bytes[head.startLine]
        let version = line.prefix(8)
        rest = line.dropFirst(8)
        guard version.starts(with: "HTTP/1.".utf8),
            let minor = version.last,
            ASCII.isDigit(minor),
            version.count == 8,
            rest.first == ASCII.space
        else { throw .notHTTP }
        let code = rest.dropFirst().prefix(3), after = rest.dropFirst(4)
        guard let number = ASCII.decimal(code), (100...999).contains(number),
            after.isEmpty || after.first == ASCII.space
        else { throw .notHTTP }
        status = Int(number)
        isVersion10 = minor == UInt8(ascii: "0")
    }
}

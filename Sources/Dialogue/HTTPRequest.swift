import Measures
import Wire

/// A request to the proxy, understood: where it goes and what the origin is to be sent.
public struct HTTPRequest: Sendable {
    /// What is to be done with it.
    public enum Kind: Hashable, Sendable {
        /// CONNECT: a tunnel for whatever the application speaks.
        case connect
        /// An absolute-form request, passed on in origin-form.
        case forward
        /// The same, asking to leave HTTP (RFC 9110 section 7.8): a tunnel if the origin answers
        /// 101.
        case upgrade
    }
    /// CONNECT, an ordinary request, or one that may end as a tunnel.
    public var kind: Kind
    /// Where it goes: name or address, and a port that is not 0.
    public var target: Target
    /// The rewritten head with its empty line; empty for CONNECT.
    public var head: [UInt8]
    /// How long what follows the head is; never `untilClose`.
    public var body: HTTPBodyFraming
    /// A HEAD request: its response has no body whatever its fields say.
    public var isHead: Bool
    /// The application speaks HTTP/1.0: it takes neither interim responses nor a second request.
    public var isVersion10: Bool
    /// Whether the application wants to send another request behind this one.
    public var keepsAlive: Bool
}

/// Reads requests to the proxy, one after another on one connection.
public struct HTTPRequestReader: Sendable {
    /// What the bytes so far are.
    public enum Reading: Sendable {
        case needMore
        /// The request, and the bytes its head took; its body lies behind them.
        case request(HTTPRequest, length: Int)
        /// Send `reply()` and close.
        case refused(HTTPRefusal)
    }
    private let credentials: Credentials?
    private var heads = HTTPHeadReader()

    /// Nil: nobody is asked for a password.
    public init(credentials: Credentials?) { self.credentials = credentials }

    /// `bytes` are all bytes since the request's start: those of the last call and what came since.
    public mutating func read(_ bytes: UnsafeRawBufferPointer) -> Reading {
        switch heads.read(bytes) {
        case .needMore:
            return .needMore
        case .refused(let error):
            return .refused(HTTPRefusal(error))
        case .head(let head, let length):
            heads = HTTPHeadReader()
            do throws(HTTPRefusal) {
                return .request(try HTTPRequest(head, credentials: credentials), length: length)
            } catch {
                return .refused(error)
            }
        }
    }
}

extension HTTPRequest {
    init(_ head: HTTPHead, credentials: Credentials?) throws(HTTPRefusal) {
        let line = try RequestLine(head)
        try Self.authorize(head, credentials)
        if ASCII.equals(line.method, "trace") {
            throw HTTPRefusal(
                .methodNotAllowed,
                "TRACE is not passed on: it would show the request's secrets.")
        }
        // RFC 9112 section 3.2: one Host field; which of two is meant, two readers may see
        // differently.
        let hosts = head.values("host")
        guard hosts.count <= 1 else {
            throw HTTPRefusal(.badRequest, "The request has more than one Host field.")
        }

        isVersion10 = line.isVersion10
        isHead = line.method.elementsEqual("HEAD".utf8)
        if line.method.elementsEqual("CONNECT".utf8) {
            let authority = try Authority(line.target, defaultPort: nil)
            (kind, target, self.head, body, keepsAlive) = (
                .connect, authority.target, [], .none, false
            )
            return
        }
        guard line.isVersion10 || hosts.count == 1 else {
            throw HTTPRefusal(.badRequest, "The request has no Host field, which HTTP/1.1 wants.")
        }
        let url = try AbsoluteForm(line.target, method: line.method)
        let connection = head.list("connection") + head.list("proxy-connection")
        target = url.authority.target
        keepsAlive = !line.isVersion10 && !connection.contains("close")
        let asksForUpgrade = connection.contains("upgrade") && !head.values("upgrade").isEmpty
        kind = asksForUpgrade && !line.isVersion10 ? .upgrade : .forward
        body = try Self.bodyFraming(head, isVersion10: line.isVersion10)
        self.head = []
        writeHead(head, line, url, named: connection)
    }

    /// Passes the request's fields on but for those that concern one hop (RFC 9110 section 7.6.1).
    private mutating func writeHead(
        _ original: HTTPHead, _ line: RequestLine, _ url: AbsoluteForm,
        named: [String]
    ) {
        var out: [UInt8] = []
        out.reserveCapacity(original.bytes.count)
        out += line.method
        out.append(ASCII.space)
        out += url.path
        // An HTTP/1.0 application must not be sent chunks, so the origin is told its version.
        out += (line.isVersion10 ? " HTTP/1.0\r\nHost: " : " HTTP/1.1\r\nHost: ").utf8
        out += url.authority.text
        out += "\r\n".utf8
        original.writeFields(except: HopByHop.request, named: named, into: &out)
        switch kind {
        case .upgrade:
            out += "Connection: Upgrade\r\n".utf8
            for value in original.values("upgrade") {
                out += "Upgrade: ".utf8
                out += value
                out += "\r\n".utf8
            }
        default:
            if !keepsAlive { out += "Connection: close\r\n".utf8 }
        }
        out += "\r\n".utf8
        head = out
    }

    private static func authorize(_ head: HTTPHead, _ credentials: Credentials?) throws(HTTPRefusal)
    {
        guard let credentials else { return }
        let values = head.values("proxy-authorization")
        guard !values.isEmpty else {
            throw HTTPRefusal(
                .proxyAuthenticationRequired, "This proxy wants a user name and a password.")
        }
        // RFC 7617 section 2: "Basic", base64 of user ":" password.
        let parts = values[0].split(separator: ASCII.space, maxSplits: 1)
        if values.count == 1, parts.count == 2, ASCII.equals(parts[0], "basic"),
            let plain = Base64.decode(ASCII.trimmed(parts[1])),
            let colon = plain.firstIndex(of: UInt8(ascii: ":")),
            credentials.matches(user: plain[..<colon], password: plain[(colon + 1)...])
        {
            return
        }
        var refusal = HTTPRefusal(
            .proxyAuthenticationRequired, "The user name or the password is wrong.")
        refusal.wrongCredentials = Array(values[0])
        throw refusal
    }

    /// RFC 9112 section 6.3, refusing whatever two readers could understand differently.
    private static func bodyFraming(
        _ head: HTTPHead,
        isVersion10: Bool
    ) throws(HTTPRefusal) -> HTTPBodyFraming {
        let codings = head.values("transfer-encoding"), lengths = head.values("content-length")
        if !codings.isEmpty {
            guard lengths.isEmpty else {
                throw HTTPRefusal(
                    .badRequest,
                    "The request has both a Content-Length and a Transfer-Encoding.")
            }
            guard !isVersion10 else {
                throw HTTPRefusal(.badRequest, "An HTTP/1.0 request has a Transfer-Encoding.")
            }
            guard codings.count == 1, ASCII.equals(codings[0], "chunked") else {
                throw HTTPRefusal(
                    .notImplemented, "The request's Transfer-Encoding is not \"chunked\".")
            }
            return .chunked
        }
        guard let first = lengths.first else { return .none }
        guard lengths.count == 1, let length = ASCII.decimal(first) else {
            throw HTTPRefusal(.badRequest, "The request's Content-Length is not one number.")
        }
        return length == 0 ? .none : .length(length)
    }
}

/// Fields that end at this hop.
enum HopByHop {
    private static let both = ["connection", "proxy-connection", "keep-alive", "upgrade"]
    static let request = both + ["host", "te", "proxy-authorization"]
    static let response = both + ["proxy-authenticate", "proxy-authentication-info"]
    /// Fields that Connection can't take away: without them the message would be another one.
    static let kept = ["host", "content-length", "transfer-encoding"]
}

extension HTTPHead {
    /// Writes every field but those in `list` and those that a Connection field named.
    func writeFields(except list: [String], named: [String], into out: inout [UInt8]) {
        for field in fields {
            let name = ASCII.lowercased(bytes[field.name])
            if list.contains(name) || named.contains(name) && !HopByHop.kept.contains(name) {
                continue
            }
            out += bytes[field.name]
            out += ": ".utf8
            out += bytes[field.value]
            out += "\r\n".utf8
        }
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3).
struct RequestLine {
    var method: ArraySlice<UInt8>
    var target: ArraySlice<UInt8>
    var isVersion10: Bool

    init(_ head: HTTPHead) throws(HTTPRefusal) {
        let parts = head.bytes[head.startLine].split(
            separator: ASCII.space, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, parts[0].allSatisfy(ASCII.isToken),
            !parts[1].isEmpty,
            !parts[1].contains(ASCII.tab), parts[2].starts(with: "HTTP/".utf8)
        else {
            throw HTTPRefusal(.badRequest, "The first line is not an HTTP request.")
        }
        switch parts[2] {
        case let v where v.elementsEqual("HTTP/1.1".utf8): isVersion10 = false
        case let v where v.elementsEqual("HTTP/1.0".utf8): isVersion10 = true
        default: throw HTTPRefusal(.versionNotSupported, "This proxy speaks HTTP/1.1 and HTTP/1.0.")
        }
        method = parts[0]
        target = parts[1]
    }
}

/// `host:port` with the host a name, an IPv4 address or an IPv6 address in brackets (RFC 3986
/// section 3.2).
struct Authority {
    var target: Target
    /// As the application wrote it, for the Host field.
    var text: ArraySlice<UInt8>

    /// `defaultPort`: nil where the port must be given.
    init(_ text: ArraySlice<UInt8>, defaultPort: UInt16?) throws(HTTPRefusal) {
        let isConnect = defaultPort == nil
        let bad = HTTPRefusal(
            .badRequest,
            isConnect
                ? "CONNECT wants a host and a port, as in example.org:443."
                : "The request's URL has no valid host and port.")
        self.text = text
        var host = text, port: ArraySlice<UInt8> = []
        if let colon = text.lastIndex(of: UInt8(ascii: ":")), text.last != UInt8(ascii: "]") {
            host = text[..<colon]
            port = text[(colon + 1)...]
        }
        let isBracketed = host.first == UInt8(ascii: "[")
        if isBracketed {
            guard host.count > 2, host.last == UInt8(ascii: "]") else { throw bad }
            host = host.dropFirst().dropLast()
        }
        guard isBracketed == host.contains(UInt8(ascii: ":")),
            let name = host.withUnsafeBytes({ Target.Host(nameBytes: $0) })
        else { throw bad }
        if isBracketed, case .name = name { throw bad }
        if port.isEmpty {
            guard let defaultPort else { throw bad }
            target = Target(host: name, port: defaultPort)
        } else {
            guard let number = ASCII.decimal(port).flatMap(UInt16.init(exactly:)),
                number > 0
            else { throw bad }
            target = Target(host: name, port: number)
        }
    }
}

/// `http://authority/path?query` (RFC 9112 section 3.2.2), split into what the proxy needs and what
/// the origin gets.
struct AbsoluteForm {
    var authority: Authority
    var path: [UInt8]

    init(_ text: ArraySlice<UInt8>, method: ArraySlice<UInt8>) throws(HTTPRefusal) {
        let scheme = "http://"
        guard text.count > scheme.utf8.count, ASCII.equals(text.prefix(scheme.utf8.count), scheme)
        else {
            let isHTTPS = text.count > 8 && ASCII.equals(text.prefix(8), "https://")
            if !isHTTPS, let scheme = Self.scheme(text) {
                throw HTTPRefusal(
                    .notImplemented,
                    """
                    This proxy fetches http URLs only; for \(scheme) use SOCKS5 or a tunnel by CONNECT.
                    """)
            }
            throw HTTPRefusal(
                .badRequest,
                isHTTPS
                    ? "This proxy takes https URLs only through CONNECT."
                    : "This is a proxy: it wants a whole http:// URL or CONNECT.")
        }
        let rest = text.dropFirst(scheme.utf8.count)
        let end =
            rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
        guard !rest.contains(UInt8(ascii: "#")) else {
            throw HTTPRefusal(.badRequest, "The request's URL has a fragment, which is never sent.")
        }
        authority = try Authority(rest[..<end], defaultPort: 80)
        path = Array(rest[end...])
        if path.isEmpty, method.elementsEqual("OPTIONS".utf8) {
            path = [UInt8(ascii: "*")]  // RFC 9112 section 3.2.4
        } else if path.first != UInt8(ascii: "/") {
            path.insert(UInt8(ascii: "/"), at: 0)
        }
    }

    /// The scheme of `scheme://...` (RFC 3986 section 3.1), in lower case; nil where the text is no
    /// URL.
    private static func scheme(_ text: ArraySlice<UInt8>) -> String? {
        guard let colon = text.firstIndex(of: UInt8(ascii: ":")),
            text[colon...].starts(with: "://".utf8),
            (1...16).contains(colon - text.startIndex)
        else { return nil }
        let name = ASCII.lowercased(text[..<colon])
        let isScheme = name.utf8.enumerated().allSatisfy { index, byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"),
                UInt8(ascii: "."):
                index > 0
            default: false
            }
        }
        return isScheme ? name : nil
    }
}

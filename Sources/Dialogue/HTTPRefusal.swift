import Wire

/// An answer the proxy itself gives to an HTTP request: a status and one sentence that says what
/// and why.
public struct HTTPRefusal: Error, Hashable, Sendable {
    /// RFC 9110's statuses that a proxy gives by itself.
    public enum Status: Int, Sendable {
        case badRequest = 400, forbidden = 403, methodNotAllowed = 405,
            proxyAuthenticationRequired = 407,
            uriTooLong = 414
        case headersTooLarge = 431, notImplemented = 501, badGateway = 502, serviceUnavailable = 503
        case gatewayTimeout = 504, versionNotSupported = 505

        var phrase: String {
            switch self {
            case .badRequest: "Bad Request"
            case .forbidden: "Forbidden"
            case .methodNotAllowed: "Method Not Allowed"
            case .proxyAuthenticationRequired: "Proxy Authentication Required"
            case .uriTooLong: "URI Too Long"
            case .headersTooLarge: "Request Header Fields Too Large"
            case .notImplemented: "Not Implemented"
            case .badGateway: "Bad Gateway"
            case .serviceUnavailable: "Service Unavailable"
            case .gatewayTimeout: "Gateway Timeout"
            case .versionNotSupported: "HTTP Version Not Supported"
            }
        }
    }

    /// For the response's first line.
    public var status: Status
    /// A plain sentence for the person in front of the application.
    public var sentence: String

    /// What the application showed in place of the right name and password; nil where it showed
    /// nothing or was refused for another reason.
    public var wrongCredentials: [UInt8]?

    /// `sentence` becomes the body, one line of text.
    public init(_ status: Status, _ sentence: String) {
        self.status = status; self.sentence = sentence
    }

    /// The whole response; the connection is closed behind it. `toHead`: without the body, which a
    /// response to HEAD does not have.
    public func reply(toHead: Bool = false) -> [UInt8] {
        var text = "HTTP/1.1 \(status.rawValue) \(status.phrase)\r\n"
        switch status {
        case .proxyAuthenticationRequired: text += "Proxy-Authenticate: Basic realm=\"Braid\"\r\n"
        case .methodNotAllowed:
            text += "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"
        default: break
        }
        text +=
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: \(sentence.utf8.count + 1)\r\n"
        text += "Connection: close\r\n\r\n"
        if !toHead { text += sentence + "\n" }
        return Array(text.utf8)
    }
}

extension HTTPRefusal {
    /// Who tried to connect.
    public enum Dialler: Sendable { case concentrator, proxy }

    /// The answer for a dial that failed; `.connected` is the caller's bug.
    public init(_ dial: DialStatus, target: Target, by dialler: Dialler = .concentrator) {
        let place = "\(target)", who = dialler == .proxy ? "proxy" : "concentrator"
        let the = dialler == .proxy ? "This proxy" : "The concentrator"
        switch dial {
        case .connected: preconditionFailure("a dial that succeeded is not refused")
        case .generalFailure:
            self.init(.badGateway, "\(the) could not connect to \(place).")
        case .denied:
            self.init(.badGateway, "\(the)'s policy forbids connections to \(place).")
        case .networkUnreachable:
            self.init(.badGateway, "The network of \(place) is unreachable from the \(who).")
        case .hostUnreachable:
            self.init(.badGateway, "The host of \(place) is unreachable from the \(who).")
        case .connectionRefused: self.init(.badGateway, "\(place) refused the connection.")
        case .timedOut:
            self.init(.gatewayTimeout, "\(place) did not answer the \(who) in time.")
        case .nameNotFound:
            self.init(.badGateway, "The name of \(place) does not resolve at the \(who).")
        case .tooManyConnections:
            self.init(.badGateway, "\(the) has too many connections open to add \(place).")
        }
    }

    init(_ error: HTTPHeadError) {
        switch error {
        case .startLineTooLong:
            self.init(.uriTooLong, "The request line is longer than \(HTTPLimit.startLine) bytes.")
        case .headTooLarge:
            self.init(
                .headersTooLarge,
                "The request's header is larger than \(HTTPLimit.head) bytes.")
        case .tooManyFields:
            self.init(
                .headersTooLarge,
                "The request has more than \(HTTPLimit.fields) header fields.")
        case .longList:
            self.init(
                .headersTooLarge,
                "A field of the request's header lists more than \(HTTPLimit.listMembers) members."
            )
        case .bareLineFeed:
            self.init(.badRequest, "A line of the request's header ends without a carriage return.")
        case .bareCarriageReturn:
            self.init(
                .badRequest,
                "A line of the request's header has a carriage return that does not end it.")
        case .controlByte: self.init(.badRequest, "The request's header has a control character.")
        case .foldedField: self.init(.badRequest, "A header field is folded over several lines.")
        case .malformedField:
            self.init(.badRequest, "A line of the request's header is not a header field.")
        }
    }
}

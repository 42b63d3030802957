/// A whole reply of the status page.
public struct StatusReply {
    /// The status line's end.
    public enum Status: String {
        case ok = "200 OK", badRequest = "400 Bad Request", unauthorized = "401 Unauthorized"
        case forbidden = "403 Forbidden", notFound = "404 Not Found"
        case notAllowed = "405 Method Not Allowed", tooLarge = "413 Content Too Large"
        case notPossible = "409 Conflict", notImplemented = "501 Not Implemented"
    }

    /// How it went.
    public var status: Status
    /// The `Content-Type`.
    public var type: String
    /// What is sent, where it was not a HEAD.
    public var body: [UInt8]

    /// Any reply; the type that of text in UTF-8 where nothing is said.
    public init(
        _ status: Status, _ body: [UInt8], type: String = "text/plain; charset=utf-8"
    ) {
        self.status = status
        self.type = type
        self.body = body
    }

    /// A sentence for a person, with its line's end.
    public init(_ status: Status, _ sentence: String) {
        self.init(status, Array((sentence + "\n").utf8))
    }

    init(_ refusal: StatusAccess.Refusal) {
        switch refusal {
        case .forbidden(let why): self.init(.forbidden, why)
        case .unauthorized: self.init(.unauthorized, "The token is missing or wrong.")
        }
    }

    /// What every reply says: nothing of it is kept, framed, guessed at, or used by another site,
    /// and the page asks nobody but us for anything.
    private static let common = """
        Cache-Control: no-store\r
        X-Content-Type-Options: nosniff\r
        X-Frame-Options: DENY\r
        Referrer-Policy: no-referrer\r
        Cross-Origin-Resource-Policy: same-origin\r
        Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
        img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
        frame-ancestors 'none'\r
        Connection: close\r
        \r

        """

    func bytes(isHead: Bool) -> [UInt8] {
        var head = "HTTP/1.1 \(status.rawValue)\r\nContent-Type: \(type)\r\n"
        head += "Content-Length: \(body.count)\r\n"
        if status == .unauthorized { head += "WWW-Authenticate: Bearer\r\n" }
        return Array((head + Self.common).utf8) + (isHead ? [] : body)
    }

    /// The head of a stream of events (Server-Sent Events), which has no length.
    static var ofStream: [UInt8] {
        Array(("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + common).utf8)
    }
}

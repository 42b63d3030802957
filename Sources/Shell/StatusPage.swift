import Glibc
import Measures

/// A small HTTP server for watching: `/` (HTML), `/status` (JSON), `/metrics` (Prometheus text).
///
/// One request a connection, which has ten seconds from its beginning to its end, whatever it sends
/// or reads meanwhile. Of too many connections the oldest is closed, so that whoever comes is
/// served.
public final class StatusPage {
    /// What the pages say, made anew for every request.
    public struct Content {
        /// The page of `/`.
        public var html: () -> String
        /// What `/status` gives.
        public var json: () -> String
        /// What `/metrics` gives, in Prometheus's text form.
        public var metrics: () -> String
        /// Each closure is called for every request of its page, from the loop.
        public init(
            html: @escaping () -> String, json: @escaping () -> String,
            metrics: @escaping () -> String
        ) {
            self.html = html
            self.json = json
            self.metrics = metrics
        }
    }

    /// Connections at once: a third of the descriptors that are not given to others.
    static let maximumConnections = 16
    /// From the connection to the reply's last byte.
    static let limit = Interval.seconds(10)
    /// Bytes of a request's head.
    static let maximumHead = 8 << 10

    /// Where it listens; with port 0 asked for, the system's choice.
    public var address: SocketAddress { listener.address }
    private let content: Content
    private let limit: Interval
    private let isLocal: Bool
    private let loop: EventLoop
    // Set once, when the page that it tells exists.
    private var listener: StreamListener! = nil
    /// The oldest first.
    private var connections: [StatusConnection] = []

    /// Throws where the port can't be opened.
    public convenience init(
        _ address: SocketAddress, loop: EventLoop, content: Content
    ) throws(SystemError) {
        try self.init(address, loop: loop, limit: Self.limit, content: content)
    }

    init(
        _ address: SocketAddress, loop: EventLoop, limit: Interval, content: Content
    ) throws(SystemError) {
        self.content = content
        self.loop = loop
        self.limit = limit
        isLocal =
            address.address.isIPv4
            ? address.address.v4 >> 24 == 127
            : address.address == IPAddress(v6High: 0, low: 1)
        listener = try StreamListener(address, loop: loop, usesSpare: true) {
            [weak self] socket, _ in self?.accepted(socket)
        }
    }

    deinit { close() }

    /// Closes the port and every connection; harmless when repeated.
    public func close() {
        listener?.close()
        connections.forEach { $0.close() }
        connections.removeAll()
    }

    private func accepted(_ socket: StreamSocket) {
        if connections.count >= Self.maximumConnections { connections.removeFirst().close() }
        connections.append(
            StatusConnection(
                socket, loop: loop, limit: limit, answer: { [weak self] in self?.answer($0) ?? [] },
                ended: { [weak self] ended in self?.connections.removeAll { $0 === ended } }))
    }

    // MARK: Answers

    private func answer(_ request: StatusRequest?) -> [UInt8] {
        guard let request else { return Self.reply("400 Bad Request", "Not HTTP.\n") }
        guard request.method == "GET" || request.method == "HEAD" else {
            return Self.reply("501 Not Implemented", "Not done here: only GET and HEAD are.\n")
        }
        guard !isLocal || Self.isLocalName(request.host) else {
            // Another site's name that resolves to this machine: a browser is being used to read
            // the page.
            return Self.reply("403 Forbidden", "Ask by address or as localhost.\n")
        }
        let isHead = request.method == "HEAD"
        switch request.path {
        case "/":
            return Self.reply(
                "200 OK", content.html(), type: "text/html; charset=utf-8", isHead: isHead)
        case "/status":
            return Self.reply("200 OK", content.json(), type: "application/json", isHead: isHead)
        case "/metrics":
            return Self.reply(
                "200 OK", content.metrics(), type: "text/plain; version=0.0.4; charset=utf-8",
                isHead: isHead)
        default:
            return Self.reply("404 Not Found", "Pages: /, /status, /metrics\n", isHead: isHead)
        }
    }

    /// Of a Host field, with or without a port; none at all is no browser's.
    private static func isLocalName(_ host: String?) -> Bool {
        guard let host else { return true }
        var name = host[...]
        if host.hasPrefix("["), let end = host.firstIndex(of: "]") {
            name = host[host.index(after: host.startIndex)..<end]
        } else if let colon = host.firstIndex(of: ":") {
            name = host[..<colon]
        }
        return name.lowercased() == "localhost" || IPAddress(String(name)) != nil
    }

    private static func reply(
        _ status: String, _ body: String, type: String = "text/plain", isHead: Bool = false
    ) -> [UInt8] {
        let head = """
            HTTP/1.1 \(status)\r
            Content-Type: \(type)\r
            Content-Length: \(body.utf8.count)\r
            Cache-Control: no-store\r
            X-Content-Type-Options: nosniff\r
            Connection: close\r
            \r

            """
        return Array((isHead ? head : head + body).utf8)
    }
}

/// What the page has to know of a request.
struct StatusRequest: Equatable {
    var method: String
    /// Without its query.
    var path: String
    var host: String?

    /// Nil where `head`, up to its empty line, is no request of HTTP/1.
    init?(head: [UInt8]) {
        let lines = String(decoding: head, as: UTF8.self)
            .split(omittingEmptySubsequences: false) { $0.isNewline }
        let words = (lines.first ?? "").split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("HTTP/1."), words[1].hasPrefix("/") else {
            return nil
        }
        method = String(words[0])
        path = String(words[1].prefix { $0 != "?" && $0 != "#" })
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":"),
                line[..<colon].lowercased() == "host"
            else { continue }
            // Two of them are one too many for a browser; nobody else cares.
            guard host == nil else { return nil }
            let value = line[line.index(after: colon)...]
            host = String(value.drop { $0 == " " || $0 == "\t" })
            while host?.last == " " || host?.last == "\t" { host?.removeLast() }
        }
    }
}

/// A connection to the status page: its request, then the reply.
private final class StatusConnection {
    private let socket: StreamSocket
    private let answer: (StatusRequest?) -> [UInt8]
    private let ended: (StatusConnection) -> Void
    private var head: [UInt8] = []
    private var reply: [UInt8] = []
    private var sent = 0
    private var timer: LoopTimer?

    init(
        _ socket: StreamSocket, loop: EventLoop, limit: Interval,
        answer: @escaping (StatusRequest?) -> [UInt8],
        ended: @escaping (StatusConnection) -> Void
    ) {
        self.socket = socket
        self.answer = answer
        self.ended = ended
        timer = loop.timer(for: self) { $0.leave() }
        timer?.arm(after: limit)
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
    }

    func close() {
        timer = nil
        socket.close()
    }

    private func leave() {
        close()
        ended(self)
    }

    private func read() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { room in
            let result = socket.read(into: room)
            // What comes behind the request is read, so that closing does not reset the reply.
            if case .bytes(let n) = result, reply.isEmpty { head += room[..<n] }
            return result
        }
        switch result {
        case .blocked: return
        case .end where sent < reply.count: socket.watch.wantsRead = false
        case .end, .failed: leave()
        case .bytes:
            guard reply.isEmpty else { return }
            if let end = Self.end(of: head) {
                reply = answer(StatusRequest(head: Array(head[..<end])))
            } else if head.count > StatusPage.maximumHead {
                reply = answer(nil)
            } else {
                return
            }
            head = []
            write()
        }
    }

    /// Where the head's empty line begins; nil where it has not come.
    private static func end(of head: [UInt8]) -> Int? {
        let newline = UInt8(ascii: "\n"), ending = UInt8(ascii: "\r")
        var lineStart = 0
        for i in head.indices where head[i] == newline {
            let isEmpty = i == lineStart || (i == lineStart + 1 && head[lineStart] == ending)
            if isEmpty { return lineStart }
            lineStart = i + 1
        }
        return nil
    }

    private func write() {
        guard sent < reply.count else { return }
        let result = reply.withUnsafeBytes {
            socket.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
        }
        switch result {
        case .bytes(let n): sent += n
        case .blocked: break
        case .failed: leave(); return
        }
        socket.watch.wantsWrite = sent < reply.count
        // The client ends it, or the time does.
        if sent == reply.count { socket.finishWriting() }
    }
}

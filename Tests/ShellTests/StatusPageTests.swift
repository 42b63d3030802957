import Glibc
import Measures
import Testing

@testable import Shell

/// Who may take the status page from others: silent connections, slow ones, endless heads, readers
/// of streams that don't read, and clients that vanish.
@Suite struct StatusPageTests {
    private final class Client {
        var socket: StreamSocket?
        var reply: [UInt8] = []
        var isOver = false
        private var attempt: StreamSocket.Attempt?
        private var drip: LoopTimer?

        /// Sends `request` when it is connected, then `piece` every 20 ms.
        init(
            _ page: StatusPage, _ loop: EventLoop, _ request: String, drip piece: String? = nil,
            reads: Bool = true
        ) {
            attempt = StreamSocket.connect(to: page.address, loop: loop) { [weak self] result in
                guard let self, let socket = try? result.get() else { return }
                self.socket = socket
                socket.watch.onReadable(for: self) { $0.read() }
                socket.watch.wantsRead = reads
                if !request.isEmpty { _ = socket.write(Array(request.utf8)) }
            }
            guard let piece else { return }
            drip = loop.timer(for: self) {
                _ = $0.socket?.write(Array(piece.utf8))
                $0.drip?.arm(after: .milliseconds(20))
            }
            drip?.arm(after: .milliseconds(20))
        }

        private func read() {
            guard let socket else { return }
            withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { room in
                switch socket.read(into: room) {
                case .bytes(let n): reply += room[..<n]
                case .blocked: break
                case .end, .failed:
                    isOver = true
                    drip = nil
                    socket.close()
                }
            }
        }
        var text: String { String(decoding: reply, as: UTF8.self) }
    }

    /// What was asked, and the streams that began.
    private final class PageOwner {
        var requests: [StatusRequest] = []
        var streams: [StatusExchange] = []
    }

    private static let loopback = SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)
    private static let request = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
    private static let stream = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"

    private func page(
        _ loop: EventLoop, limit: Interval = StatusPage.limit, size: Int = 2,
        owner: PageOwner = PageOwner()
    ) throws -> StatusPage {
        try StatusPage(
            Self.loopback, loop: loop, limit: limit,
            access: StatusAccess(Self.loopback, token: nil)
        ) { request, exchange in
            owner.requests.append(request)
            if request.path == "/events" {
                owner.streams.append(exchange)
                exchange.stream(Array("data: 1\n\n".utf8), farewell: Array("data: bye\n\n".utf8))
            } else {
                exchange.reply(StatusReply(.ok, [UInt8](repeating: UInt8(ascii: "x"), count: size)))
            }
        }
    }

    @Test func silentConnectionsMakeRoomTheOldestFirst() throws {
        let loop = try EventLoop(), page = try page(loop)
        let silent = (0..<StatusPage.maximumConnections).map { _ in Client(page, loop, "GET /") }
        #expect(loop.run(until: .seconds(10)) { silent.allSatisfy { $0.socket != nil } })
        for number in 0..<3 {
            let client = Client(page, loop, Self.request)
            #expect(loop.run(until: .seconds(10)) { client.isOver })
            #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(number): \(client.text)")
        }
        // One made room; those served left room for the next.
        #expect(loop.run(until: .seconds(10)) { silent[0].isOver })
        #expect(!silent[StatusPage.maximumConnections - 1].isOver)
        page.close()
        #expect(loop.run(until: .seconds(10)) { silent.allSatisfy(\.isOver) })
    }

    @Test func whoSendsSlowlyIsOverInTime() throws {
        let loop = try EventLoop(), page = try page(loop, limit: .milliseconds(300))
        let slow = Client(page, loop, "GET / HTTP/1.1\r\n", drip: "X: y\r\n")
        let half = Client(
            page, loop, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n",
            drip: "x")
        let late = Client(page, loop, Self.request, drip: "z")  // reads its reply, sends for ever
        #expect(loop.run(until: .seconds(10)) { slow.isOver && late.isOver && half.isOver })
        #expect(slow.reply.isEmpty && late.text.hasSuffix("\r\n\r\nxx"))
        page.close()
    }

    @Test func anEndlessHeadIsRefused() throws {
        let loop = try EventLoop(), page = try page(loop)
        for head in [
            "GET / HTTP/1.1\r\nX: " + String(repeating: "y", count: 2 * StatusPage.maximumHead),
            "GET / HTTP/1.1\r\n" + String(repeating: "a:b\r\n", count: StatusPage.maximumHead)
        ] {
            let client = Client(page, loop, head)
            #expect(loop.run(until: .seconds(10)) { !client.reply.isEmpty })
            #expect(client.text.hasPrefix("HTTP/1.1 400 "))
            client.socket?.close()
        }
        page.close()
    }

    @Test func aLongReplyComesWhole() throws {
        let loop = try EventLoop(), page = try page(loop, size: 5_000_000)
        let client = Client(page, loop, Self.request)
        #expect(loop.run(until: .seconds(20)) { client.isOver })
        #expect(client.text.hasSuffix("x") && client.reply.count > 5_000_000)
        page.close()
    }

    @Test func aBodyComesWholeOrIsRefused() throws {
        let loop = try EventLoop(), owner = PageOwner(), page = try page(loop, owner: owner)
        func post(_ length: Int, _ body: String) -> Client {
            Client(
                page, loop,
                "POST /mode HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n"
                    + "Content-Length: \(length)\r\n\r\n" + body)
        }
        let whole = post(9, "mode=full"), long = post(StatusPage.maximumBody + 1, "x")
        #expect(loop.run(until: .seconds(10)) { whole.isOver && !long.reply.isEmpty })
        #expect(owner.requests.map(\.form) == [["mode": "full"]])
        #expect(long.text.hasPrefix("HTTP/1.1 413 "))
        page.close()
    }

    // MARK: Streams

    @Test func aStreamGoesOnUntilItsReaderStandsStill() throws {
        let loop = try EventLoop(), owner = PageOwner()
        let page = try page(loop, limit: .milliseconds(200), owner: owner)
        let reader = Client(page, loop, Self.stream)
        let sleeper = Client(page, loop, Self.stream, reads: false)
        #expect(loop.run(until: .seconds(10)) { owner.streams.count == 2 && !reader.reply.isEmpty })
        // Beyond the time that a request has.
        _ = loop.run(until: .milliseconds(400)) { false }
        #expect(owner.streams.allSatisfy { !$0.isOver })
        let piece = [UInt8](repeating: UInt8(ascii: "y"), count: 60_000)
        var sent = 0
        let isOver = loop.run(until: .seconds(20)) {
            // The reader's share of a turn comes between.
            if !owner.streams[0].isOver, reader.reply.count >= sent - 200_000 {
                for stream in owner.streams { stream.send(piece) }
                sent += piece.count
            }
            return owner.streams.contains(where: \.isOver)
        }
        #expect(isOver, "\(sent) bytes were kept for somebody who reads nothing")
        #expect(!owner.streams[0].isOver || !owner.streams[1].isOver, "the reader's went on")
        withExtendedLifetime(sleeper) { page.close() }
    }

    @Test func ofTooManyStreamsTheOldestEnds() throws {
        let loop = try EventLoop(), owner = PageOwner(), page = try page(loop, owner: owner)
        var clients: [Client] = []
        for number in 1...StatusPage.maximumStreams + 1 {
            clients.append(Client(page, loop, Self.stream))
            #expect(loop.run(until: .seconds(10)) { owner.streams.count == number })
        }
        #expect(loop.run(until: .seconds(10)) { clients[0].isOver })
        #expect(clients[0].text.hasSuffix("data: 1\n\ndata: bye\n\n"))
        #expect(loop.run(until: .seconds(10)) { clients.last?.text.hasSuffix("1\n\n") == true })
        #expect(!clients[1].isOver)
        // One that leaves makes room.
        clients[1].socket?.close()
        #expect(loop.run(until: .seconds(10)) { owner.streams[1].isOver })
        clients.append(Client(page, loop, Self.stream))
        #expect(loop.run(until: .seconds(10)) { owner.streams.count == clients.count })
        #expect(!clients[2].isOver && !owner.streams[2].isOver)
        page.close()
    }

    @Test func clientsVanishWhileTheyAreAnswered() throws {
        let loop = try EventLoop(), owner = PageOwner(), page = try page(loop, owner: owner)
        for _ in 0..<50 {
            let client = Client(page, loop, Self.stream)
            let count = owner.streams.count
            #expect(loop.run(until: .seconds(10)) { owner.streams.count > count })
            client.socket?.reset()
            owner.streams.last?.send(Array("data: 2\n\n".utf8))
            owner.streams.last?.send(Array("data: 3\n\n".utf8))
        }
        #expect(loop.run(until: .seconds(10)) { owner.streams.allSatisfy(\.isOver) })
        let client = Client(page, loop, Self.request)
        #expect(loop.run(until: .seconds(10)) { client.isOver })
        page.close()
    }

    // MARK: Requests

    @Test func oddRequests() {
        func read(_ text: String) -> StatusRequest? { StatusRequest(head: Array(text.utf8)) }
        for odd in [
            "", "GET", "GET /", "GET / HTTP/2", "GET  / HTTP/1.1", "GET x HTTP/1.1", "\0 / \0",
            "GET http://x/ HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n", "POST / HTTP/1.1\r\nContent-Length: \r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "GET / HTTP/1.1\r\nOrigin: a\r\nOrigin: a\r\n"
        ] { #expect(read(odd) == nil, "\(odd)") }
        for odd in [
            "x@127.0.0.1:9090", "127.0.0.1:x@evil.example", "localhost:1@evil.example", "@a",
            "a/b", "a b", "a?b", "a#b", "a:1:2", "::1", "[::1", "[::1]x", "[a]", "[]",
            "[127.0.0.1]",
            "a:-1", "localhost\\@a", "\u{e4}.example", "a,b", "http://localhost", "a%40b"
        ] { #expect(read("GET / HTTP/1.1\r\nHost: \(odd)\r\n") == nil, "\(odd)") }
        for host in ["", "a", "a:", "a.b-c_d:80", "127.0.0.1:1", "[::1]", "[2001:db8::1]:9090"] {
            #expect(read("GET / HTTP/1.1\r\nHost: \(host)\r\n")?.host == host, "\(host)")
        }
        let request = read(
            "GET /status?x=1&y=%41+b%zz&x=2&=&z HTTP/1.1\r\nA\r\n:\r\nHOST:\t a:1 \r\n")
        #expect(request?.path == "/status" && request?.host == "a:1")
        #expect(request?.query == ["x": "1", "y": "A b%zz", "": "", "z": ""])
        #expect(read("GET / HTTP/1.0\n\n")?.host == nil)
        let many = (0..<1000).map { "k\($0)=1" }.joined(separator: "&")
        #expect(read("GET /?\(many) HTTP/1.1")?.query.count == StatusRequest.maximumFields)
    }
}

/// What may be read and changed, and by whom: other sites' pages, names that lead here, requests
/// without the token.
@Suite struct StatusAccessTests {
    private static let loopback = SocketAddress("127.0.0.1:9090")!
    private static let open = SocketAddress("192.0.2.1:9090")!
    private static let token = "0123456789abcdef"

    private func refusal(
        _ request: String, at address: SocketAddress = loopback, token: String? = nil
    ) throws -> StatusAccess.Refusal? {
        let request = try #require(StatusRequest(head: Array(request.utf8)))
        return StatusAccess(address, token: token).refusal(of: request)
    }

    private func isAllowed(
        _ request: String, at address: SocketAddress = loopback, token: String? = nil
    ) throws -> Bool { try refusal(request, at: address, token: token) == nil }

    @Test func aNameThatLeadsHereReadsNothing() throws {
        for host in ["127.0.0.1:9090", "localhost:9090", "LOCALHOST", "[::1]:9090", "10.0.0.1"] {
            #expect(try isAllowed("GET /status HTTP/1.1\r\nHost: \(host)\r\n"), "\(host)")
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9090", "localhost.", ""] {
            for method in ["GET", "HEAD", "POST"] {
                #expect(
                    try !isAllowed(
                        "\(method) / HTTP/1.1\r\nHost: \(host)\r\nOrigin: http://\(host)\r\n"),
                    "\(method) \(host)")
            }
        }
    }

    @Test func anotherSitesPageReadsNothing() throws {
        let host = "Host: localhost:9090\r\n"
        for site in ["cross-site", "same-site", "whatever"] {
            let fields = host + "Sec-Fetch-Site: \(site)\r\n"
            #expect(try !isAllowed("GET /events HTTP/1.1\r\n" + fields))
            #expect(try !isAllowed("GET / HTTP/1.1\r\n" + fields + "Sec-Fetch-Mode: no-cors\r\n"))
            #expect(
                try !isAllowed("GET /status HTTP/1.1\r\n" + fields + "Sec-Fetch-Mode: navigate\r\n")
            )
            // A link to the page is followed.
            #expect(try isAllowed("GET / HTTP/1.1\r\n" + fields + "Sec-Fetch-Mode: navigate\r\n"))
        }
        #expect(
            try isAllowed("GET /events HTTP/1.1\r\n" + host + "Sec-Fetch-Site: same-origin\r\n"))
        #expect(try isAllowed("GET /events HTTP/1.1\r\n" + host + "Sec-Fetch-Site: none\r\n"))
    }

    @Test func onLoopbackOnlyThePageItselfChanges() throws {
        let post = "POST /mode HTTP/1.1\r\nHost: localhost:9090\r\n"
        #expect(try isAllowed(post + "Origin: http://localhost:9090\r\n"))
        #expect(
            try isAllowed(
                post + "Origin: http://localhost:9090\r\nSec-Fetch-Site: same-origin\r\n"))
        for origin in [
            "", "Origin: null\r\n", "Origin: http://localhost\r\n",
            "Origin: http://localhost:9091\r\n", "Origin: http://evil.example\r\n",
            "Origin: http://localhost:9090.evil.example\r\n",
            "Origin: http://localhost:9090\r\nSec-Fetch-Site: cross-site\r\n"
        ] { #expect(try !isAllowed(post + origin), "\(origin)") }
        // Of the wrong machine, and of none.
        #expect(
            try !isAllowed(
                "POST /mode HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n"))
        #expect(try !isAllowed("POST /mode HTTP/1.1\r\nOrigin: http://localhost:9090\r\n"))
    }

    @Test func elsewhereNothingChangesWithoutAToken() throws {
        let post =
            "POST /mode HTTP/1.1\r\nHost: 192.0.2.1:9090\r\nOrigin: http://192.0.2.1:9090\r\n"
        #expect(try !isAllowed(post, at: Self.open))
        #expect(
            try !isAllowed(post + "Authorization: Bearer \(Self.token)\r\n", at: Self.open))
        #expect(
            try isAllowed(
                post + "Authorization: Bearer \(Self.token)\r\n", at: Self.open, token: Self.token))
    }

    @Test func aTokenIsRightOrWrong() throws {
        for address in [Self.loopback, Self.open] {
            let post = "POST /uplink HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n"
            let right = post + "Authorization: Bearer \(Self.token)\r\n"
            #expect(try isAllowed(right, at: address, token: Self.token))
            for wrong in [
                "", "Bearer ", "Bearer 0123456789abcdeF", "Bearer 0123456789abcde",
                "Bearer 0123456789abcdef0", "Bearer 0123456789abcdef0123456789abcdef",
                "bearer \(Self.token)", "Basic \(Self.token)", Self.token
            ] {
                let head = post + (wrong.isEmpty ? "" : "Authorization: \(wrong)\r\n")
                #expect(
                    try refusal(head, at: address, token: Self.token) == .unauthorized, "\(wrong)")
            }
            // A page that has stolen it is still another site's.
            #expect(
                try !isAllowed(
                    right + "Origin: http://evil.example\r\n", at: address, token: Self.token))
        }
    }
}

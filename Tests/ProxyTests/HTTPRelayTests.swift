import Buffers
import Dialogue
import Glibc
import Shell
import Testing

@testable import Proxy

/// Answers each request's head (and `body` bytes behind it) with what `respond` makes of it.
private func http(
    _ respond: @escaping (String) -> (String, Bool)
) -> (
    [UInt8],
    Bool
) -> (
    send: [UInt8],
    close: Bool
)? {
    { read, ended in
        let text = String(decoding: read, as: UTF8.self)
        guard !ended else { return ([], true) }
        guard text.contains("\r\n\r\n") else { return nil }
        let (answer, closes) = respond(text)
        return (Array(answer.utf8), closes)
    }
}
private func ok(_ body: String) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

@Suite(.serialized) struct HTTPRelayTests {
    @Test func requestsFollowEachOtherToSeveralOrigins() throws {
        let street = try Street()
        var connections = 0
        let a = try street.origin(http { (ok("a:" + $0.prefix { $0 != "\r\n" }), false) })
        let b = try street.origin(
            http {
                connections += 1; return (ok("b:" + $0.prefix { $0 != "\r\n" }), false)
            })
        let application = try street.application()
        for (port, letter) in [(a, "a"), (a, "a"), (b, "b"), (a, "a")] {
            let expected = ok("\(letter):GET /x?y HTTP/1.1")
            application.send(
                "GET http://localhost:\(port)/x?y HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\n\r\n"
            )
            #expect(
                String(decoding: application.expect(expected.utf8.count), as: UTF8.self) == expected
            )
        }
        // Two at once, then the end.
        let two =
            "GET http://localhost:\(a)/1 HTTP/1.1\r\nHost: x\r\n\r\nGET http://localhost:\(b)/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        application.send(two)
        application.wait { application.isEnded }
        #expect(
            application.text == ok("a:GET /1 HTTP/1.1")
                + "HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\nb:GET /2 HTTP/1.1"
        )
        #expect(connections == 2)
    }

    @Test func framings() throws {
        let street = try Street()
        let answers = [
            "/chunked": (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
                false
            ),
            "/close": ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true),
            "/204": ("HTTP/1.1 204 No Content\r\n\r\n", false),
            "/early": ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok("late"), false),
            "/head": ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false)
        ]
        let port = try street.origin(
            http { text in
                answers[String(text.split(separator: " ")[1])] ?? (ok("?"), false)
            })
        let application = try street.application()
        for path in ["/chunked", "/204", "/head", "/early", "/close"] {
            let method = path == "/head" ? "HEAD" : "GET"
            application.send(
                "\(method) http://localhost:\(port)\(path) HTTP/1.1\r\nHost: x\r\n\r\n")
            if path == "/close" { break }
            let expected = answers[path]!.0
            #expect(
                String(decoding: application.expect(expected.utf8.count), as: UTF8.self) == expected
            )
        }
        application.wait { application.isEnded }
        #expect(
            application.text == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"
                && !application.wasReset)
    }

    @Test func bodiesAndExpect() throws {
        let street = try Street()
        let chunks = "5\r\nhello\r\n3;x\r\nyou\r\n0\r\n\r\n"
        let port = try street.origin { read, ended in
            let text = String(decoding: read, as: UTF8.self)
            if ended { return ([], true) }
            if text.hasSuffix("100-continue\r\n\r\n") {
                return (Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), false)
            }
            guard text.hasSuffix("0\r\n\r\n") || text.hasSuffix("end") else { return nil }
            return (Array(ok(text.hasSuffix("12345end") ? "123" : "xxx").utf8), false)
        }
        let application = try street.application()
        application.send(
            "POST http://localhost:\(port)/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for byte in chunks.utf8 { application.send([byte]) }
        _ = application.expect(ok("xxx").utf8.count)
        application.send(
            "PUT http://localhost:\(port)/ HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n"
        )
        #expect(application.expect(25) == Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
        application.send("12345end")
        #expect(application.expect(ok("123").utf8.count) == Array(ok("123").utf8))
    }

    @Test func upgrade() throws {
        let street = try Street()
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
        let port = try street.origin { read, ended in
            let text = String(decoding: read, as: UTF8.self)
            return ended
                ? ([], true)
                : text.hasSuffix("\r\n\r\n")
                    ? (Array(answer.utf8), false)
                    : (read, false)
        }
        let application = try street.application()
        application.send(
            "GET http://localhost:\(port)/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
        )
        #expect(application.expect(answer.utf8.count) == Array(answer.utf8))
        application.send([0, 1, 2, 0xff])
        #expect(application.expect(4) == [0, 1, 2, 0xff])
        application.finish()
        application.wait { application.isEnded }
        #expect(!application.wasReset)
    }

    @Test func failures() throws {
        let street = try Street()
        func get(_ port: UInt16) throws -> String {
            try street.ask("GET http://localhost:\(port)/ HTTP/1.1\r\nHost: x\r\n\r\n")
        }
        let closed = try street.closedPort()
        let refused = try get(closed)
        #expect(
            refused.hasPrefix("HTTP/1.1 502 ")
                && refused.hasSuffix("localhost:\(closed) refused the connection.\n"))
        let silent = try street.origin(http { _ in ("", true) })
        #expect(
            try get(silent).hasSuffix(
                "localhost:\(silent) closed the connection without a response.\n"))
        let other = try street.origin(http { _ in ("220 mail\r\n\r\n", true) })
        #expect(try get(other).hasSuffix("The origin's response is not HTTP/1.x.\n"))
        let short = try street.origin(
            http { _ in ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true) })
        let application = try street.application()
        application.send("GET http://localhost:\(short)/ HTTP/1.1\r\nHost: x\r\n\r\n")
        application.wait { application.isEnded }
        #expect(application.wasReset, "a body cut short must not look whole")
        let head = try street.ask("HEAD http://localhost:\(closed)/ HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(head.hasPrefix("HTTP/1.1 502 ") && head.hasSuffix("\r\n\r\n"))
    }

    @Test func anApplicationThatEndsItsSideIsAnswered() throws {
        let street = try Street()
        let port = try street.origin(http { _ in (ok("hello"), false) })
        let application = try street.application()
        application.send("GET http://localhost:\(port)/ HTTP/1.0\r\n\r\n")
        application.finish()
        application.wait { application.isEnded }
        #expect(
            application.text.hasSuffix("Connection: close\r\n\r\nhello") && !application.wasReset)
    }

    /// 8 MiB of chunks of one byte have come for an application that takes a little at a time: what
    /// is looked at ahead of passing it on is bounded.
    @Test func theSmallestChunksAreNotLookedAtAllAtOnce() throws {
        let loop = try EventLoop()
        var ends: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | O_NONBLOCK, 0, &ends) == 0)
        let socket = StreamSocket(loop: loop, descriptor: ends[0])
        defer { close(ends[1]) }
        let head = "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
        var requests = HTTPRequestReader(credentials: nil)
        guard
            case .request(let request, _) = Array(head.utf8).withUnsafeBytes({ requests.read($0) })
        else { Issue.record("no request"); return }
        var exchange = HTTPExchange(request, isOnUsedStream: false)
        let chunk = Array("1\r\nx\r\n".utf8), count = (8 << 20) / chunk.count
        let stream = ReadyStream(
            Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
                + [[UInt8]](repeating: chunk, count: count).joined() + "0\r\n\r\n".utf8)
        var outgoing: [UInt8] = [], passed = 0
        while exchange.response == nil {
            guard case .goesOn = exchange.readHead(from: stream, into: &outgoing) else {
                Issue.record("no response"); return
            }
        }
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 100_000, alignment: 8)
        defer { space.deallocate() }
        while !exchange.responseIsPassedOn {
            let (outcome, moved) = exchange.passBody(from: stream, to: socket, maximum: 1 << 20)
            if case .isCut = outcome { Issue.record("cut"); return }
            #expect(exchange.approvedDown <= HTTPExchange.maximumLook)
            passed += moved
            while read(ends[1], space.baseAddress, space.count) > 0 {}
        }
        #expect(passed == count * chunk.count + 5)
    }
}

/// A stream on which everything has come.
private final class ReadyStream: Outbound {
    private let bytes: UnsafeMutableRawBufferPointer
    private var at = 0

    init(_ bytes: [UInt8]) {
        self.bytes = .allocate(byteCount: bytes.count, alignment: 8)
        self.bytes.copyBytes(from: bytes)
    }
    deinit { bytes.deallocate() }

    var readable: Pieces {
        Pieces(
            first: UnsafeRawBufferPointer(rebasing: bytes[at...]),
            second: UnsafeRawBufferPointer(start: nil, count: 0))
    }
    func consume(_ n: Int) { at += n }
    var isReadFinished: Bool { at == bytes.count }
    var hasFailed: Bool { false }
    func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer { .init(start: nil, count: 0) }
    func commitWrite(_ n: Int) {}
    func write(_ bytes: UnsafeRawBufferPointer) -> Int { bytes.count }
    func finishWriting() {}
    func abort() {}
    func release() {}
    var dialler: HTTPRefusal.Dialler { .proxy }
    func giveUp() {}
    func forgetOwner() {}
}

import Measures
import Testing
import Wire

@testable import Dialogue

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Reads `message` at once; what lies behind the head is left.
private func read(_ message: String, _ credentials: Credentials? = nil) -> HTTPRequestReader.Reading
{
    var reader = HTTPRequestReader(credentials: credentials)
    return withBytes(Array(message.utf8)) { reader.read($0) }
}
private func request(_ message: String, _ credentials: Credentials? = nil) -> HTTPRequest? {
    if case .request(let r, _) = read(message, credentials) { r } else { nil }
}
private func refusal(_ message: String, _ credentials: Credentials? = nil) -> Int? {
    if case .refused(let r) = read(message, credentials) { r.status.rawValue } else { nil }
}
private func name(_ host: String, _ port: UInt16) -> Target {
    Target(host: .name(host), port: port)
}

@Suite struct HTTPRequestTests {
    @Test(arguments: [
        (
            "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
            name("example.org", 443)
        ),
        ("CONNECT example.org:443 HTTP/1.0\r\n\r\n", name("example.org", 443)),
        (
            "CONNECT [2001:db8::7]:22 HTTP/1.1\r\n\r\n",
            Target(host: .address(IPAddress("2001:db8::7")!), port: 22)
        ),
        (
            "CONNECT 192.0.2.7:22 HTTP/1.1\r\n\r\n",
            Target(host: .address(IPAddress("192.0.2.7")!), port: 22)
        ),
        ("\r\nCONNECT a:1 HTTP/1.1\r\n\r\n", name("a", 1))
    ])
    func connect(_ message: String, _ target: Target) throws {
        let r = try #require(request(message + "\u{16}\u{3}"))
        #expect(r.kind == .connect && r.target == target && r.head.isEmpty)
        let bytes = Array(message.utf8)
        for n in 0..<bytes.count {
            var reader = HTTPRequestReader(credentials: nil)
            guard case .needMore = withBytes(Array(bytes[..<n]), { reader.read($0) }) else {
                Issue.record("prefix of \(n)")
                continue
            }
            guard case .request(_, bytes.count) = withBytes(bytes, { reader.read($0) }) else {
                Issue.record("split at \(n)")
                continue
            }
        }
    }

    @Test func absoluteFormBecomesOriginForm() throws {
        let r = try #require(
            request(
                """
                GET http://Example.org:8080/a/b?c=d&e HTTP/1.1\r
                Host: other.example\r
                Accept: */*\r
                Proxy-Connection: keep-alive\r
                Proxy-Authorization: Basic eA==\r
                Connection: close, X-Hop\r
                X-Hop: 1\r
                Keep-Alive: timeout=5\r
                TE: trailers\r
                Cookie:  a=b \r
                \r

                """))
        #expect(r.kind == .forward && r.target == name("Example.org", 8080) && r.body == .none)
        #expect(!r.keepsAlive && !r.isHead && !r.isVersion10)
        #expect(
            text(r.head)
                == "GET /a/b?c=d&e HTTP/1.1\r\nHost: Example.org:8080\r\nAccept: */*\r\nCookie: a=b\r\n"
                + "Connection: close\r\n\r\n")
    }

    @Test(arguments: [
        ("GET http://h HTTP/1.1", "GET / HTTP/1.1"),
        ("GET http://h?q HTTP/1.1", "GET /?q HTTP/1.1"),
        ("GET HTTP://h:/ HTTP/1.1", "GET / HTTP/1.1"),
        ("OPTIONS http://h HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://h/ HTTP/1.1", "OPTIONS / HTTP/1.1"),
        ("GET http://[::1]/x HTTP/1.1", "GET /x HTTP/1.1"),
        ("HEAD http://h/?http://x/ HTTP/1.0", "HEAD /?http://x/ HTTP/1.0")
    ])
    func paths(_ line: String, _ expected: String) throws {
        let r = try #require(request(line + "\r\nHost: h\r\n\r\n"))
        #expect(text(r.head).hasPrefix(expected + "\r\n"))
        #expect(r.target.port == 80)
        #expect(r.isHead == line.hasPrefix("HEAD"))
        #expect(r.keepsAlive != r.isVersion10)
        #expect(text(r.head).contains("Connection: close") == r.isVersion10)
    }

    @Test func bodies() throws {
        let post = "POST http://h/ HTTP/1.1\r\nHost: h\r\n"
        #expect(request(post + "Content-Length: 5\r\n\r\n")?.body == .length(5))
        #expect(request(post + "Content-Length: 0\r\n\r\n")?.body == HTTPBodyFraming.none)
        let chunked = try #require(
            request(
                post + "Transfer-Encoding: Chunked\r\nTrailer: X\r\nExpect: 100-continue\r\n\r\n"))
        #expect(chunked.body == .chunked)
        #expect(
            text(chunked.head).contains(
                "Transfer-Encoding: Chunked\r\nTrailer: X\r\nExpect: 100-continue\r\n"))
        // Connection can't take away what frames the message.
        let tricked = try #require(
            request(post + "Connection: content-length, host\r\nContent-Length: 5\r\n\r\n"))
        #expect(text(tricked.head).contains("Content-Length: 5\r\n") && tricked.body == .length(5))
    }

    @Test func upgrade() throws {
        let r = try #require(
            request(
                "GET http://h/ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n"
                    + "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"))
        #expect(r.kind == .upgrade)
        #expect(
            text(r.head)
                == "GET /ws HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
    }

    @Test func authentication() {
        let alice = Credentials(user: "Aladdin", password: "open sesame")!
        let get = "GET http://h/ HTTP/1.1\r\nHost: h\r\n"
        #expect(refusal(get + "\r\n", alice) == 407)
        #expect(refusal(get + "Proxy-Authorization: Basic bad!\r\n\r\n", alice) == 407)
        #expect(
            refusal(get + "Proxy-Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n", alice)
                == 407)
        #expect(
            refusal(get + "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZA==\r\n\r\n", alice)
                == 407)
        let good = "Proxy-Authorization: basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
        #expect(request(get + good + "\r\n", alice) != nil)
        #expect(request("CONNECT h:1 HTTP/1.1\r\n" + good + "\r\n", alice) != nil)
        #expect(refusal(get + good + good + "\r\n", alice) == 407, "two of them are none")
        #expect(refusal("CONNECT h:1 HTTP/1.1\r\n\r\n", alice) == 407)
        let reply = text(HTTPRefusal(.proxyAuthenticationRequired, "x").reply())
        #expect(reply.contains("\r\nProxy-Authenticate: Basic realm=\"Braid\"\r\n"))
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        ("RETR FTPS+x://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        ("GET 1p://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET http://[[::1]]/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://u:p@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h/#f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h:0/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h:70000/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://[h]/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://[1.2.3.4]/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://::1/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        ("CONNECT h HTTP/1.1\r\n\r\n", 400),
        ("CONNECT h: HTTP/1.1\r\n\r\n", 400), ("CONNECT [::1] HTTP/1.1\r\n\r\n", 400),
        ("CONNECT http://h:1/ HTTP/1.1\r\n\r\n", 400),
        ("GET  http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h/ x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://h/\r\nHost: h\r\n\r\n", 400),
        ("G@T http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("TRACE http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 405), ("PRI * HTTP/2.0\r\n\r\n", 505),
        (
            "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            400
        ),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\n", 400),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", 400),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (
            "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400
        ),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        ("POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
        ("POST http://h/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\n: h\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\nHost: h\n\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\u{0}b\r\n\r\n", 400), ("\r\n\r\n\r\nGET", 400)
    ])
    func refused(_ message: String, _ status: Int) {
        #expect(refusal(message) == status)
    }

    @Test func limits() {
        let long = String(repeating: "a", count: HTTPLimit.startLine)
        #expect(refusal("GET http://h/\(long)") == 414)
        let field = "X: \(String(repeating: "a", count: 1000))\r\n"
        #expect(refusal("GET http://h/ HTTP/1.1\r\n" + String(repeating: field, count: 66)) == 431)
        #expect(
            refusal("GET http://h/ HTTP/1.1\r\n" + String(repeating: "X: y\r\n", count: 257)) == 431
        )
        #expect(
            refusal(
                "GET http://h/ HTTP/1.1\r\nHost: h\r\n" + String(repeating: "X: y\r\n", count: 255)
                    + "\r\n") == nil)
    }

    @Test(arguments: ["Connection", "Proxy-Connection"])
    func lists(_ name: String) {
        func answer(_ fields: String) -> Int? {
            refusal("GET http://h/ HTTP/1.1\r\nHost: h\r\n\(fields)\r\n")
        }
        let most = String(repeating: "a,", count: HTTPLimit.listMembers - 1)
        #expect(answer("\(name): \(most)b\r\n") == nil)
        #expect(answer("\(name): \(most)b,\r\n") == 431)
        #expect(answer("\(name): \(most)b\r\n\(name.lowercased()): c\r\n") == 431)
        // What nobody looks through may be as long as it likes.
        #expect(answer("Accept: \(most)b,c,d\r\n") == nil)
    }

    @Test func requestsFollowEachOther() throws {
        var reader = HTTPRequestReader(credentials: nil)
        let one = Array("GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8),
            two = Array("GET http://b/2 HTTP/1.1\r\nHost: b\r\n\r\n".utf8)
        guard case .request(let first, let n) = withBytes(one + two, { reader.read($0) }) else {
            Issue.record("first")
            return
        }
        #expect(n == one.count && first.target == name("a", 80))
        guard case .request(let second, two.count) = withBytes(two, { reader.read($0) }) else {
            Issue.record("second")
            return
        }
        #expect(second.target == name("b", 80))
    }

    @Test func everyDialStatusHasASentence() {
        let target = name("example.org", 80)
        for status in DialStatus.allCases where status != .connected {
            let refusal = HTTPRefusal(status, target: target), reply = text(refusal.reply())
            #expect(refusal.status == (status == .timedOut ? .gatewayTimeout : .badGateway))
            #expect(refusal.sentence.contains("example.org:80") && refusal.sentence.last == ".")
            #expect(reply.hasSuffix("\r\n\r\n" + refusal.sentence + "\n"))
            #expect(reply.contains("Content-Length: \(refusal.sentence.utf8.count + 1)\r\n"))
            #expect(text(refusal.reply(toHead: true)).hasSuffix("\r\n\r\n"))
        }
    }

    @Test func nothingTrapsWhateverTheBytes() {
        var random = SeededRandom(seed: 2)
        let seed = Array(
            "POST http://h:80/p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: a, close\r\n\r\n"
                .utf8)
        for _ in 0..<20_000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = bytes.indices.randomElement(using: &random)!
                switch Int.random(in: 0...2, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(bytes[bytes.indices.randomElement(using: &random)!], at: at)
                }
            }
            var reader = HTTPRequestReader(credentials: nil)
            _ = withBytes(bytes) { reader.read($0) }
        }
    }
}

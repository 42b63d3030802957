import Measures
import Testing

@testable import Dialogue

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

private func context(
    _ requestLine: String = "GET http://h/ HTTP/1.1",
    _ fields: String = ""
) -> HTTPResponseContext {
    var reader = HTTPRequestReader(credentials: nil)
    let request = Array("\(requestLine)\r\nHost: h\r\n\(fields)\r\n".utf8)
    guard case .request(let r, _) = withBytes(request, { reader.read($0) }) else {
        fatalError("the test's request is wrong")
    }
    return HTTPResponseContext(r)
}
private func final(_ message: String, _ context: HTTPResponseContext = context()) -> HTTPResponse? {
    var reader = HTTPResponseReader(context)
    guard case .final(let response, _) = withBytes(Array(message.utf8), { reader.read($0) }) else {
        return nil
    }
    return response
}

@Suite struct HTTPResponseTests {
    @Test(
        arguments: [
            ("200 OK\r\nContent-Length: 5", .length(5), true),
            ("200 OK\r\nContent-Length: 0", .none, true),
            ("200 OK", .untilClose, false), ("200", .untilClose, false),
            ("200 OK\r\nTransfer-Encoding: chunked", .chunked, true),
            ("200 OK\r\nTransfer-Encoding: gzip, chunked", .chunked, true),
            ("200 OK\r\nTransfer-Encoding: gzip", .untilClose, false),
            ("200 OK\r\nTransfer-Encoding: identity", .untilClose, false),
            ("200 OK\r\nTransfer-Encoding: Identity\r\nContent-Length: 5", .length(5), true),
            ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", .chunked, true),
            ("200 OK\r\nContent-Length: 5, 5", .length(5), true),
            ("204 No Content", .none, true), ("304 Not Modified\r\nContent-Length: 5", .none, true)
        ] as [(String, HTTPBodyFraming, Bool)])
    func framing(_ rest: String, _ body: HTTPBodyFraming, _ keeps: Bool) throws {
        let response = try #require(final("HTTP/1.1 \(rest)\r\n\r\n"))
        #expect(response.body == body && response.clientKeepsAlive == keeps)
        #expect(text(response.head).contains("Connection: close\r\n") == !keeps)
        #expect(!text(response.head).contains("dentity"))
    }

    @Test func headHasNoBody() throws {
        let response = try #require(
            final(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", context("HEAD http://h/ HTTP/1.1")))
        #expect(response.body == .none && response.clientKeepsAlive)
        #expect(text(response.head) == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    }

    @Test func hopByHopFieldsStayBehind() throws {
        let response = try #require(
            final(
                "HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: max=3\r\n"
                    + "Proxy-Authenticate: Basic\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 7, 7\r\n\r\n"
            ))
        #expect(
            text(response.head)
                == "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 7\r\n\r\n")
        #expect(
            !response.originKeepsAlive && response.clientKeepsAlive,
            "the hops close each for itself")
    }

    @Test func version10() throws {
        let old = try #require(final("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"))
        #expect(!old.originKeepsAlive && old.clientKeepsAlive)
        #expect(text(old.head).hasPrefix("HTTP/1.1 200 OK\r\n"))
        let client = try #require(
            final("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", context("GET http://h/ HTTP/1.0"))
        )
        #expect(!client.clientKeepsAlive && text(client.head).contains("Connection: close\r\n"))
        let chunked = try #require(
            final("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"))
        #expect(chunked.body == .chunked && !chunked.originKeepsAlive && chunked.clientKeepsAlive)
        #expect(text(chunked.head) == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    }

    @Test(arguments: [
        ("Content-Length : 5", "Content-Length: 5\r\n"),
        ("Content-Length \t : 5", "Content-Length: 5\r\n"),
        ("X: a\r\n b", "X: a   b\r\n"),
        ("X: a\r\n\tb\r\n  c\r\nY: d", "X: a  \tb    c\r\nY: d\r\n"),
        ("X:\r\n a", "X: a\r\n"), ("X: a\r\n \r\nY: b", "X: a\r\nY: b\r\n"),
        (" lost\r\n also\r\nY: b", "Y: b\r\n"),
        ("Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\n"),
        ("Content-Length\r\n : 5", "Content-Length: 5\r\n"),
        ("X: a\u{1}b\u{7f}", "X: a b\r\n"), ("X: a\rb", "X: a b\r\n"),
        ("X A: b\r\nY: c", "Y: c\r\n"), (": b\r\n c\r\nY: c", "Y: c\r\n"),
        ("rubbish\r\nY: c", "Y: c\r\n"), ("Content-Length\u{b}: 5", "Content-Length: 5\r\n")
    ])
    func oldFormsOfFields(_ fields: String, _ expected: String) throws {
        for end in ["\r\n", "\n"] {
            let lines = fields.replacing("\r\n", with: end)
            let response = try #require(final("HTTP/1.1 200 OK\(end)\(lines)\(end)\(end)"))
            // A line's end of one byte leaves one space less.
            let head = text(response.head).replacing("Connection: close\r\n", with: "")
            let wanted =
                end == "\n"
                ? expected.replacing("a   b", with: "a  b").replacing(
                    "a  \tb    c", with: "a \tb   c")
                : expected
            #expect(head == "HTTP/1.1 200 OK\r\n\(wanted)\r\n")
        }
    }

    @Test(arguments: ["Connection", "Transfer-Encoding", "Content-Length"])
    func lists(_ name: String) {
        let one = name == "Content-Length" ? "5" : "close"
        let most = [String](repeating: one, count: HTTPLimit.listMembers).joined(separator: ",")
        #expect(final("HTTP/1.1 200 OK\r\n\(name): \(most)\r\n\r\n") != nil)
        #expect(final("HTTP/1.1 200 OK\r\n\(name): \(most),\(one)\r\n\r\n") == nil)
    }

    @Test func interimThenFinal() {
        var reader = HTTPResponseReader(context())
        let early = Array("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".utf8),
            last = Array("HTTP/1.1 204 No Content\r\n\r\n".utf8)
        guard
            case .interim(let head, early.count) = withBytes(
                early + last,
                { reader.read($0) })
        else {
            Issue.record("interim")
            return
        }
        #expect(head == early)
        guard case .final(_, last.count) = withBytes(last, { reader.read($0) }) else {
            Issue.record("final")
            return
        }
        var old = HTTPResponseReader(context("GET http://h/ HTTP/1.0"))
        guard case .interim(let none, _) = withBytes(early, { old.read($0) }) else {
            Issue.record("interim for 1.0")
            return
        }
        #expect(none.isEmpty)
    }

    @Test func interimResponsesEnd() {
        var reader = HTTPResponseReader(context())
        let early = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
        for _ in 0..<HTTPLimit.interimResponses {
            guard case .interim = withBytes(early, { reader.read($0) }) else {
                Issue.record("too early")
                return
            }
        }
        guard case .refused(.tooManyInterimResponses) = withBytes(early, { reader.read($0) }) else {
            Issue.record("never")
            return
        }
    }

    @Test func upgrade() {
        let ws = context("GET http://h/ HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
        let answer = Array(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: k\r\n\r\n"
                .utf8)
        var reader = HTTPResponseReader(ws)
        guard
            case .switching(let head, answer.count) = withBytes(
                answer + [1, 2],
                { reader.read($0) })
        else {
            Issue.record("101")
            return
        }
        #expect(
            text(head)
                == "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        var other = HTTPResponseReader(context())
        guard case .refused(.unexpectedUpgrade) = withBytes(answer, { other.read($0) }) else {
            Issue.record("unasked")
            return
        }
        #expect(
            final("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", ws)?.body == .length(1),
            "the origin may refuse to")
    }

    @Test(arguments: [
        "HTTP/2 200\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 6\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1\r\n\r\n"
    ])
    func refused(_ message: String) {
        var reader = HTTPResponseReader(context())
        guard case .refused(let error) = withBytes(Array(message.utf8), { reader.read($0) }) else {
            Issue.record("taken")
            return
        }
        #expect(error.refusal.status == .badGateway)
    }

    @Test func oldLineEndsAreTaken() {
        #expect(final("HTTP/1.1 200 OK\nContent-Length: 5\n\n")?.body == .length(5))
    }

    @Test func everySplit() {
        let message = Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n".utf8)
        for n in 0..<message.count {
            var reader = HTTPResponseReader(context())
            guard case .needMore = withBytes(Array(message[..<n]), { reader.read($0) }),
                case .final(_, message.count) = withBytes(message, { reader.read($0) })
            else { Issue.record("split at \(n)"); continue }
        }
    }
}

@Suite struct HTTPBodyTests {
    /// Reads `bytes` in pieces of `step`; the number of bytes that belonged to the body, and
    /// whether it ended.
    private func length(
        _ framing: HTTPBodyFraming, _ bytes: [UInt8],
        step: Int
    ) throws(HTTPBodyError) -> (Int, Bool) {
        var reader = HTTPBodyReader(framing), at = 0
        while at < bytes.count, !reader.isFinished {
            let piece = Array(bytes[at..<min(bytes.count, at + step)])
            var n = 0, failure: HTTPBodyError?
            withBytes(piece) { b in
                do throws(HTTPBodyError) { n = try reader.read(b) } catch { failure = error }
            }
            if let failure { throw failure }
            at += n
            if n < piece.count { break }
        }
        return (at, reader.isFinished)
    }

    @Test(arguments: [
        "5\r\nhello\r\n0\r\n\r\n", "5;a=\"b c\"\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n",
        "0\r\n\r\n",
        "1\r\n\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", "5 \r\nhello\r\n0;x\r\n\r\n",
        "5 \t;a b\r\nhello\r\n0;5 5\r\n\r\n"
    ])
    func chunks(_ body: String) throws {
        let bytes = Array(body.utf8)
        for step in 1...bytes.count + 3 {
            let (n, ended) = try length(.chunked, bytes + Array("GET".utf8), step: step)
            #expect(n == bytes.count && ended, "step \(step)")
        }
        for n in 0..<bytes.count {
            #expect(try length(.chunked, Array(bytes[..<n]), step: 4).1 == false, "prefix of \(n)")
        }
    }

    @Test(
        arguments: [
            ("x\r\n", .malformedChunkSize), ("\r\n", .malformedChunkSize),
            ("-1\r\n", .malformedChunkSize), ("5\n", .missingLineEnd),
            ("5\rx", .missingLineEnd), ("5\r\nhelloX", .missingLineEnd),
            ("5\r\nhello\rX", .missingLineEnd), ("5;a\n", .missingLineEnd),
            ("5 5\r\n", .malformedChunkSize), ("5\t5\r\n", .malformedChunkSize),
            ("5 x\r\n", .malformedChunkSize), ("5  a;b\r\n", .malformedChunkSize),
            ("1000000000000000\r\n", .chunkTooLong), ("0x5\r\n", .malformedChunkSize),
            ("0\r\nA: b\n", .missingLineEnd),
            ("0\r\n\rX", .missingLineEnd),
            ("5;" + String(repeating: "a", count: 4096), .chunkLineTooLong),
            ("0\r\n" + String(repeating: "a: b\r\n", count: 4000), .trailersTooLong)
        ] as [(String, HTTPBodyError)])
    func badChunks(_ body: String, _ error: HTTPBodyError) {
        for step in [1, 3, 100_000] {
            #expect(throws: error) { try length(.chunked, Array(body.utf8), step: step) }
        }
    }

    @Test func countedAndOpen() throws {
        let bytes = Array("hello world".utf8)
        for step in 1...12 {
            #expect(try length(.length(5), bytes, step: step) == (5, true))
            #expect(try length(.length(20), bytes, step: step) == (11, false))
            #expect(try length(.untilClose, bytes, step: step) == (11, false))
            #expect(try length(.none, bytes, step: step) == (0, true))
        }
        #expect(HTTPBodyReader(.untilClose).mayEndHere && HTTPBodyReader(.none).mayEndHere)
        #expect(!HTTPBodyReader(.length(1)).mayEndHere && !HTTPBodyReader(.chunked).mayEndHere)
    }
}

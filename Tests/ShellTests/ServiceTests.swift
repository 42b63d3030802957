import CDatagram
import Foundation
import Glibc
import Logging
import Measures
import Testing

@testable import Shell

@Suite struct ServiceTests {
    private func path(_ name: String) -> String { "/tmp/braid-test-\(getpid())-\(name)" }

    @Test(arguments: [
        ("GET /status HTTP/1.1\r\nHost: localhost", "200", "{\"up\":1}"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:9090", "200", "<p>"),
        ("GET /metrics HTTP/1.0", "200", "braid_up 1"),
        ("GET /other HTTP/1.1\r\nHost: localhost", "404", "Pages"),
        ("GET /status HTTP/1.1\r\nHost: evil.example", "403", "localhost"),
        ("POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "403", "origin"),
        ("PUT /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "501", "Not")
    ])
    func theStatusPage(request: String, code: String, body: String) throws {
        let loop = try EventLoop()
        let address = SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)
        let access = StatusAccess(address, token: nil)
        let pages = ["/": "<p>", "/status": "{\"up\":1}", "/metrics": "braid_up 1\n"]
        let page = try StatusPage(address, loop: loop, access: access) { request, exchange in
            let page = pages[request.path]
            exchange.reply(StatusReply(page == nil ? .notFound : .ok, page ?? "Pages: /"))
        }
        var reply: [UInt8] = [], ended = false, client: StreamSocket?
        let attempt = StreamSocket.connect(to: page.address, loop: loop) { result in
            guard let socket = try? result.get() else { return }
            client = socket
            _ = socket.write(Array("\(request)\r\nConnection: close\r\n\r\n".utf8))
            socket.watch.onReadable(for: socket) { socket in
                withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { room in
                    if case .bytes(let n) = socket.read(into: room) {
                        reply += room[..<n]
                    } else {
                        ended = true
                    }
                }
            }
            socket.watch.wantsRead = true
        }
        #expect(loop.run(until: .seconds(3)) { ended })
        client?.close()
        page.close()
        let text = String(decoding: reply, as: UTF8.self)
        #expect(text.hasPrefix("HTTP/1.1 \(code)") || text.hasPrefix("HTTP/1.0 \(code)"), "\(text)")
        #expect(text.contains(body))
        withExtendedLifetime(attempt) {}
    }

    @Test func aLogRecordIsOneLine() {
        let line = LineLog.line(
            level: .warning, label: "tunnel",
            message: "bad\nINFO forged \u{1b}[31m\u{202e}",
            metadata: ["user": "a b", "n": "1", "q": "say \"x\""], at: 1_700_000_000_042_000_000)
        #expect(
            line
                == "2023-11-14T22:13:20.042Z warn tunnel: bad\\nINFO forged \\x1b[31m\\u{202e} n=1 q=\"say \\\"x\\\"\" user=\"a b\"\n"
        )
    }

    @Test func aLogRecordMayBeAnObjectOfJSON() throws {
        let line = JSONLine.line(
            level: .warning, label: "tunnel",
            message: "bad\nINFO \"forged\" \\ \u{1b}[31m\u{202e}\u{7f}",
            metadata: ["user": "a b", "level": "mine", "list": ["x", "y"]],
            at: 1_700_000_000_042_000_000)
        #expect(line.filter { $0.isNewline } == "\n" && line.hasSuffix("}\n"))
        let read = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
        #expect(read["time"] == "2023-11-14T22:13:20.042Z" && read["level"] == "warning")
        #expect(read["message"] == "bad\nINFO \"forged\" \\ \u{1b}[31m\u{202e}\u{7f}")
        #expect(
            read["user"] == "a b" && read["level_"] == "mine" && read["list"] == "[\"x\", \"y\"]")
        #expect(!line.unicodeScalars.contains { $0.value == 0x1b || $0.value == 0x202e })
    }

    @Test func thePcapReachesTheFile() throws {
        let path = path("pcap"), loop = try EventLoop()
        defer { unlink(path) }
        let writer = try PcapWriter(path: path, loop: loop)
        let piece = [UInt8](repeating: 7, count: 100_000)
        for _ in 0..<7 { piece.withUnsafeBytes { writer.append($0) } }
        writer.close()
        var about = stat()
        #expect(
            stat(path, &about) == 0 && about.st_size == 700_000 && about.st_mode & 0o777 == 0o600)
    }

    @Test func subnetsContainWhatTheyShould() throws {
        let net = try #require(Subnet("10.1.0.0/16"))
        #expect(net.contains(IPAddress("10.1.255.1")!) && !net.contains(IPAddress("10.2.0.1")!))
        #expect(Subnet("0.0.0.0/0")!.contains(IPAddress("8.8.8.8")!))
        #expect(
            Subnet("192.0.2.7")!.contains(IPAddress("192.0.2.7")!)
                && !Subnet("192.0.2.7")!.contains(IPAddress("192.0.2.6")!))
        #expect(
            Subnet("fd00::/8")!.contains(IPAddress("fd12::1")!)
                && !Subnet("fd00::/8")!.contains(IPAddress("fe80::1")!))
        #expect(
            Subnet("2001:db8::/96")!.contains(IPAddress("2001:db8::5:6")!)
                && !Subnet("2001:db8::/96")!.contains(IPAddress("2001:db8::1:0:0")!))
        #expect(
            Subnet("10.0.0.0/33") == nil && Subnet("10.0.0.0/") == nil && Subnet("x/8") == nil
                && Subnet("10.0.0.0/8/8") == nil)
    }
}

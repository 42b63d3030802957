import Glibc
import Measures
import Testing

@testable import Shell

/// Who may take the status page from others: silent connections, slow ones, endless heads.
@Suite struct StatusPageTests {
    private final class Client {
        var socket: StreamSocket?
        var reply: [UInt8] = []
        var isOver = false
        private var attempt: StreamSocket.Attempt?
        private var drip: LoopTimer?

        /// Sends `request` when it is connected, then `piece` every 20 ms.
        init(
            _ page: StatusPage, _ loop: EventLoop, _ request: String, drip piece: String? = nil
        ) {
            attempt = StreamSocket.connect(to: page.address, loop: loop) { [weak self] result in
                guard let self, let socket = try? result.get() else { return }
                self.socket = socket
                socket.watch.onReadable(for: self) { $0.read() }
                socket.watch.wantsRead = true
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

    private static let loopback = SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)
    private static let request = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"

    private func page(
        _ loop: EventLoop, limit: Interval = StatusPage.limit, size: Int = 2
    ) throws -> StatusPage {
        try StatusPage(
            Self.loopback, loop: loop, limit: limit,
            content: .init(
                html: { "<p>" }, json: { String(repeating: "x", count: size) },
                metrics: { "m" }))
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
        let late = Client(page, loop, Self.request, drip: "z")  // reads its reply, sends for ever
        #expect(loop.run(until: .seconds(10)) { slow.isOver && late.isOver })
        #expect(slow.reply.isEmpty && late.text.hasSuffix("\r\n\r\nxx"))
        page.close()
    }

    @Test func anEndlessHeadIsRefused() throws {
        let loop = try EventLoop(), page = try page(loop)
        let client = Client(
            page, loop,
            "GET / HTTP/1.1\r\nX: " + String(repeating: "y", count: 2 * StatusPage.maximumHead))
        #expect(loop.run(until: .seconds(10)) { !client.reply.isEmpty })
        #expect(client.text.hasPrefix("HTTP/1.1 400 "))
        client.socket?.close()
        page.close()
    }

    @Test func aLongReplyComesWhole() throws {
        let loop = try EventLoop(), page = try page(loop, size: 5_000_000)
        let client = Client(page, loop, Self.request)
        #expect(loop.run(until: .seconds(20)) { client.isOver })
        #expect(client.text.hasSuffix("x") && client.reply.count > 5_000_000)
        page.close()
    }

    @Test func oddRequests() {
        func read(_ text: String) -> StatusRequest? { StatusRequest(head: Array(text.utf8)) }
        for odd in [
            "", "GET", "GET /", "GET / HTTP/2", "GET  / HTTP/1.1", "GET x HTTP/1.1", "\0 / \0",
            "GET http://x/ HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n"
        ] { #expect(read(odd) == nil, "\(odd)") }
        let request = read("GET /status?x=1 HTTP/1.1\r\nA\r\n:\r\nHOST:\t a:1 \r\n")
        #expect(request?.path == "/status" && request?.host == "a:1")
        #expect(read("GET / HTTP/1.0\n\n")?.host == nil)
    }
}

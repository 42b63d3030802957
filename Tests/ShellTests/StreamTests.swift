import Buffers
import CDatagram
import Glibc
import Measures
import Testing

@testable import Shell

private let anyPort = SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)

/// Two ends of a TCP connection over loopback.
func connectedPair(_ loop: EventLoop) throws -> (client: StreamSocket, server: StreamSocket) {
    var client: StreamSocket?, server: StreamSocket?
    let listener = try StreamListener(anyPort, loop: loop) { socket, _ in server = socket }
    let attempt = StreamSocket.connect(to: listener.address, loop: loop) { client = try? $0.get() }
    _ = loop.run(until: .seconds(2)) { client != nil && server != nil }
    listener.close()
    attempt.cancel()
    return (try #require(client), try #require(server))
}

@Suite struct StreamTests {
    @Test func bytesAndEndsPass() throws {
        let loop = try EventLoop()
        let (client, server) = try connectedPair(loop)
        #expect(client.remoteAddress == server.localAddress)
        #expect(client.write(Array("hello".utf8)) == .bytes(5))
        client.finishWriting()
        var got: [UInt8] = [], ended = false
        server.watch.onReadable(for: server) { server in
            withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { room in
                switch server.read(into: room) {
                case .bytes(let n): got += room[..<n]
                case .end: ended = true; server.watch.wantsRead = false
                default: break
                }
            }
        }
        server.watch.wantsRead = true
        #expect(loop.run(until: .seconds(2)) { ended })
        #expect(got == Array("hello".utf8))
        #expect(server.write(Array("back".utf8)) == .bytes(4))
    }

    @Test func aRefusedConnectionSaysSo() throws {
        let loop = try EventLoop()
        let listener = try StreamListener(anyPort, loop: loop) { _, _ in }
        listener.close()
        var code: Int32?
        let attempt = StreamSocket.connect(to: listener.address, loop: loop) {
            if case .failure(let error) = $0 { code = error.code }
        }
        #expect(loop.run(until: .seconds(2)) { code != nil })
        #expect(code == ECONNREFUSED)
        withExtendedLifetime(attempt) {}
    }

    @Test func aCancelledAttemptIsSilent() throws {
        let loop = try EventLoop()
        let listener = try StreamListener(anyPort, loop: loop) { _, _ in }
        var called = false
        StreamSocket.connect(to: listener.address, loop: loop) { _ in called = true }.cancel()
        _ = loop.run(until: .milliseconds(50)) { called }
        #expect(!called)
    }

    /// What the kernel knows already is said at once; what it doesn't, when it does.
    @Test func anAttemptSettles() throws {
        let loop = try EventLoop()
        let listener = try StreamListener(anyPort, loop: loop) { _, _ in }
        let full = braid_socket_stream(1)
        defer { Glibc.close(full) }
        var address = braid_address(anyPort)
        try #require(braid_bind(full, &address) == 0 && braid_listen(full, 0) == 0)
        try #require(braid_local_address(full, &address) == 0)
        let waiting = SocketAddress(address)
        /// Errno, 0 where it is connected.
        var codes: [Int32] = []
        func connect(_ remote: SocketAddress) -> StreamSocket.Attempt {
            StreamSocket.connect(to: remote, loop: loop) { result in
                do throws(SystemError) { try result.get().close(); codes.append(0) } catch {
                    codes.append(error.code)
                }
            }
        }
        let good = connect(listener.address)
        #expect(codes.isEmpty)
        good.settle()
        good.settle()
        #expect(codes == [0])
        listener.close()
        connect(listener.address).settle()
        #expect(codes == [0, ECONNREFUSED])
        connect(waiting).settle()
        let undecided = connect(waiting), cancelled = connect(listener.address)
        undecided.settle()
        cancelled.cancel()
        cancelled.settle()
        _ = loop.run(until: .milliseconds(50)) { false }
        #expect(codes == [0, ECONNREFUSED, 0])
        withExtendedLifetime(undecided) {}
    }

    @Test func resetArrivesAsReset() throws {
        let loop = try EventLoop()
        let (client, server) = try connectedPair(loop)
        client.reset()
        var result: StreamSocket.ReadResult?
        server.watch.onReadable(for: server) { server in
            withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) {
                result = server.read(into: $0)
            }
            server.watch.wantsRead = false
        }
        server.watch.wantsRead = true
        #expect(loop.run(until: .seconds(2)) { result != nil })
        #expect(result == .failed(ECONNRESET))
    }

    @Test func withoutDescriptorsCallersAreTurnedAwayWithoutSpinning() throws {
        // A thread with a table of files of its own: the other tests keep theirs.
        let end = inThread { Result { try self.exhaust() } }
        try end().get()
    }

    private func exhaust() throws {
        try #require(braid_unshare_files() == 0)
        let loop = try EventLoop()
        var accepted: [StreamSocket] = []
        let listener = try StreamListener(anyPort, loop: loop) { socket, _ in
            accepted.append(socket)
        }
        let client = braid_socket_stream(1)
        var address = braid_address(listener.address)
        // The limit is the whole process's, but 4,096 are enough for everybody else.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(7), &limit)  // RLIMIT_NOFILE
        limit.rlim_cur = min(limit.rlim_cur, 4096)
        setrlimit(__rlimit_resource_t(7), &limit)
        var filler: [Int32] = []
        while true {
            let fd = dup(2)
            if fd < 0 { break }
            filler.append(fd)
        }
        #expect(errno == EMFILE)
        _ = braid_connect(client, &address)
        var iterations = 0
        loop.afterEvents { iterations += 1 }
        _ = loop.run(until: .milliseconds(250)) { false }
        #expect(accepted.isEmpty && iterations < 20, "\(iterations) iterations: it spins")
        // The caller was turned away rather than left hanging.
        var byte: UInt8 = 0
        let n = read(client, &byte, 1)
        #expect(n == 0 || (n < 0 && errno == ECONNRESET))
        filler.forEach { close($0) }
        let next = braid_socket_stream(1)
        _ = braid_connect(next, &address)
        #expect(loop.run(until: .seconds(2)) { accepted.count == 1 })
        close(client)
        close(next)
    }
}

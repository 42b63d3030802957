import Buffers
import Glibc
import Measures
import Testing

@testable import Shell

/// An engine's stream whose far end the test plays.
private final class FakeStream: PumpedStream {
    var outgoing: [UInt8] = []  // what the pump wrote
    var sendLimit = 64 << 10
    var incoming: [UInt8] = []  // what the pump is to read
    var isWriteEnded = false, isReadFinished = false, hasFailed = false
    var aborted = false, released = 0, spaceAsked = 0
    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    private let shown = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    deinit { room.deallocate(); shown.deallocate() }

    func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        spaceAsked += 1
        return UnsafeMutableRawBufferPointer(
            rebasing: room[..<max(0, min(wanted, sendLimit - outgoing.count, room.count))])
    }
    func commitWrite(_ n: Int) { outgoing += room[..<n] }
    func finishWriting() { isWriteEnded = true }
    var readable: Pieces {
        let window = incoming[consumed..<min(incoming.count, consumed + shown.count)]
        shown.copyBytes(from: window)
        // In two pieces, as a wrapped ring shows them.
        let half = window.count / 2
        return Pieces(
            first: UnsafeRawBufferPointer(rebasing: shown[..<half]),
            second: UnsafeRawBufferPointer(rebasing: shown[half..<window.count]))
    }
    func consume(_ n: Int) { consumed += n }
    private var consumed = 0
    var left: Int { incoming.count - consumed }
    func abort() { aborted = true }
    func release() { released += 1 }
}

@Suite struct PumpTests {
    private func make(
        _ loop: EventLoop, greeting: [UInt8] = [], early: [UInt8] = []
    )
        throws -> (pump: Pump, stream: FakeStream, peer: StreamSocket, ends: Box<[Pump.End]>)
    {
        let (near, far) = try connectedPair(loop)
        let stream = FakeStream(), ends = Box<[Pump.End]>([])
        let pump = Pump(
            socket: near, stream: stream, greeting: greeting,
            early: early
        ) { ends.value.append($0) }
        pump.start(lookingEvery: .milliseconds(20))
        return (pump, stream, far, ends)
    }

    /// Reads from `socket` until its end, an error or `limit` bytes.
    private func reader(
        _ socket: StreamSocket
    ) -> Box<(bytes: [UInt8], end: StreamSocket.ReadResult?)> {
        let box = Box<(bytes: [UInt8], end: StreamSocket.ReadResult?)>(([], nil))
        socket.watch.onReadable(for: socket) { socket in
            withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { room in
                switch socket.read(into: room) {
                case .bytes(let n): box.value.bytes += room[..<n]
                case .blocked: break
                case let end: box.value.end = end; socket.watch.wantsRead = false
                }
            }
        }
        socket.watch.wantsRead = true
        return box
    }

    @Test func bothDirectionsAndHalfCloses() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        let seen = reader(peer)
        _ = peer.write(Array("request".utf8))
        peer.finishWriting()
        #expect(loop.run(until: .seconds(2)) { stream.isWriteEnded })
        #expect(stream.outgoing == Array("request".utf8))
        #expect(ends.value.isEmpty, "the other direction is still open")
        stream.incoming = Array("reply".utf8)
        pump.activity()
        #expect(loop.run(until: .seconds(2)) { seen.value.bytes.count == 5 })
        #expect(seen.value.end == nil)
        stream.isReadFinished = true
        pump.activity()
        #expect(loop.run(until: .seconds(2)) { seen.value.end != nil })
        #expect(
            seen.value.end == .end && ends.value == [.finished] && stream.released == 1
                && !stream.aborted)
        #expect(pump.bytesFromSocket == 7 && pump.bytesToSocket == 5)
    }

    @Test func theStreamMayEndFirst() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        let seen = reader(peer)
        stream.isReadFinished = true
        pump.activity()
        #expect(loop.run(until: .seconds(2)) { seen.value.end == .end })
        _ = peer.write(Array("still".utf8))
        #expect(loop.run(until: .seconds(2)) { stream.outgoing.count == 5 })
        peer.close()
        #expect(loop.run(until: .seconds(2)) { !ends.value.isEmpty })
        #expect(ends.value == [.finished])
    }

    @Test func aFullStreamStopsReading() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, _) = try make(loop)
        stream.sendLimit = 1000
        let all = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(peer.write(all) == .bytes(5000))
        #expect(loop.run(until: .seconds(2)) { stream.outgoing.count == 1000 })
        let asked = stream.spaceAsked
        _ = loop.run(until: .milliseconds(30)) { false }
        #expect(
            stream.outgoing.count == 1000 && stream.spaceAsked == asked,
            "it spins while there is no space")
        stream.sendLimit = 10_000
        pump.activity()
        #expect(loop.run(until: .seconds(2)) { stream.outgoing.count == 5000 })
        #expect(stream.outgoing == all)
    }

    @Test func aSlowReaderStopsTheStream() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, _) = try make(loop)
        let all = (0..<(12 << 20)).map { UInt8(truncatingIfNeeded: $0 ^ ($0 >> 8)) }
        stream.incoming = all
        pump.activity()
        _ = loop.run(until: .milliseconds(100)) { false }
        let left = stream.left
        #expect(left > 0 && left < all.count, "the kernel took \(all.count - left) bytes")
        _ = loop.run(until: .milliseconds(30)) { false }
        #expect(stream.left == left)
        let seen = reader(peer)
        #expect(loop.run(until: .seconds(20)) { seen.value.bytes.count == all.count })
        #expect(seen.value.bytes == all)
        withExtendedLifetime(pump) {}
    }

    @Test func aResetSocketAbortsTheStream() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        peer.reset()
        #expect(loop.run(until: .seconds(2)) { !ends.value.isEmpty })
        #expect(ends.value == [.socketFailed(ECONNRESET)] && stream.aborted && stream.released == 1)
        withExtendedLifetime(pump) {}
    }

    /// The stream takes nothing, so nobody reads from the socket: its reset is noticed all the
    /// same.
    @Test func aSocketResetWhileTheStreamIsFullAbortsIt() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        stream.sendLimit = 1000
        #expect(peer.write([UInt8](repeating: 7, count: 5000)) == .bytes(5000))
        #expect(loop.run(until: .seconds(2)) { stream.outgoing.count == 1000 })
        _ = loop.run(until: .milliseconds(100)) { false }
        #expect(ends.value.isEmpty, "nothing has happened to it")
        peer.reset()
        #expect(loop.run(until: .seconds(10)) { !ends.value.isEmpty })
        #expect(ends.value == [.socketFailed(ECONNRESET)] && stream.aborted && stream.released == 1)
        withExtendedLifetime(pump) {}
    }

    /// The application is done with sending, then dies while its destination says nothing.
    @Test func aHalfClosedSocketThatIsResetAbortsTheStream() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        peer.finishWriting()
        #expect(loop.run(until: .seconds(2)) { stream.isWriteEnded })
        _ = loop.run(until: .milliseconds(100)) { false }
        #expect(ends.value.isEmpty, "half closed is not dead")
        peer.reset()
        #expect(loop.run(until: .seconds(10)) { !ends.value.isEmpty })
        #expect(stream.aborted && stream.released == 1)
        withExtendedLifetime(pump) {}
    }

    @Test func aFailedStreamResetsTheSocket() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, ends) = try make(loop)
        let seen = reader(peer)
        stream.hasFailed = true
        pump.activity()
        #expect(loop.run(until: .seconds(2)) { seen.value.end != nil })
        #expect(
            seen.value.end == .failed(ECONNRESET) && ends.value == [.streamFailed]
                && !stream.aborted)
    }

    @Test func greetingAndEarlyBytesComeFirst() throws {
        let loop = try EventLoop()
        let (pump, stream, peer, _) = try make(
            loop, greeting: Array("200 ".utf8), early: Array("GET ".utf8))
        let seen = reader(peer)
        _ = peer.write(Array("/".utf8))
        stream.incoming = Array("OK".utf8)
        pump.activity()
        #expect(
            loop.run(until: .seconds(2)) {
                seen.value.bytes.count == 6 && stream.outgoing.count == 5
            })
        #expect(seen.value.bytes == Array("200 OK".utf8) && stream.outgoing == Array("GET /".utf8))
    }
}

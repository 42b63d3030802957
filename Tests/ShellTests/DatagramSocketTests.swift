import Buffers
import CDatagram
import Glibc
import Measures
import Testing

@testable import Shell

/// A batch with `count` datagrams of `size` bytes, each filled with its number.
private func batch(
    _ count: Int, size: Int, last: Int? = nil, to remote: SocketAddress,
    from local: IPAddress = .unspecifiedV4,
    uplink: UplinkNumber = 0
) -> DatagramBatch {
    let batch = DatagramBatch(laneBytes: 512 << 10)
    for i in 0..<count {
        let n = i == count - 1 ? last ?? size : size
        let room = batch.reserve(lane: 0)!
        memset(room, Int32(i & 255), n)
        batch.commit(lane: 0, length: n, uplink: uplink, remote: remote, local: local)
    }
    return batch
}

private let loopback = IPAddress(v4: 0x7f00_0001)

/// Receives until `count` datagrams came or a second passed: first byte and length of each.
private func collect(
    _ loop: EventLoop, _ exchange: DatagramExchange, _ socket: DatagramSocket, _ count: Int
)
    -> [(byte: UInt8, size: Int, from: SocketAddress, local: IPAddress)]
{
    var got: [(byte: UInt8, size: Int, from: SocketAddress, local: IPAddress)] = []
    socket.watch.onReadable(for: socket) { socket in
        _ = exchange.receive(from: socket) { datagram, from, local in
            let same = datagram.allSatisfy { $0 == datagram[0] }
            got.append((same ? datagram[0] : 0xff, datagram.count, from, local.address))
        }
    }
    socket.watch.wantsRead = true
    _ = loop.run(until: .seconds(1)) { got.count >= count }
    return got
}

@Suite struct DatagramSocketTests {
    @Test(arguments: [true, false]) func aRunArrivesWholeAndInOrder(segmented: Bool) throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let server = try DatagramSocket(.listen(SocketAddress(loopback, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        client.usesSegmentation = segmented
        let sent = batch(40, size: 1400, last: 77, to: server.localAddress)
        #expect(sent.runs.count == 1)
        #expect(exchange.send(sent, uplink: 0, through: client) == .sent)
        #expect(client.usesSegmentation == segmented, "the kernel refused UDP_SEGMENT on loopback")
        let got = collect(loop, exchange, server, 40)
        #expect(got.map(\.byte) == (0..<40).map { UInt8($0) })
        #expect(got.map(\.size) == Array(repeating: 1400, count: 39) + [77])
        #expect(got.allSatisfy { $0.from == client.localAddress })
        #expect(client.statistics.datagramsSent == 40 && server.statistics.datagramsReceived == 40)
        #expect(client.statistics.bytesSent == 39 * 1400 + 77)
    }

    @Test func ipv6RunsArrive() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let v6 = IPAddress(v6High: 0, low: 1)
        let server = try DatagramSocket(.listen(SocketAddress(v6, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(v6, device: nil), loop: loop)
        #expect(
            exchange.send(
                batch(9, size: 1200, to: server.localAddress, from: .unspecifiedV6), uplink: 0,
                through: client) == .sent)
        let got = collect(loop, exchange, server, 9)
        #expect(got.map(\.byte) == (0..<9).map { UInt8($0) })
        #expect(got.allSatisfy { $0.from == client.localAddress })
    }

    @Test func onlyTheUplinksOwnRunsLeave() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let server = try DatagramSocket(.listen(SocketAddress(loopback, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        let sent = batch(3, size: 100, to: server.localAddress, uplink: 5)
        #expect(exchange.send(sent, uplink: 4, through: client) == .sent)
        #expect(client.statistics.datagramsSent == 0)
        #expect(exchange.send(sent, uplink: 5, through: client) == .sent)
        #expect(client.statistics.datagramsSent == 3)
    }

    @Test func answersLeaveFromTheAddressAsked() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let server = try DatagramSocket(.listen(SocketAddress(.unspecifiedV4, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        // 127.0.3.9: loopback too, but not what the kernel would choose
        let asked = IPAddress(v4: 0x7f00_0309)
        _ = exchange.send(
            batch(2, size: 300, to: SocketAddress(asked, port: server.localAddress.port)),
            uplink: 0, through: client)
        let got = collect(loop, exchange, server, 2)
        #expect(got.count == 2 && got.allSatisfy { $0.local == asked })
        _ = exchange.send(
            batch(2, size: 300, to: client.localAddress, from: asked), uplink: 0,
            through: server)
        let answer = collect(loop, exchange, client, 2)
        #expect(
            answer.count == 2
                && answer.allSatisfy {
                    $0.from
                        == SocketAddress(
                            asked,
                            port: server.localAddress.port)
                })
    }

    @Test func aClosedPortIsNotAFailure() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        let nobody = try DatagramSocket(.listen(SocketAddress(loopback, port: 0)), loop: loop)
        let remote = nobody.localAddress
        nobody.close()
        for _ in 0..<3 {
            #expect(
                exchange.send(batch(2, size: 50, to: remote), uplink: 0, through: client) == .sent)
        }
    }

    @Test func anUnknownInterfaceIsAnErrorWithItsName() throws {
        let loop = try EventLoop()
        #expect { try DatagramSocket(.device("nosuch0", isIPv4: true), loop: loop) } throws: {
            "\($0)".contains("nosuch0")
        }
    }

    @Test func whatTheKernelHasNoRoomForFollowsInOrder() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let server = try DatagramSocket(.listen(SocketAddress(loopback, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        // As after EAGAIN: copies wait, and what is sent later may not overtake them.
        for d in 0..<3 {
            let one = batch(2, size: 500 + d, to: server.localAddress)
            let run = one.runs[0]
            let bytes = UnsafePointer((one.arena + run.offset).assumingMemoryBound(to: UInt8.self))
            let kept = client.waiting.append(
                .init(
                    bytes: bytes, length: UInt32(run.length),
                    segment: UInt16(run.segmentSize),
                    has_local: 0, remote: .init(run.remote),
                    local: .init(run.local)))
            #expect(kept)
        }
        _ = exchange.send(batch(1, size: 700, to: server.localAddress), uplink: 0, through: client)
        #expect(client.watch.wantsWrite && client.statistics.datagramsSent == 0)
        client.watch.onWritable(for: client) { client in _ = exchange.sendWaiting(through: client) }
        let got = collect(loop, exchange, server, 7)
        #expect(got.map(\.size) == [500, 500, 501, 501, 502, 502, 700])
        #expect(client.waiting.isEmpty && !client.watch.wantsWrite)
    }

    /// What a socket's owner has not heard of is never more than one message of the kernel's.
    @Test func oneThatIsWatchedTellsOfEachMessage() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let server = try DatagramSocket(.listen(SocketAddress(loopback, port: 0)), loop: loop)
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        var told: [String: [Int]] = ["sent": [0], "received": [0]]
        client.carried = { [unowned client] in told["sent"]!.append(client.statistics.bytesSent) }
        server.carried = { [unowned server] in
            told["received"]!.append(server.statistics.bytesReceived)
        }
        let sent = batch(250, size: 1400, to: server.localAddress)
        #expect(sent.runs.count > 4)
        #expect(exchange.send(sent, uplink: 0, through: client) == .sent)
        #expect(collect(loop, exchange, server, 250).count == 250)
        for (what, totals) in told {
            #expect(totals.last == 250 * 1400, "\(what)")
            let most = zip(totals.dropFirst(), totals).map { $0 - $1 }.max() ?? 0
            #expect(most > 0 && most <= 65_507, "\(what): \(most) bytes at once")
        }
    }

    @Test func theWaitingQueueIsBounded() throws {
        var waiting = WaitingRuns()
        let piece = UnsafeMutablePointer<UInt8>.allocate(capacity: 60_000)
        piece.initialize(repeating: 0, count: 60_000)
        defer { piece.deallocate(); waiting.free() }
        var d = braid_outgoing()
        d.bytes = UnsafePointer(piece)
        d.length = 60_000
        var taken = 0
        while waiting.append(d) { taken += 1 }
        #expect(taken == WaitingRuns.limit / 60_000)
        waiting.removeFirst(taken)
        let again = waiting.append(d)
        #expect(again)
    }
}

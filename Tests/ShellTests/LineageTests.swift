import Buffers
import CDatagram
import Glibc
import Measures
import Testing
import Wire

@testable import Shell

@Suite struct LineageTests {
    private let loopback = IPAddress(v4: 0x7f00_0001)

    // MARK: Which process gets what

    private func record(_ generation: UInt8) -> [UInt8] {
        [0x40, 0, generation << 6 | 5, 0, 1, 0, 0, 1, 0xaa]
    }

    /// How many datagrams wait at each socket; they are taken away.
    private func counts(_ group: ListenGroup) -> [Int] {
        var byte: UInt8 = 0
        return group.descriptors.map { descriptor in
            var n = 0
            while recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) >= 0 { n += 1 }
            return n
        }
    }

    private func send(_ all: [[UInt8]], to address: SocketAddress) {
        let fd = braid_socket_datagram(address.address.isIPv4 ? 1 : 0)
        defer { close(fd) }
        var remote = braid_address(address)
        _ = braid_connect(fd, &remote)
        for bytes in all { _ = Glibc.send(fd, bytes, bytes.count, 0) }
    }

    @Test(arguments: [true, false]) func recordsGoToTheProcessOfTheirSession(isIPv4: Bool) throws {
        let loop = try EventLoop()
        let any: IPAddress = isIPv4 ? loopback : .unspecifiedV6
        let group = try ListenGroup(SocketAddress(any, port: 0), generation: 0, loop: loop)
        let local = group.socket.localAddress
        let port = isIPv4 ? local : SocketAddress(IPAddress(v6High: 0, low: 1), port: local.port)
        #expect(group.isSteered)
        let all =
            (0..<4).map { record($0) } + [[0x10, 0, 0xff, 0, 0, 0, 0, 0, 1], [0x40, 0, 0x40], []]
        send(all, to: port)
        #expect(counts(group) == [7, 0, 0, 0])
        // The next process: what names a session of the first is the first's still.
        #expect(braid_steer(group.descriptors[1], 1, 0b0001) == 0)
        send(all, to: port)
        #expect(counts(group) == [1, 6, 0, 0])
        #expect(braid_steer(group.descriptors[1], 3, 0b0110) == 0)
        send(all, to: port)
        #expect(counts(group) == [0, 1, 1, 5])
        // What waits for somebody who is gone is forgotten, and the rest is one process's again.
        #expect(braid_steer(group.descriptors[1], 3, 0b0110) == 0)
        send(all, to: port)
        group.steer(older: [1])
        #expect(counts(group) == [0, 1, 0, 0])
        send(all, to: port)
        #expect(counts(group) == [6, 1, 0, 0])
    }

    /// A proxy has sessions with two processes over one socket: what it says to them in one turn is
    /// not one message, of which the kernel would look at the beginning alone.
    @Test func aRunForTwoProcessesArrivesAtBoth() throws {
        let loop = try EventLoop(), exchange = DatagramExchange()
        let group = try ListenGroup(SocketAddress(loopback, port: 0), generation: 1, loop: loop)
        group.steer(older: [0])
        let client = try DatagramSocket(.source(loopback, device: nil), loop: loop)
        let batch = DatagramBatch(receiverBits: DatagramHeader.receiverBits)
        for number in 0..<40 {
            let bytes = record(number % 4 == 3 ? 0 : 1)
            let room = try #require(batch.reserve(lane: 0))
            room.copyMemory(from: bytes, byteCount: bytes.count)
            batch.commit(
                lane: 0, length: bytes.count, uplink: 0, remote: group.socket.localAddress,
                local: .unspecifiedV4)
        }
        #expect(exchange.send(batch, uplink: 0, through: client) == .sent)
        #expect(counts(group) == [10, 30, 0, 0])
        // Nor does the receiving kernel make one of several, while there are two.
        #expect(group.descriptors.map(coalesces) == [false, false, false, false])
        group.steer(older: [])
        #expect(group.descriptors.map(coalesces) == [true, true, true, true])
    }

    private func coalesces(_ descriptor: Int32) -> Bool {
        var value: Int32 = 0, size = socklen_t(MemoryLayout<Int32>.size)
        // UDP_GRO of linux/udp.h
        getsockopt(descriptor, Int32(IPPROTO_UDP), 104, &value, &size)
        return value != 0
    }

    @Test func aSecondProgramAtThePortIsRefused() throws {
        let loop = try EventLoop()
        let group = try ListenGroup(SocketAddress(loopback, port: 0), generation: 0, loop: loop)
        let error = #expect(throws: SystemError.self) {
            _ = try ListenGroup(group.socket.localAddress, generation: 0, loop: loop)
        }
        #expect(error?.code == EADDRINUSE)
    }

    // MARK: A capture

    @Test func whatStaysWithOlderProcessesIsSaidAndRead() throws {
        let clients = ["10.0.0.2:5000", "[fd00::2]:6000"].compactMap { SocketAddress($0) }
        let all = [
            CapturedElsewhere(generation: 1, port4: 40_000, port6: nil, clients: clients),
            CapturedElsewhere(generation: 0, port4: 40_001, port6: 40_002, clients: [])
        ]
        let words = CaptureOffer(claim: 7, elsewhere: all).words
        #expect(CaptureOffer.elsewhere(words) == all)
        #expect(
            all[0].sets == """
                    set elsewhere4_1 {
                        type ipv4_addr . inet_service
                        elements = { 10.0.0.2 . 5000 }
                    }

                """)
        // Others' words, and more than a variable holds.
        for odd in [
            "", ";;;", "1", "9 1 2", "-1 1 2", "0 1", "0 99999 1", "a b c", "0 1 2 x y 1.2.3.4"
        ] {
            #expect(CaptureOffer.elsewhere(odd).allSatisfy { $0.clients.isEmpty })
        }
        let many = (0..<UInt16(60_000)).map {
            SocketAddress(IPAddress(v6High: 1 << 60, low: 1), port: $0)
        }
        let long = CaptureOffer(
            claim: 7,
            elsewhere: [CapturedElsewhere(generation: 2, port4: 1, port6: 2, clients: many)] + all
        ).words
        #expect(long.utf8.count < 110_000)
        #expect(CaptureOffer.elsewhere(long).map(\.generation) == [2, 1, 0])
    }

    // MARK: Who lives

    private func relatives(_ place: Lineage.Place) -> Lineage.Place {
        Lineage.Place(
            generation: place.generation,
            older: place.older.map { ($0.generation, dup($0.lifeline)) })
    }

    /// The process that follows `lineage`.
    private func follow(_ lineage: Lineage, _ loop: EventLoop) throws -> Lineage {
        let next = Lineage(loop: loop, relatives(try #require(lineage.next)))
        lineage.followed()
        return next
    }

    @Test func thereAreThreeAndTheOldestIsTold() throws {
        let loop = try EventLoop()
        var all = [Lineage(loop: loop, nil)], told: [Int] = []
        for _ in 0..<3 {
            all.append(try follow(all.last!, loop))
            let number = all.count - 2
            all[number].onWord = { if $0 == .end { told.append(number) } }
            all.last?.endTooOld()
        }
        #expect(all.map(\.generation) == [0, 1, 2, 3])
        #expect(all[3].olderGenerations == [0, 1, 2])
        // No number is left for a fifth, until one has ended.
        #expect(all[3].next == nil)
        #expect(loop.run(until: .seconds(2)) { told == [0] })
        var ended = 0
        all[3].onOlderEnded = { ended += 1 }
        all[0] = all[3]
        #expect(loop.run(until: .seconds(2)) { ended == 1 })
        #expect(all[3].next?.generation == 0 && all[3].olderGenerations == [1, 2])
    }

    @Test func whoIsLeftAloneHearsOfIt() throws {
        let loop = try EventLoop()
        let first = Lineage(loop: loop, nil)
        var second: Lineage? = try follow(first, loop)
        var third: Lineage? = try follow(try #require(second), loop)
        var alone: [Int] = []
        first.onAlone = { alone.append(1) }
        second?.onAlone = { alone.append(2) }
        #expect(third?.generation == 2)
        third = nil
        #expect(loop.run(until: .seconds(2)) { alone == [2] })
        second?.renew()
        // It may be followed again.
        third = try follow(try #require(second), loop)
        #expect(third?.olderGenerations == [0, 1])
        second = nil
        #expect(!loop.run(until: .milliseconds(100)) { alone.count > 1 })
        third = nil
        #expect(loop.run(until: .seconds(2)) { alone == [2, 1] })
    }

    @Test func whereTheServiceEndsInOrderNobodyTakesItBack() throws {
        let loop = try EventLoop()
        let first = Lineage(loop: loop, nil)
        var second: Lineage? = try follow(first, loop)
        var words: [Lineage.Word] = [], alone = false
        first.onWord = { words.append($0) }
        first.onAlone = { alone = true }
        second?.tellOlder(.reload)
        second?.tellOlder(.stop)
        #expect(loop.run(until: .seconds(2)) { words == [.reload, .stop] })
        second = nil
        #expect(!loop.run(until: .milliseconds(100)) { alone })
    }
}

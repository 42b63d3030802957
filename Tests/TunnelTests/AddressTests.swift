import Buffers
import Measures
import Testing

@testable import Multipath
@testable import Tunnel
@testable import Wire

/// NAT rebinding, and those who would pass for one.
@Suite struct AddressTests {
    static let stranger = SocketAddress(IPAddress(v4: 0xc633_6463), port: 666)  // 198.51.100.99

    private func download(_ seed: UInt64, uplinks: Int = 1) -> (World, Client) {
        let world = World(seed: seed, uplinks: uplinks)
        world.run(.seconds(1))
        let client = world.open(port: 60_000)
        world.run(.seconds(2))
        return (world, client)
    }

    /// Everything the concentrator says to addresses that are no uplink's.
    private func astray(_ world: World) -> (() -> (bytes: Int, longest: Int)) {
        let box = Box()
        world.strayed = { address, bytes in
            if address == Self.stranger {
                box.bytes += bytes.count; box.longest = max(box.longest, bytes.count)
            }
        }
        return { (box.bytes, box.longest) }
    }
    private final class Box { var bytes = 0, longest = 0 }

    @Test func trafficMovesWhenTheNewAddressHasAnswered() {
        let (world, client) = download(21)
        let rate = world.concentrator.sessions[0]!.paths[0]!
        #expect(rate.validation.isValidated)
        let stream = world.servers[0].stream
        let before = stream.connection.subflow(0)!
        let window = before.congestionWindow
        client.longestGap = .zero
        world.externalPort[0] = 6000
        world.run(.milliseconds(300))
        // The acknowledgement that shows the new port, the question, its answer, data: two round
        // trips.
        #expect(client.longestGap < .milliseconds(75), "\(client.longestGap.milliseconds) ms")
        #expect(world.concentrator.sessions[0]!.paths[0]!.remote == world.external(0))
        #expect(before.congestionWindow > window / 2)
        #expect(world.log.filter { $0.contains("suspect") }.isEmpty)
        #expect(
            world.log.filter { $0.contains("moved") } == [
                "C 0 path 0 moved to \(world.external(0))"
            ])
    }

    @Test func anUploadGoesOnMeanwhile() {
        let world = World(seed: 22, uplinks: 1)
        world.run(.seconds(1))
        world.open(port: 2, sending: 30_000_000)
        world.run(.seconds(2))
        let server = world.servers[0]
        server.longestGap = .zero
        world.externalPort[0] = 6000
        world.run(.milliseconds(500))
        #expect(server.longestGap < .milliseconds(45), "\(server.longestGap.milliseconds) ms")
    }

    @Test func aRacingCopierMovesNothing() {
        let (world, client) = download(23)
        let spoken = astray(world)
        var copied = 0
        // Each of the proxy's datagrams arrives from elsewhere first; the original is the replay.
        world.filter = { [unowned world] toProxy, _, bytes in
            if !toProxy {
                world.inject(bytes, toProxy: false, uplink: 0, from: Self.stranger)
                copied += bytes.count
            }
            return true
        }
        let before = client.received
        world.run(.seconds(1))
        #expect(client.received - before > 1_500_000)
        #expect(world.concentrator.sessions[0]!.paths[0]!.remote == world.external(0))
        let (bytes, longest) = spoken()
        #expect(copied > 0 && bytes <= 3 * copied && longest < 700)
        world.filter = nil
        world.run(.milliseconds(100))
        #expect(world.concentrator.sessions[0]!.paths[0]!.validation.check == nil)
    }

    @Test func aCopyOfTheFirstRecordsDrawsNoFlood() {
        let world = World(seed: 24, uplinks: 1)
        let spoken = astray(world)
        var copied = 0
        world.filter = { [unowned world] toProxy, _, bytes in
            if !toProxy {
                world.inject(bytes, toProxy: false, uplink: 0, from: Self.stranger)
                copied += bytes.count
            }
            return true
        }
        world.open(port: 2000)
        world.run(.seconds(2))
        #expect(spoken().bytes <= 3 * copied)
    }

    /// Three times what came from an address is one thing, a thousand addresses another: all of a
    /// session's that have not shown that they receive share a total.
    @Test func unvalidatedAddressesShareATotal() throws {
        let world = World(seed: 28, uplinks: 1)
        world.run(.seconds(1))
        let session = try #require(world.concentrator.sessions[0])
        let path = try #require(session.paths[0])
        let batch = DatagramBatch()
        let datagram = UnsafeMutableRawPointer.allocate(byteCount: 1400, alignment: 8)
        defer { datagram.deallocate() }
        func flood(at now: Instant) -> Int {
            var sent = 0
            for number in 0..<2000 {
                let address = PathAddress(
                    remote: SocketAddress(Self.stranger.address, port: UInt16(number)),
                    local: path.address.local, uplink: 0)
                path.validation.restart()
                _ = path.validation.arrived(
                    1400, from: address, isNewest: true, current: path.address, wait: .zero, at: now
                ) { AddressCheck(address: address, nonce: -1) }
                for _ in 0..<3 { session.commitUnvalidated(datagram, 1400, path, batch, at: now) }
                #expect(path.validation.check!.sent <= 3 * 1400)
                sent += path.validation.check!.sent
                batch.removeAll()
            }
            return sent
        }
        let burst = Int(Limits.unvalidatedBurst), rate = Int(Limits.unvalidatedRate)
        let first = flood(at: world.now)
        #expect(first <= burst && first > burst / 2, "\(first) bytes")
        #expect(flood(at: world.now) == 0)
        let second = flood(at: world.now + .seconds(2))
        #expect(second <= 2 * rate + 1400 && second > rate, "\(second) bytes")
    }

    @Test func aProxySticksToWhatItDialled() {
        let (world, client) = download(25)
        var astray = 0
        world.filter = { [unowned world] toProxy, uplink, bytes in
            // What the concentrator says comes from elsewhere, before the original.
            if toProxy { world.inject(bytes, toProxy: true, uplink: uplink, from: Self.stranger) }
            return true
        }
        world.strayed = { address, _ in if address != World.far { astray += 1 } }
        let before = client.received
        world.run(.seconds(1))
        #expect(client.received > before + 1_000_000)
        #expect(astray == 0)
        #expect(world.proxy.currentSession!.paths[0]!.remote == World.far)
    }

    @Test func theFirstRecordValidatesWhereTheWelcomeWent() {
        let world = World(seed: 26, uplinks: 1)
        world.open(port: 100)
        var first: Instant?
        world.filter = { [unowned world] toProxy, _, bytes in
            if !toProxy, bytes[0] >> 4 == 4, first == nil { first = world.now }
            return true
        }
        world.run(.seconds(1)) { first != nil }
        world.run(.milliseconds(17))
        #expect(world.concentrator.sessions[0]!.paths[0]!.validation.isValidated)
    }

    @Test func lostQuestionsAreAskedAgain() {
        for seed in 30..<50 as Range<UInt64> {
            let (world, _) = download(seed)
            world.up[0].loss = 0.3
            world.down[0].loss = 0.3
            world.externalPort[0] = 6000
            #expect(
                world.run(.seconds(20)) {
                    world.concentrator.sessions[0]!.paths[0]!.remote == world.external(0)
                }, "seed \(seed)")
        }
    }
}

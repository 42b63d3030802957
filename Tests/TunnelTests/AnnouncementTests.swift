import Measures
import Multipath
import Testing

@testable import Tunnel
@testable import Wire

/// The concentrator's further addresses, and pairs of uplink and address that don't reach each
/// other.
@Suite struct AnnouncementTests {
    private func usable(_ world: World) -> [String] {
        world.proxy.report(at: world.now).sessions[0].paths.filter { $0.health == .usable }
            .map { "\($0.uplink) \($0.remote)" }.sorted()
    }

    @Test func framesComeBack() {
        for address in [World.also, World.six] {
            let frame = AddressStateFrame(
                id: 3, generation: 0xfffe, isThere: true, address: address)
            var bytes = [UInt8](repeating: 0, count: frame.size)
            bytes.withUnsafeMutableBytes { frame.write(into: $0.baseAddress!) }
            bytes.withUnsafeBytes { #expect(AddressStateFrame.read($0) == frame) }
            bytes.dropLast().withUnsafeBytes { #expect(AddressStateFrame.read($0) == nil) }
        }
    }

    @Test func everyUplinkOfTheFamilyJoins() {
        let world = World(seed: 1, addUplinks: false)
        world.concentrator.setAnnounced([World.also, World.six], at: world.now)
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.run(.milliseconds(200))
        world.proxy.addUplink(Uplink(number: 1, name: "up1", isIPv4: false), at: world.now)
        world.run(.milliseconds(500))
        #expect(
            usable(world) == ["up0 \(World.far)", "up0 \(World.also)", "up1 \(World.six)"].sorted())
        let client = world.open(port: 4000)
        #expect(world.run(.seconds(10)) { client.isDone } && client.wrong == 0)
        #expect(
            (0..<3).allSatisfy {
                client.stream.connection.pathTotals(PathID($0)).received > 100_000
            })
        #expect(world.concentrator.sessions[0]!.addresses.announcing == 0)
    }

    /// Three uplinks to nine addresses are 27 pairs, and a session has 16 paths: the others are
    /// named.
    @Test func pairsWithoutAPathAreNamed() {
        let world = World(seed: 2, uplinks: 3)
        world.concentrator.setAnnounced(
            (0..<8).map { SocketAddress(IPAddress(v4: 0xcb00_7110 + UInt32($0)), port: 443) },
            at: world.now)
        world.run(.seconds(1))
        let paths = world.proxy.report(at: world.now).sessions[0].paths.count
        let leftOut = Set(world.log.filter { $0.hasPrefix("P left out ") })
        #expect(paths == 16 && leftOut.count == 11, "\(paths), \(leftOut)")
    }

    @Test func announcementsSurviveLossAndAreTakenBack() {
        for seed in 10..<40 as Range<UInt64> {
            let world = World(seed: seed)
            world.run(.seconds(1))
            for i in 0..<2 {
                world.up[i].loss = 0.5; world.down[i].loss = 0.5
                world.down[i].duplication = 0.3; world.down[i].jitter = .milliseconds(60)
            }
            for n in 0..<7 {
                world.concentrator.setAnnounced(n % 2 == 0 ? [World.also] : [], at: world.now)
                world.run(.milliseconds(Int64(world.random.next() % 200)))
            }
            for i in 0..<2 { world.up[i].loss = 0; world.down[i].loss = 0 }
            world.run(.seconds(12))
            #expect(world.concentrator.sessions[0]!.addresses.announcing == 0, "seed \(seed)")
            #expect(usable(world).count == 4, "seed \(seed): \(usable(world))")
            world.concentrator.setAnnounced([], at: world.now)
            world.run(.milliseconds(200))
            #expect(usable(world) == ["up0 \(World.far)", "up1 \(World.far)"], "seed \(seed)")
        }
    }

    @Test(arguments: HandoverMode.allCases) func noFurtherPathToTheFirstAddress(mode: HandoverMode)
    {
        let world = World(seed: 2, mode: mode, joinsFirst: false)
        world.concentrator.setAnnounced([World.also], at: world.now)
        // Only the session's own path ever speaks to it: a server behind a load balancer.
        var pathsAtFirst: Set<UInt8> = []
        let client = world.open(port: 30_000)
        world.run(.seconds(1))
        for path in world.concentrator.sessions[0]!.paths.compactMap({ $0 })
        where path.address.local == World.far.address
            && path.monitor.lastArrival > .zero
        {
            pathsAtFirst.insert(path.id.octet)
        }
        #expect(pathsAtFirst.count == 1)
        world.run(.seconds(4))
        #expect(
            usable(world)
                == (mode == .single
                    ? ["up0 \(World.also)"] : ["up0 \(World.also)", "up1 \(World.also)"]))
        #expect(world.run(.seconds(30)) { client.isDone } && client.wrong == 0)
        // The first uplink goes and comes back: it joins what was announced.
        world.proxy.removeUplink(0, at: world.now)
        world.run(.seconds(1))
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.run(.seconds(4))
        #expect(
            usable(world).contains("up0 \(World.also)")
                && !usable(world).contains("up0 \(World.far)"))
    }

    @Test func theFirstPathStaysUntilAnotherWorks() {
        let world = World(seed: 3, uplinks: 1, joinsFirst: false)
        world.concentrator.setAnnounced([World.also], at: world.now)
        world.blocks = { _, server in server == World.also }
        let client = world.open(port: 60_000)
        world.run(.seconds(5))
        #expect(usable(world) == ["up0 \(World.far)"] && client.received > 1_000_000)
        world.blocks = nil
        world.run(.seconds(40))
        #expect(usable(world) == ["up0 \(World.also)"])
        #expect(client.wrong == 0 && !client.failed)
    }

    @Test func aPairThatNeverAnswersIsAskedRarely() {
        let world = World(seed: 4)
        world.concentrator.setAnnounced([World.also], at: world.now)
        world.blocks = { uplink, server in uplink == 1 && server == World.also }
        // a long transfer, few segments, with room for more than three in the queue
        for i in 0..<2 {
            world.down[i].rate = Rate(bytesPerSecond: 20_000)
            world.down[i].queue = .seconds(2)
        }
        world.run(.seconds(1))
        world.open(port: 60_000)
        world.run(.seconds(60))
        let cross = world.proxy.currentSession!.paths.compactMap { $0 }
            .first { $0.uplink == 1 && $0.remote == World.also }!
        let report = world.proxy.report(at: world.now).sessions[0].paths[cross.id.number]
        #expect(report.isFutile)
        let before = cross.monitor.probe.count
        world.run(.seconds(60))
        #expect(cross.monitor.probe.count - before <= 3)
        // The uplink's other path falls silent: now it matters again, and it works.
        world.blocks = { uplink, server in uplink == 1 && server == World.far }
        world.run(.seconds(3))
        #expect(usable(world).contains("up1 \(World.also)"))
    }

    @Test func aReturnedPathIsUsedSoon() {
        let world = World(seed: 5)
        world.run(.seconds(1))
        world.open(port: 60_000)
        world.run(.seconds(1))
        world.up[0].isOut = true; world.down[0].isOut = true
        world.run(.seconds(20))
        world.up[0].isOut = false; world.down[0].isOut = false
        #expect(
            world.run(.milliseconds(400)) {
                world.proxy.currentSession!.paths[0]!.health == .usable
            })
    }

    @Test func helloesReachAnnouncedAddresses() {
        let world = World(seed: 6, uplinks: 1)
        world.concentrator.setAnnounced([World.also], at: world.now)
        world.run(.seconds(1))
        world.blocks = { _, server in server == World.far }
        let client = world.open(port: 2000)
        #expect(world.run(.seconds(10)) { client.isDone })
        #expect(world.log.filter { $0.hasPrefix("P opened") }.count == 1)
    }
}

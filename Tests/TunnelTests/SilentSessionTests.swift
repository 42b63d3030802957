import Measures
import Multipath
import Testing

@testable import Tunnel

/// The concentrator's address changes without a goodbye (DDNS): silence is noticed, somebody looks
/// its name up again, and everything goes on.
@Suite struct SilentSessionTests {
    @Test(arguments: [HandoverMode.full, .backup, .single], [false, true])
    func theConcentratorMoves(mode: HandoverMode, isAnotherProcess: Bool) {
        let world = World(seed: 71, mode: mode)
        world.run(.seconds(1))
        let client = world.open(port: 60_000)
        world.run(.seconds(2))
        #expect(client.received > 1_000_000 && !world.log.contains { $0.contains("silent") })
        world.blocks = { _, server in server == World.far }
        if isAnotherProcess { world.restartConcentrator() }
        let moved = world.now
        #expect(world.run(.seconds(10)) { world.log.contains { $0.hasPrefix("P silent 0") } })
        #expect(world.now - moved < .seconds(4), "silent after \(world.now - moved)")
        // A look-up takes its time.
        world.run(.milliseconds(300))
        world.proxy.setConcentrator([World.also], at: world.now)
        let request = world.open(port: 100)
        #expect(world.run(.seconds(3)) { request.isDone }, "a request after the DNS change")
        guard !isAnotherProcess else { return }
        let before = client.received
        world.run(.seconds(2))
        #expect(client.received > before + 500_000, "the download goes on")
        #expect(!world.log.contains { $0.contains("closed") })
    }

    /// One that was found nowhere for long is asked at once where its name leads now.
    @Test func theTimeoutEndsWithANewAddress() {
        let world = World(seed: 72, uplinks: 1)
        world.blocks = { _, server in server == World.far }
        world.open(port: 100)
        world.run(.seconds(200))
        world.proxy.setConcentrator([World.also], at: world.now)
        #expect(world.run(.milliseconds(300)) { world.proxy.currentSession != nil })
    }

    /// The only path carries no full datagrams any more, but is heard: no other may be joined to
    /// it, but another uplink would do.
    @Test func anotherUplinkIsAskedWhereTheOnlyPathIsTooNarrow() throws {
        let world = World(seed: 73, joinsFirst: false)
        let client = world.open(port: 60_000)
        world.run(.seconds(2))
        #expect(client.received > 1_000_000)
        let paths = world.proxy.currentSession?.paths.compactMap { $0 } ?? []
        let only = try #require(paths.first), uplink = only.uplink.value
        #expect(paths.count == 1)
        world.filter = { _, i, bytes in i != uplink || bytes.count < 700 }
        world.run(.seconds(9))
        let stood = client.received
        #expect(!world.log.contains { $0.contains("resumed") })
        #expect(world.run(.seconds(8)) { client.received > stood + 1_000_000 })
        #expect(!world.log.contains { $0.contains("closed") })
    }
}

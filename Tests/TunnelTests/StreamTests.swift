import Crypto
import Measures
import Multipath
import Testing

@testable import Tunnel
@testable import Wire

/// Streams through two endpoints: every byte right, whatever happens to the paths.
@Suite struct StreamTests {
    private func expectClean(_ client: Client, received: Int, _ note: String = "") {
        #expect(client.status == .connected, "\(note)")
        #expect(
            client.wrong == 0 && client.received == received,
            "\(note): \(client.received) of \(received), \(client.wrong) wrong")
        #expect(client.stream.error == nil, "\(note)")
    }

    @Test func echo() {
        let world = World(seed: 1)
        let client = world.open(port: 1, sending: 300_000)
        #expect(world.run(.seconds(20)) { client.isDone })
        expectClean(client, received: 300_000)
        #expect(world.servers.map(\.target) == [Target(host: .name("example.org"), port: 1)])
        world.run(.seconds(90))
        #expect(world.proxy.report(at: world.now).connections == 0)
        #expect(world.concentrator.report(at: world.now).connections == 0)
    }

    @Test func theFirstByteTakesOneRoundTrip() {
        let world = World(seed: 2, uplinks: 1)
        world.run(.seconds(1))
        let start = world.now
        let client = world.open(port: 10)
        #expect(world.run(.seconds(1)) { client.received > 0 })
        #expect(world.now - start < .milliseconds(33), "\((world.now - start).milliseconds)")
    }

    @Test func bothPathsCarryADownload() {
        let world = World(seed: 3)
        for i in 0..<2 {
            world.down[i].rate = .megabitsPerSecond(8)
            world.up[i].rate = .megabitsPerSecond(8)
        }
        world.run(.seconds(1))
        let start = world.now
        let client = world.open(port: 8000)
        #expect(world.run(.seconds(30)) { client.isDone })
        expectClean(client, received: 8_000_000)
        #expect(world.down[0].carried > 2_000_000 && world.down[1].carried > 2_000_000)
        let took = (world.now - start).seconds
        #expect(took < 8_000_000 / (2_000_000 * 0.85), "\(took) s")
    }

    /// The proxy's word is enough: the concentrator copies what it sends, too.
    @Test func aRedundantStreamGoesOnBothPathsBothWays() {
        let world = World(seed: 4)
        for i in 0..<2 {
            world.down[i].rate = .megabitsPerSecond(8)
            world.up[i].rate = .megabitsPerSecond(8)
        }
        world.run(.seconds(1))
        let before = (0..<2).map { (world.up[$0].carried, world.down[$0].carried) }
        let client = world.open(port: 1, sending: 500_000, isRedundant: true)
        #expect(world.run(.seconds(30)) { client.isDone })
        expectClean(client, received: 500_000)
        for i in 0..<2 {
            #expect(world.up[i].carried - before[i].0 > 400_000, "up \(i)")
            #expect(world.down[i].carried - before[i].1 > 400_000, "down \(i)")
        }
    }

    @Test func lossReorderingAndDuplication() {
        for seed in 20..<26 as Range<UInt64> {
            let world = World(seed: seed)
            for i in 0..<2 {
                world.up[i].loss = 0.03; world.down[i].loss = 0.03
                world.down[i].duplication = 0.02; world.down[i].jitter = .milliseconds(8)
                world.up[i].duplication = 0.02; world.up[i].jitter = .milliseconds(8)
            }
            let client = world.open(port: 1, sending: 500_000)
            #expect(world.run(.seconds(120)) { client.isDone }, "seed \(seed)")
            expectClean(client, received: 500_000, "seed \(seed)")
        }
    }

    private func handover(_ mode: HandoverMode, silent: Bool, upload: Bool, seed: UInt64) {
        let world = World(seed: seed, mode: mode, backup: 1)
        for i in 0..<2 {
            let rate = Rate.megabitsPerSecond(i == 0 ? 8 : 4),
                delay = Interval.milliseconds(i == 0 ? 15 : 50)
            world.up[i].rate = rate; world.down[i].rate = rate
            world.up[i].delay = delay; world.down[i].delay = delay
            world.up[i].queue = .seconds(1); world.down[i].queue = .seconds(1)
        }
        world.run(.seconds(1))
        let client = world.open(port: upload ? 1 : 4000, sending: upload ? 3_000_000 : 0)
        let received = upload ? 3_000_000 : 4_000_000
        world.run(.seconds(2))
        let peer: Peer = upload ? world.servers[0] : client
        #expect(peer.received > 500_000, "\(mode) \(peer.received)")
        peer.longestGap = .zero
        world.up[0].isOut = true
        world.down[0].isOut = true
        if !silent { world.proxy.removeUplink(0, at: world.now) }
        world.run(.milliseconds(700)) { client.isDone }
        let gap = peer.longestGap
        #expect(
            world.run(.seconds(60)) { client.isDone },
            "\(mode) silent \(silent) upload \(upload): \(client.received)")
        expectClean(client, received: received, "\(mode) silent \(silent) upload \(upload)")
        print("handover \(mode) silent \(silent) upload \(upload): gap \(gap.milliseconds) ms")
        #expect(
            gap < .milliseconds(silent ? 500 : 300),
            "\(mode) silent \(silent) upload \(upload): \(gap.milliseconds) ms")
    }

    @Test(arguments: HandoverMode.allCases, [false, true])
    func handovers(_ mode: HandoverMode, _ silent: Bool) {
        handover(mode, silent: silent, upload: false, seed: 40)
        handover(mode, silent: silent, upload: true, seed: 41)
    }

    @Test func aReturnedUplinkIsUsedAgain() {
        let world = World(seed: 50)
        for i in 0..<2 {
            world.down[i].rate = .megabitsPerSecond(8)
            world.up[i].rate = .megabitsPerSecond(8)
        }
        world.run(.seconds(1))
        let client = world.open(port: 12_000)
        world.run(.seconds(2))
        world.proxy.removeUplink(0, at: world.now)
        world.run(.seconds(1))
        let before = world.down[0].carried
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.run(.seconds(1))
        #expect(world.down[0].carried - before > 500_000)
        world.down[0].isOut = true
        world.up[0].isOut = true
        world.run(.seconds(2))
        let silent = world.down[0].carried
        world.down[0].isOut = false
        world.up[0].isOut = false
        world.run(.milliseconds(1500))
        #expect(world.down[0].carried - silent > 500_000)
        #expect(world.run(.seconds(30)) { client.isDone })
        expectClean(client, received: 12_000_000)
    }

    @Test func singleModeLetsTheOtherUplinkSleep() {
        let world = World(seed: 51, mode: .single, backup: 1)
        var onBackup = 0
        world.filter = { _, uplink, _ in
            if uplink == 1 { onBackup += 1 }; return true
        }
        let client = world.open(port: 2000)
        #expect(world.run(.seconds(30)) { client.isDone })
        world.run(.seconds(60))
        #expect(onBackup == 0)
    }

    @Test func backupModeKeepsThePathFree() {
        let world = World(seed: 52, mode: .backup, backup: 1)
        let client = world.open(port: 2000)
        #expect(world.run(.seconds(30)) { client.isDone })
        #expect(world.down[1].carried < 20_000)
    }

    @Test func anOutageOfAllUplinksIsSurvived() {
        let world = World(seed: 53)
        let client = world.open(port: 20_000)
        world.run(.seconds(1))
        for i in 0..<2 { world.up[i].isOut = true; world.down[i].isOut = true }
        world.run(.seconds(60))
        world.up[1].isOut = false
        world.down[1].isOut = false
        let back = world.now
        #expect(world.run(.seconds(5)) { client.lastProgress > back })
        print("after an outage of 60 s data after \((world.now - back).milliseconds) ms")
        #expect(world.run(.seconds(60)) { client.isDone })
        expectClean(client, received: 20_000_000)
        #expect(world.log.filter { $0.contains("opened") }.count == 2)
    }

    @Test func aRestartedConcentratorGetsANewSession() {
        let world = World(seed: 54)
        let old = world.open(port: 50_000)
        world.run(.seconds(1))
        world.restartConcentrator()
        #expect(world.run(.seconds(10)) { old.failed })
        let fresh = world.open(port: 100)
        #expect(world.run(.seconds(10)) { fresh.isDone })
        expectClean(fresh, received: 100_000)
    }

    @Test(arguments: [5, 60]) func aRestartBehindAnIdleProxyCostsNoRequest(idle: Int64) {
        let world = World(seed: 60)
        let first = world.open(port: 100)
        #expect(world.run(.seconds(5)) { first.isDone })
        world.run(.seconds(idle))
        world.restartConcentrator()
        world.run(.seconds(idle))
        let asked = world.now
        let next = world.open(port: 100)
        #expect(world.run(.seconds(10)) { next.isDone })
        expectClean(next, received: 100_000)
        #expect(world.now - asked < .seconds(6))
    }

    /// Only handshakes reach the proxy: the concentrator has dialled, and must not be asked to do
    /// so again.
    @Test func aFreshSessionRepeatsNoRequestThatMayHaveBeenDialled() {
        let world = World(seed: 61)
        #expect(world.run(.seconds(1)) { world.proxy.currentSession != nil })
        world.filter = { toProxy, _, bytes in
            !toProxy || bytes[0] >> 4 != DatagramHeader.Kind.record.rawValue
        }
        let client = world.open(port: 2, sending: 500)
        #expect(world.run(.seconds(30)) { world.log.filter { $0.contains("P opened") }.count == 2 })
        world.filter = nil
        #expect(world.run(.seconds(10)) { client.failed })
        world.run(.seconds(5))
        #expect(world.servers.count == 1, "dialled \(world.servers.count) times")
    }

    /// A SYN repeated and held up for minutes, when the concentrator has long forgotten the subflow
    /// it opened.
    @Test func aLateSYNOpensNothingTwice() {
        let world = World(seed: 62)
        #expect(world.run(.seconds(1)) { world.proxy.currentSession != nil })
        world.filter = { toProxy, _, _ in !toProxy }
        _ = world.open(port: 2, sending: 500)
        #expect(world.run(.seconds(1)) { world.servers.count == 1 })
        for i in world.up.indices { world.up[i].delay = .seconds(160) }
        world.run(.seconds(290))
        #expect(world.servers.count == 1, "dialled \(world.servers.count) times")
    }

    /// Nothing came for longer than a SYN is repeated: the application is told, whatever becomes of
    /// the session.
    @Test func whatWasNeverAnsweredIsGivenUp() {
        let world = World(seed: 63)
        #expect(world.run(.seconds(1)) { world.proxy.currentSession != nil })
        world.filter = { _, _, _ in false }
        let client = world.open(port: 2, sending: 500)
        #expect(world.run(.seconds(125)) { client.failed })
        #expect(client.status == .generalFailure)
        world.filter = nil
        let next = world.open(port: 100)
        #expect(world.run(.seconds(20)) { next.isDone })
    }

    @Test func keysChangeUnderTraffic() {
        let world = World(seed: 55, keyLifetime: .milliseconds(300))
        for i in 0..<2 {
            world.down[i].loss = 0.01
            world.up[i].loss = 0.01
            world.down[i].rate = .megabitsPerSecond(10)
        }
        let client = world.open(port: 10_000)
        #expect(world.run(.seconds(60)) { client.isDone })
        expectClean(client, received: 10_000_000)
        #expect(world.proxy.currentSession!.keys.current.epoch > 5)
        #expect(
            world.concentrator.host.counters.notAuthentic == 0
                && world.proxy.host.counters.notAuthentic == 0)
    }

    @Test func manyConnectionsAtOnce() {
        let world = World(seed: 56)
        let clients = (0..<200).map { i in
            world.open(port: i % 2 == 0 ? 1 : 20, sending: i % 2 == 0 ? 5000 : 0)
        }
        #expect(world.run(.seconds(60)) { clients.allSatisfy { $0.isDone } })
        for (i, client) in clients.enumerated() {
            expectClean(client, received: i % 2 == 0 ? 5000 : 20_000)
        }
        world.run(.seconds(90))
        #expect(world.proxy.report(at: world.now).connections == 0)
        #expect(world.concentrator.report(at: world.now).connections == 0)
        #expect(world.proxy.currentSession?.numbers.used == 0)
        #expect(world.concentrator.sessions[0]?.numbers.used == 0)
        #expect(world.concentrator.sessions[0]?.directory.tokens.isEmpty == true)
    }

    @Test func aFailedDialIsTold() {
        let world = World(seed: 57)
        let client = world.open(
            port: 9, target: Target(host: .address(IPAddress(v4: 0x0808_0808)), port: 9))
        #expect(world.run(.seconds(5)) { client.isDone })
        #expect(client.status == .connectionRefused)
        #expect(client.received == 0)
    }

    @Test func streamsWaitForTheSession() {
        let world = World(seed: 58, addUplinks: false)
        let client = world.open(port: 10)
        world.run(.seconds(5))
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        #expect(world.run(.seconds(1)) { client.isDone })
        expectClean(client, received: 10_000)
    }

    @Test func shutDownEndsThePeersStreams() {
        let world = World(seed: 59)
        let client = world.open(port: 50_000)
        world.run(.seconds(1))
        world.proxy.shutDown(at: world.now)
        world.run(.milliseconds(100))
        #expect(client.failed)
        #expect(world.servers.allSatisfy { $0.failed })
        #expect(world.concentrator.report(at: world.now).connections == 0)
    }

    /// Streams know their endpoint's tables, which know the streams.
    @Test func anEndpointThatIsGoneLeavesNothing() {
        weak var host: SessionHost?
        weak var session: Session?
        weak var stream: StreamHandle?
        do {
            let world = World(seed: 1)
            for _ in 0..<3 { world.open(port: 1, sending: 50_000_000) }
            world.run(.seconds(2)) { (world.servers.first?.received ?? 0) > 100_000 }
            host = world.concentrator.host
            session = world.concentrator.sessions.first ?? nil
            stream = world.servers.first?.stream
            #expect(host != nil && session != nil && stream != nil)
        }
        #expect(host == nil && session == nil && stream == nil)
    }
}

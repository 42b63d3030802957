import Measures
import Multipath
import Testing

@testable import Tunnel

/// Which paths are open in which mode, and what is sent on the others: nothing.
@Suite struct ModeTests {
    /// Datagrams either end sends by uplink 1 during `body`.
    private func onSecond(_ world: World, _ body: () -> Void) -> Int {
        let box = Box()
        world.filter = { _, uplink, _ in
            if uplink == 1 { box.count += 1 }
            return true
        }
        body()
        world.filter = nil
        return box.count
    }
    private final class Box { var count = 0 }

    @Test(arguments: [nil, 1]) func singleModeIsSilentWhileIdle(backup: Int?) {
        let world = World(seed: 1, mode: .single, backup: backup)
        #expect(onSecond(world) { world.run(.seconds(90)) } == 0)
        #expect(world.proxy.report(at: world.now).sessions.count == 1)
    }

    @Test func aLostHelloWakesNobody() {
        let world = World(seed: 2, mode: .single)
        var dropped = false
        var count = 0
        world.filter = { _, uplink, _ in
            if uplink == 1 { count += 1 }
            defer { dropped = true }
            return dropped
        }
        world.run(.seconds(5))
        #expect(count == 0 && world.proxy.currentSession != nil)
    }

    @Test func singleModeIsSilentDuringADownload() {
        let world = World(seed: 3, mode: .single)
        let sent = onSecond(world) {
            world.run(.seconds(1))
            world.open(port: 8000)
            world.open(port: 2, sending: 3_000_000)
            world.run(.seconds(20)) { world.clients.allSatisfy(\.isDone) }
        }
        #expect(world.clients.allSatisfy { $0.isDone && $0.wrong == 0 })
        #expect(sent == 0)
        // And after a pause long enough for a new handshake.
        #expect(
            onSecond(world) {
                world.run(.seconds(50))
                world.open(port: 100)
                world.run(.seconds(5))
            } == 0)
    }

    /// An uplink's role changes while a download runs: the other end stops using it, and begins
    /// again.
    @Test func anUplinkBecomesABackupWhileConnectionsLive() {
        let world = World(seed: 31, mode: .backup)
        world.run(.seconds(1))
        world.open(port: 30_000)
        world.run(.seconds(1))
        world.proxy.setUplinkRole(1, isBackup: true, at: world.now)
        world.run(.milliseconds(500))
        let before = world.down[1].carried
        world.run(.seconds(1))
        #expect(world.down[1].carried - before < 5_000, "a backup uplink carries data")
        world.proxy.setUplinkRole(1, isBackup: false, at: world.now)
        world.run(.milliseconds(500))
        let after = world.down[1].carried
        world.run(.seconds(1))
        #expect(world.down[1].carried - after > 500_000, "a regular uplink rests")
        world.run(.seconds(60)) { world.clients.allSatisfy(\.isDone) }
        #expect(world.clients.allSatisfy { $0.isDone && $0.wrong == 0 })
    }

    @Test func singleModeGoesToTheUplinkThatIsRegularNow() {
        let world = World(seed: 32, mode: .single)
        world.run(.seconds(1))
        world.open(port: 30_000)
        world.run(.seconds(1))
        world.proxy.setUplinkRole(0, isBackup: true, at: world.now)
        world.run(.seconds(2))
        let before = (world.down[0].carried, world.down[1].carried)
        world.run(.seconds(1))
        #expect(
            world.down[0].carried - before.0 < 5_000 && world.down[1].carried - before.1 > 500_000)
        world.run(.seconds(60)) { world.clients.allSatisfy(\.isDone) }
        #expect(world.clients.allSatisfy { $0.isDone && $0.wrong == 0 })
    }

    @Test(arguments: [HandoverMode.full, .backup]) func goingToSingleModeEndsTheOthers(
        from mode: HandoverMode
    ) {
        let world = World(seed: 4, mode: mode, backup: mode == .backup ? 1 : nil)
        world.run(.seconds(1))
        let client = world.open(port: 30_000)
        world.run(.seconds(2))
        #expect(client.stream.connection.livingSubflows == 2)
        world.proxy.setMode(.single, at: world.now)
        world.run(.seconds(2))
        #expect(client.stream.connection.livingSubflows == 1)
        #expect(onSecond(world) { world.run(.seconds(4)) } == 0)
        #expect(client.stream.connection.statistics.bytesReinjected == 0, "wound down, not torn")
        world.proxy.setMode(mode, at: world.now)
        world.run(.milliseconds(500))
        #expect(client.stream.connection.livingSubflows == 2)
        #expect(world.run(.seconds(30)) { client.isDone })
        #expect(client.wrong == 0 && client.received == 30_000_000)
    }

    @Test func aReturnedBetterUplinkTakesOver() {
        let world = World(seed: 5, mode: .single)
        world.run(.seconds(1))
        let client = world.open(port: 60_000)
        world.run(.seconds(1))
        world.proxy.removeUplink(0, at: world.now)
        world.run(.seconds(1))
        #expect(client.stream.connection.hasSubflow(path: 1))
        let returned = world.now
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.run(.seconds(2)) { client.stream.connection.isEstablished(path: 0) }
        #expect(world.now - returned < .milliseconds(100))
        world.run(.seconds(3))
        #expect(onSecond(world) { world.run(.seconds(3)) } == 0)
        #expect(client.wrong == 0 && !client.failed)
    }

    /// A download that stalls in the middle, for a little more or less than what raises doubt: the
    /// other uplink opens, carries none of its data, and sleeps again.
    @Test func whatIsOpenedInDoubtCarriesNothing() {
        var inDoubt = 0
        for stall in stride(from: 44 as Int64, through: 60, by: 2) {
            let world = World(seed: 9, mode: .single)
            world.run(.seconds(1))
            let client = world.open(port: 60_000)
            for i in 0..<8 {
                world.up[0].delay = .milliseconds(i % 2 == 0 ? 15 : 27)
                world.run(.milliseconds(1_050))
            }
            world.up[0].delay = .milliseconds(15)
            world.run(.milliseconds(100))
            var doubted = false, suspected = false
            let woken = onSecond(world) {
                world.down[0].delay = .milliseconds(15 + stall)
                world.run(.milliseconds(500)) {
                    let monitor = world.proxy.currentSession!.paths[0]!.monitor
                    doubted = doubted || monitor.doubt.isPresent
                    suspected = suspected || monitor.health == .suspect
                    return false
                }
            }
            #expect(doubted || suspected || woken == 0, "\(stall)")
            if suspected { continue }
            if doubted { inDoubt += 1 }
            #expect(doubted == (woken > 0), "\(stall)")
            #expect(client.stream.connection.pathTotals(1).received == 0, "\(stall)")
            world.run(.seconds(3))
            #expect(client.stream.connection.livingSubflows == 1)
            #expect(onSecond(world) { world.run(.seconds(1)) } == 0, "\(stall)")
            #expect(client.wrong == 0 && client.received > 10_000_000)
        }
        #expect(inDoubt > 0)
    }

    /// One that was joined in doubt, and goes on to be the only one, is as regular as its uplink.
    @Test func whatIsJoinedInDoubtBecomesRegular() {
        let world = World(seed: 10, mode: .single)
        world.run(.seconds(1))
        let client = world.open(port: 60_000)
        world.run(.seconds(6))
        var doubted = false
        world.down[0].isOut = true
        world.up[0].isOut = true
        world.run(.seconds(2)) {
            doubted =
                doubted || world.proxy.currentSession!.paths[0]!.monitor.doubt.isPresent
            return false
        }
        #expect(doubted)
        world.down[0].isOut = false
        world.up[0].isOut = false
        world.proxy.setMode(.full, at: world.now)
        world.run(.seconds(1))
        let before = client.stream.connection.pathTotals(1).received
        world.run(.seconds(1))
        #expect(client.stream.connection.pathTotals(1).received > before + 500_000)
        #expect(client.wrong == 0 && client.stream.connection.livingSubflows == 2)
    }

    @Test func aConnectionKeepsItsOwnMode() {
        let world = World(seed: 6, mode: .single)
        world.run(.seconds(1))
        let plain = world.open(port: 60_000)
        let full = world.open(port: 10_000, mode: .full)
        world.run(.seconds(1))
        #expect(full.stream.connection.livingSubflows == 2)
        #expect(plain.stream.connection.livingSubflows == 1)
        #expect(world.run(.seconds(20)) { full.isDone })
        world.run(.seconds(4))
        // The one in full mode is gone; the other uplink sleeps again.
        #expect(onSecond(world) { world.run(.seconds(3)) } == 0)
        let single = world.open(port: 60_000, mode: .single)
        world.proxy.setMode(.full, at: world.now)
        world.run(.seconds(1))
        #expect(plain.stream.connection.livingSubflows == 2)
        #expect(single.stream.connection.livingSubflows == 1)
    }

    @Test func backupBitsFollowTheConnectionsMode() {
        let world = World(seed: 7, mode: .backup, backup: 1)
        world.run(.seconds(1))
        let plain = world.open(port: 20_000)
        let full = world.open(port: 20_000, mode: .full)
        world.run(.seconds(2))
        #expect(plain.stream.connection.pathTotals(1).received == 0)
        #expect(full.stream.connection.pathTotals(1).received > 100_000)
        let before = full.stream.connection.pathTotals(1).received
        world.proxy.setMode(.full, at: world.now)
        world.run(.seconds(1))
        #expect(plain.stream.connection.pathTotals(1).received > 0)
        #expect(full.stream.connection.pathTotals(1).received > before)
    }

    @Test(arguments: [false, true]) func warmKeepsABackupAwake(isWarm: Bool) {
        let world = World(seed: 8, mode: .backup, addUplinks: false)
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.proxy.addUplink(
            Uplink(number: 1, name: "up1", isBackup: true, isWarm: isWarm), at: world.now)
        world.run(.seconds(1))
        world.open(port: 60_000)
        world.run(.seconds(2))
        let sent = onSecond(world) { world.run(.seconds(10)) }
        #expect(isWarm ? sent >= 18 && sent < 60 : sent <= 4, "\(sent)")
    }
}

import Measures
import Multipath
import Testing

@testable import Tunnel

/// Another process follows the concentrator's, which goes on with what it has.
@Suite struct GoAwayTests {
    private func world(_ seed: UInt64, mode: HandoverMode = .full) -> World {
        let world = World(seed: seed, mode: mode) { $0.generation = 0 }
        for i in world.up.indices {
            world.up[i].rate = .megabitsPerSecond(8)
            world.down[i].rate = .megabitsPerSecond(8)
        }
        world.run(.seconds(2))
        return world
    }

    private func isWhole(_ client: Client, _ bytes: Int) -> Bool {
        client.isDone && !client.failed && client.received == bytes && client.wrong == 0
    }

    @Test(arguments: [HandoverMode.full, .backup, .single])
    func connectionsGoOnAndNewOnesBeginElsewhere(mode: HandoverMode) {
        let world = world(1, mode: mode)
        let download = world.open(port: 6000), upload = world.open(port: 2, sending: 3_000_000)
        world.run(.milliseconds(500))
        let before = download.received
        #expect(before > 0 && before < 6_000_000)
        world.followConcentrator(within: .seconds(90))
        let old = world.older[0]
        // Opened before the word has come, and after: both at once.
        let between = world.open(port: 20)
        #expect(world.run(.milliseconds(500)) { between.isDone })
        world.run(.seconds(1))
        #expect(world.proxy.report(at: world.now).sessions.map(\.isReplaced) == [false, true])
        #expect(world.concentrator.livingSessions == 1 && old.livingSessions == 1)
        let after = world.open(port: 30)
        #expect(world.run(.milliseconds(500)) { after.isDone })
        #expect(world.concentrator.report(at: world.now).connections <= 1)
        #expect(world.run(.seconds(30)) { download.isDone && upload.isDone })
        #expect(isWhole(download, 6_000_000) && isWhole(between, 20_000))
        #expect(!upload.failed && isWhole(after, 30_000))
        #expect(world.servers.contains { $0.port == 2 && $0.received == 3_000_000 })
        #expect(download.longestGap < .milliseconds(200), "\(download.longestGap)")
        // Nothing is left in the old process, and it is told of.
        #expect(world.run(.seconds(25)) { old.livingSessions == 0 })
        world.run(.seconds(1))
        #expect(world.proxy.report(at: world.now).sessions.count == 1)
        #expect(world.log.contains { $0.hasPrefix("P 0 goes away within 9") }, "\(world.log)")
        #expect(world.log.contains { $0.hasPrefix("P closed 0 closed by the peer (moved)") })
        #expect(world.log.count { $0.hasPrefix("P opened") } == 2, "\(world.log)")
    }

    @Test func itIsSaidUntilTheProxyHasHeardIt() {
        let world = world(2)
        let download = world.open(port: 4000)
        world.run(.milliseconds(100))
        for i in world.down.indices { world.down[i].loss = 0.4 }
        world.followConcentrator()
        #expect(
            world.run(.seconds(20)) {
                world.proxy.report(at: world.now).sessions.contains(where: \.isReplaced)
            })
        for i in world.down.indices { world.down[i].loss = 0 }
        #expect(world.run(.seconds(60)) { isWhole(download, 4_000_000) })
    }

    @Test func whereTheNewProcessDoesNotAnswerTheOldOneServes() {
        let world = world(3)
        let first = world.open(port: 1000)
        world.run(.milliseconds(50))
        world.followConcentrator()
        // No hello comes through.
        world.filter = { toProxy, _, bytes in toProxy || bytes[0] >> 4 != 1 }
        world.run(.seconds(5))
        let second = world.open(port: 1000)
        #expect(world.run(.seconds(5)) { second.isDone && first.isDone })
        #expect(isWhole(first, 1_000_000) && isWhole(second, 1_000_000))
        #expect(world.concentrator.livingSessions == 0)
        world.filter = nil
        world.run(.seconds(5))
        let third = world.open(port: 1000)
        #expect(world.run(.seconds(5)) { isWhole(third, 1_000_000) })
        #expect(world.concentrator.livingSessions == 1)
    }

    /// A connection with the process that was there, and one with the process that followed it;
    /// each is under way for `pause`.
    private func twoSessions(
        _ seed: UInt64, old: UInt16, new: UInt16, pause: Interval = .milliseconds(200)
    ) -> (World, Client, Client) {
        let world = world(seed)
        let first = world.open(port: old)
        world.run(pause)
        world.followConcentrator()
        world.run(.seconds(1))
        let second = world.open(port: new)
        world.run(pause)
        return (world, first, second)
    }

    @Test func whoDiesIsNoticedAndTheOthersLive() {
        let (world, lost, kept) = twoSessions(4, old: 60_000, new: 20_000)
        world.older.removeAll()
        let died = world.now
        #expect(world.run(.seconds(10)) { lost.failed })
        #expect(world.now - died < .seconds(6), "\(world.now - died)")
        #expect(!kept.failed && world.run(.seconds(60)) { isWhole(kept, 20_000_000) })
    }

    @Test func silenceOfTheUplinksEndsNothing() {
        let (world, old, new) = twoSessions(5, old: 8000, new: 8000)
        #expect(!old.isDone && !new.isDone)
        for i in world.up.indices { world.up[i].isOut = true; world.down[i].isOut = true }
        world.run(.seconds(40))
        #expect(!old.failed && !new.failed)
        for i in world.up.indices { world.up[i].isOut = false; world.down[i].isOut = false }
        #expect(world.run(.seconds(60)) { isWhole(old, 8_000_000) && isWhole(new, 8_000_000) })
    }

    @Test func uplinksAndModesAreThoseOfAllSessions() {
        let world = world(6)
        let old = world.open(port: 8000)
        world.run(.milliseconds(200))
        world.followConcentrator()
        world.run(.seconds(1))
        world.proxy.removeUplink(0, at: world.now)
        #expect(world.run(.seconds(60)) { isWhole(old, 8_000_000) })
        #expect(old.longestGap < .seconds(1), "\(old.longestGap)")
        let other = self.world(7)
        let call = other.open(port: 60_000)
        other.followConcentrator()
        other.run(.seconds(2))
        #expect(!call.isDone)
        other.proxy.setMode(.single, at: other.now)
        other.run(.seconds(6))
        for session in other.proxy.report(at: other.now).sessions {
            #expect(session.mode == .single)
        }
        let carried = other.down.map(\.carried)
        other.run(.seconds(2))
        // One uplink rests, for the old session's download as well.
        #expect(other.down.indices.contains { other.down[$0].carried - carried[$0] < 5_000 })
    }

    @Test func severalAfterOneAnother() {
        let world = world(8)
        var clients: [Client] = []
        for _ in 0..<3 {
            clients.append(world.open(port: 6000))
            world.run(.milliseconds(300))
            world.followConcentrator()
            world.run(.milliseconds(1500))
        }
        #expect(world.proxy.report(at: world.now).sessions.count == 4)
        clients.append(world.open(port: 6000))
        #expect(
            world.run(.seconds(60)) { clients.allSatisfy { isWhole($0, 6_000_000) } },
            "\(clients.map(\.received))")
        world.run(.seconds(25))
        #expect(world.proxy.report(at: world.now).sessions.count == 1)
        #expect(world.older.allSatisfy { $0.livingSessions == 0 })
    }

    @Test func theOldOneServesAgainWhereTheNewOneDied() {
        let (world, old, lost) = twoSessions(9, old: 12_000, new: 60_000, pause: .milliseconds(300))
        #expect(!old.isDone && lost.received > 0)
        world.takeBack()
        // The proxy's session with the dead one is replaced by one with the old one, which is
        // another than the one that it left.
        #expect(world.run(.seconds(10)) { lost.failed })
        let again = world.open(port: 300)
        #expect(world.run(.seconds(10)) { isWhole(again, 300_000) })
        #expect(world.run(.seconds(60)) { isWhole(old, 12_000_000) })
        #expect(!world.log.contains { $0.contains("resumed") }, "\(world.log)")
        world.run(.seconds(25))
        #expect(world.concentrator.livingSessions == 1)
    }

    @Test func manyGoAwaysKeepFewSessions() {
        let world = world(10)
        var idle: [Client] = []
        for _ in 0..<8 {
            idle.append(world.open(port: 3))
            world.followConcentrator()
            if world.older.count > 3 { world.older.removeFirst() }
            world.run(.milliseconds(1200))
        }
        #expect(world.proxy.report(at: world.now).sessions.count <= 1 + Limits.replacedSessions)
    }

    @Test func theIndicesOfAProcessHaveItsGeneration() {
        var seen: Set<UInt8> = []
        let world = World(seed: 11) { $0.generation = 0 }
        world.filter = { toProxy, _, bytes in
            if !toProxy, bytes[0] >> 4 == 4 { seen.insert(bytes[2] >> 6) }
            return true
        }
        world.run(.seconds(2))
        #expect(seen == [0])
        for generation in 1...3 as ClosedRange<UInt8> {
            world.followConcentrator()
            world.run(.seconds(3))
            seen = []
            world.run(.seconds(60))
            #expect(seen == [generation])
        }
        // A session that goes on with new keys as well.
        world.isAsleep = true
        world.run(.seconds(600))
        world.isAsleep = false
        seen = []
        let client = world.open(port: 20)
        #expect(world.run(.seconds(20)) { client.isDone })
        #expect(seen == [3] && world.log.contains { $0.contains("resumed") })
    }
}

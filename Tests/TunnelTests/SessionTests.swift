import Crypto
import Measures
import Testing

@testable import Tunnel
@testable import Wire

/// What needs no connection: handshake, records, paths, address signals.
@Suite struct SessionTests {
    @Test func theFirstAnswerWins() {
        let world = World(seed: 1)
        world.up[0].isOut = true
        #expect(world.run(.milliseconds(100)) { world.log.contains { $0.hasPrefix("C opened") } })
        #expect(world.log.filter { $0.hasPrefix("P opened") }.count == 1)
        let report = world.proxy.report(at: world.now)
        #expect(report.sessions.count == 1)
    }

    @Test func bothPathsBecomeUsable() {
        let world = World(seed: 2)
        world.run(.milliseconds(300))
        for endpoint in [world.proxy, world.concentrator] {
            let session = endpoint.report(at: world.now).sessions[0]
            #expect(session.paths.map(\.health) == [.usable, .usable])
            for path in session.paths {
                #expect(
                    path.smoothedRTT > .milliseconds(29)
                        && path.smoothedRTT < .milliseconds(40))
            }
        }
        // Every signal was echoed, so nothing but keepalives is sent from here on.
        let before = world.sent
        world.run(.seconds(15))
        #expect(world.sent - before <= 8)
    }

    @Test func lossOfTheHandshakeIsRepaired() {
        for seed in 10..<30 as Range<UInt64> {
            let world = World(seed: seed)
            for i in 0..<2 { world.up[i].loss = 0.6; world.down[i].loss = 0.6 }
            #expect(
                world.run(.seconds(60)) { world.log.contains { $0.hasPrefix("C opened") } },
                "seed \(seed)")
        }
    }

    @Test func strangersHearNothing() {
        let world = World(seed: 3, userIsKnown: false)
        var answers = 0
        world.filter = { toProxy, _, _ in
            if toProxy { answers += 1 }; return true
        }
        world.run(.seconds(5))
        #expect(answers == 0)
        #expect(world.concentrator.host.counters.refusedHellos > 3)
    }

    @Test func garbageHearsNothing() {
        let world = World(seed: 4)
        world.run(.seconds(1))
        var answers = 0
        world.filter = { toProxy, _, _ in
            if toProxy { answers += 1 }; return true
        }
        var r = SeededRandom(seed: 4)
        let stranger = SocketAddress(IPAddress(v4: 0x0102_0304), port: 9)
        for i in 0..<3000 {
            var bytes = (0..<Int(r.next() % 200)).map { _ in UInt8(truncatingIfNeeded: r.next()) }
            if !bytes.isEmpty, i % 2 == 0 { bytes[0] = [0x10, 0x20, 0x40][i % 3] }
            world.inject(bytes, toProxy: false, uplink: 0, from: stranger)
            world.inject(bytes, toProxy: true, uplink: 0, from: stranger)
        }
        world.run(.milliseconds(500))
        #expect(answers == 0)
        #expect(
            world.proxy.report(at: world.now).sessions[0].paths.allSatisfy { $0.health == .usable })
    }

    @Test func replaysAreIgnored() {
        let world = World(seed: 5)
        var seen: [[UInt8]] = []
        world.filter = { toProxy, _, bytes in
            if !toProxy { seen.append(bytes) }; return true
        }
        world.run(.seconds(3))
        let received = world.concentrator.report(at: world.now).sessions[0].paths.map(
            \.bytesReceived)
        var answers = 0
        world.filter = { toProxy, _, _ in
            if toProxy { answers += 1 }; return true
        }
        let stranger = SocketAddress(IPAddress(v4: 0x0102_0304), port: 9)
        for bytes in seen { world.inject(bytes, toProxy: false, uplink: 0, from: stranger) }
        world.run(.milliseconds(200))
        #expect(seen.count > 5)
        #expect(answers == 0)
        #expect(world.concentrator.report(at: world.now).sessions.count == 1)
        #expect(
            world.concentrator.report(at: world.now).sessions[0].paths.map(\.bytesReceived)
                == received)
        #expect(world.concentrator.host.counters.replayed > 0)
    }

    @Test func aRemovedUplinkIsSignalledThroughLoss() {
        for lost in 1...10 {
            let world = World(seed: UInt64(100 + lost))
            world.run(.seconds(1))
            var left = lost
            // On the living path the first `lost` datagrams after the removal vanish, whatever they
            // carry.
            world.filter = { toProxy, uplink, _ in
                guard uplink == 1, left > 0, !toProxy else { return true }
                left -= 1
                return false
            }
            world.up[0].isOut = true
            world.down[0].isOut = true
            world.proxy.removeUplink(0, at: world.now)
            #expect(
                world.run(.seconds(30)) {
                    world.concentrator.report(at: world.now).sessions[0].paths[0].health == .lost
                })
            #expect(left == 0)
            world.filter = nil
            world.run(.seconds(3))
            #expect(world.proxy.currentSession?.hasSignals == false)
        }
    }

    @Test func lostEchoesAreRepeatedAndAReturnBeforeTheEchoHolds() {
        for seed in 200..<240 as Range<UInt64> {
            let world = World(seed: seed)
            world.run(.seconds(1))
            for i in 0..<2 {
                world.up[i].loss = 0.5; world.down[i].loss = 0.5
                world.up[i].duplication = 0.3; world.up[i].jitter = .milliseconds(60)
            }
            for _ in 0..<5 {
                world.proxy.removeUplink(0, at: world.now)
                world.run(.milliseconds(Int64(world.random.next() % 120)))
                world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
                world.run(.milliseconds(Int64(world.random.next() % 200)))
            }
            for i in 0..<2 { world.up[i].loss = 0; world.down[i].loss = 0 }
            world.run(.seconds(12))
            let ours = world.proxy.currentSession!.paths[0]!,
                theirs = world.concentrator.sessions[0]!.paths[0]!
            #expect(
                ours.statement.generation == theirs.statement.generation
                    && ours.statement.incarnation == theirs.statement.incarnation,
                "seed \(seed)")
            #expect(
                ours.health == .usable && theirs.health == .usable, "seed \(seed): \(world.log)")
            #expect(world.proxy.currentSession?.hasSignals == false)
        }
    }

    @Test func aNATRebindingIsFollowed() {
        let world = World(seed: 6, uplinks: 1)
        world.run(.seconds(1))
        world.externalPort[0] = 6000
        world.run(.seconds(40))
        #expect(
            world.concentrator.report(at: world.now).sessions[0].paths[0].remote
                == "192.0.2.10:6000")
        #expect(world.proxy.report(at: world.now).sessions[0].paths[0].health == .usable)
    }

    @Test func closingTellsThePeer() {
        let world = World(seed: 7)
        world.run(.seconds(1))
        world.proxy.shutDown(at: world.now)
        world.run(.milliseconds(100))
        #expect(world.concentrator.report(at: world.now).sessions.isEmpty)
        #expect(world.log.contains { $0.hasPrefix("C closed") })
    }

    @Test func aFailedUplinkIsTriedAgain() {
        let world = World(seed: 8)
        world.run(.seconds(1))
        world.proxy.uplinkFailed(0, at: world.now)
        #expect(world.proxy.report(at: world.now).sessions[0].paths[0].health == .lost)
        #expect(
            world.run(.seconds(2)) {
                world.proxy.report(at: world.now).sessions[0].paths[0].health == .usable
            })
    }

    @Test func numbersRest() {
        let table = NumberTable(cursor: 0)
        let start = Instant.zero
        #expect(table.allocate(at: start) == 1024)
        table.set(1024, slot: 5, subflow: 2)
        if case .used(let e) = table.lookup(1024) {
            #expect(e.slot == 5 && e.subflow == 2)
        } else {
            Issue.record("not used")
        }
        table.release(1024, until: start + .seconds(45))
        for _ in 0..<64_511 { let n = table.allocate(at: start)!; #expect(n != 1024) }
        #expect(table.allocate(at: start + .seconds(45)) != nil)
        if case .free = table.lookup(1024) {} else { Issue.record("does not wake") }
    }
}

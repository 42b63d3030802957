import Measures
import Multipath
import Testing

@testable import Tunnel

/// What is measured of a handover is what the applications felt.
@Suite struct HandoverTests {
    private func path(
        _ world: World, _ uplink: String
    ) throws -> (session: SessionSlot, path: PathID) {
        let session = try #require(world.proxy.report(at: world.now).sessions.first)
        let path = try #require(session.paths.first { $0.uplink == uplink })
        return (session.number, path.number)
    }

    private func lose(_ world: World, visibly: Bool) {
        if visibly {
            world.proxy.removeUplink(0, at: world.now)
        } else {
            world.up[0].isOut = true
            world.down[0].isOut = true
        }
        for client in world.clients { client.longestGap = .zero }
    }

    @Test(arguments: [true, false], [1, 2, 3]) func thePauseIsTheApplications(
        visibly: Bool, seed: UInt64
    ) throws {
        let world = World(seed: seed)
        world.down[1].delay = .milliseconds(50)
        world.up[1].delay = .milliseconds(50)
        world.down[1].rate = .megabitsPerSecond(2)
        world.run(.seconds(1))
        for _ in 0..<3 { world.open(port: 60_000) }
        // One that says nothing goes on all the same, without a pause.
        world.open(port: 3, sending: 10)
        world.run(.seconds(2))
        let (session, path) = try path(world, "up0")
        #expect(world.proxy.handover(session: session, path: path, at: world.now) == nil)
        let before = world.now
        lose(world, visibly: visibly)
        var handover: Handover?
        world.run(.seconds(10)) {
            handover = world.proxy.handover(session: session, path: path, at: world.now) ?? handover
            return handover?.isComplete == true
        }
        let found = try #require(handover)
        #expect(found.isComplete && found.uplink == "up0" && found.others == ["up1"])
        #expect(found.connections == 4 && found.calls == 0)
        #expect(found.at - before < (visibly ? .milliseconds(1) : .milliseconds(500)))
        let felt = world.clients.map(\.longestGap).max() ?? .zero
        let pause = try #require(found.longestPause)
        #expect(pause >= felt - .milliseconds(1) && pause <= felt + .milliseconds(1))
        #expect(felt > .milliseconds(20))
        // It is told once.
        #expect(world.proxy.handover(session: session, path: path, at: world.now) == nil)
    }

    @Test func whoWasNotReceivingHadNoPause() throws {
        let world = World(seed: 5)
        world.run(.seconds(1))
        for _ in 0..<2 { world.open(port: 3, sending: 10) }
        world.run(.seconds(5))
        let (session, path) = try path(world, "up0")
        lose(world, visibly: true)
        world.run(.milliseconds(1_100))
        let handover = try #require(
            world.proxy.handover(session: session, path: path, at: world.now))
        #expect(handover.isComplete && handover.connections == 2 && handover.longestPause == nil)
    }

    @Test func withoutAnotherUplinkItIsWaitedFor() throws {
        let world = World(seed: 6, uplinks: 1)
        world.run(.seconds(1))
        world.open(port: 60_000)
        world.run(.seconds(2))
        let (session, path) = try path(world, "up0")
        lose(world, visibly: false)
        world.run(.seconds(8))
        let waiting = try #require(
            world.proxy.handover(session: session, path: path, at: world.now))
        #expect(!waiting.isComplete && waiting.others.isEmpty && waiting.connections == 1)
        world.up[0].isOut = false
        world.down[0].isOut = false
        world.run(.seconds(5)) { world.clients[0].longestGap > .seconds(1) }
        let felt = world.clients[0].longestGap
        world.run(.seconds(60))
        let over = try #require(
            world.proxy.handover(session: session, path: path, at: world.now))
        #expect(over.isComplete)
        let pause = try #require(over.longestPause)
        #expect(pause >= felt - .milliseconds(1) && pause <= felt + .milliseconds(1))
    }

    @Test func manyLossesAreOneRecordForEachPath() throws {
        let world = World(seed: 7)
        world.run(.seconds(1))
        world.open(port: 60_000)
        for _ in 0..<40 {
            world.run(.milliseconds(300))
            world.proxy.removeUplink(0, at: world.now)
            world.run(.milliseconds(100))
            world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        }
        world.run(.seconds(80))
        #expect(world.clients[0].wrong == 0)
        let session = try #require(world.proxy.currentSession)
        var settled = 0
        for path in PathTable.all {
            if world.proxy.handover(session: session.slot, path: path, at: world.now)?
                .isComplete
                == true
            {
                settled += 1
            }
        }
        #expect(settled <= 2 && !session.handovers.isMeasuring)
    }
}

/// The walk by which the page sees connections and paths.
@Suite struct SnapshotTests {
    @Test func everyConnectionIsMetOnce() throws {
        let world = World(seed: 8)
        world.run(.seconds(1))
        for _ in 0..<50 { world.open(port: 3, sending: 100_000) }
        world.run(.seconds(2))
        var cursor = StreamCursor(), found: [StreamSnapshot] = [], rounds = 0
        while !cursor.isAtEnd {
            world.proxy.forEachStream(from: &cursor, places: 7) { found.append($0) }
            rounds += 1
            try #require(rounds < 1_000)
        }
        #expect(found.count == 50 && Set(found.map(\.identifier)).count == 50)
        #expect(found.allSatisfy { $0.kind == .connection && $0.since != nil })
        #expect(found.allSatisfy { $0.sent >= 2_000 && !$0.shares.isEmpty })
        #expect(Set(found.flatMap { $0.shares.map(\.uplink) }) == ["up0", "up1"])
        var paths: [PathSnapshot] = []
        world.proxy.forEachPath(at: world.now) { paths.append($0) }
        #expect(paths.map(\.uplink) == ["up0", "up1"] && paths.allSatisfy { $0.health == .usable })
        #expect(paths.allSatisfy { $0.bytesSent > 0 && $0.since <= world.now })
        // Those that go meanwhile are no trouble, nor is a walk that begins again at the end.
        cursor = StreamCursor()
        world.proxy.forEachStream(from: &cursor, places: 3) { _ in }
        for client in world.clients.prefix(30) { client.stream.abort(at: world.now) }
        for client in world.clients.prefix(30) { client.stream.release(at: world.now) }
        world.run(.seconds(1))
        world.proxy.forEachStream(from: &cursor, places: 1_000) { _ in }
        #expect(cursor.isAtEnd)
        world.proxy.forEachStream(from: &cursor, places: 1_000) { _ in Issue.record("at the end") }
    }
}

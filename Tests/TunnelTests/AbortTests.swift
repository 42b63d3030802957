import Measures
import Multipath
import Testing

@testable import Tunnel

/// Connections that are aborted at any moment: both sides forget them at once.
@Suite struct AbortTests {
    /// Of the connections aborted, how many each side still has; others may be closing in order.
    private static func left(
        of aborted: Set<UInt64>, _ world: World
    ) -> (proxy: Int, concentrator: Int) {
        (
            world.proxy.host.streams.compactMap { $0 }.filter {
                aborted.contains($0.connection.localKey)
            }.count,
            world.concentrator.host.streams.compactMap { $0 }
                .filter { $0.connection.remoteKey.map { aborted.contains($0) } ?? true }.count
        )
    }

    /// Opens `count` streams within a second and aborts each some time later, or at once; the time
    /// of the last abort is now. Returns the proxy's keys of those that were not over before.
    private func abort(
        _ count: Int, within: Interval, _ world: World, byServer: Double = 0
    ) -> Set<UInt64> {
        var aborted: Set<UInt64> = []
        var moments: [(at: Instant, stream: Int, isOpening: Bool)] = []
        for i in 0..<count {
            let open = world.now + Interval(nanoseconds: Int64(world.random.unit() * 1e9))
            let life =
                world.random.chance(0.1) ? 0 : world.random.unit() * Double(within.nanoseconds)
            moments.append((open, i, true))
            moments.append((open + Interval(nanoseconds: Int64(life)), i, false))
        }
        moments = moments.enumerated().sorted {
            ($0.element.at, $0.offset) < ($1.element.at, $1.offset)
        }
        .map { $0.element }
        var clients = [Client?](repeating: nil, count: count)
        for moment in moments {
            if moment.at > world.now { world.run(moment.at - world.now) }
            guard !moment.isOpening else {
                let port = [1, 2, 20, 300][Int(world.random.next() % 4)] as UInt16
                clients[moment.stream] = world.open(port: port, sending: port > 9 ? 0 : 10_000)
                continue
            }
            guard let client = clients[moment.stream], client.stream.slot != nil, !client.isDone,
                client.stream.error == nil
            else { continue }
            aborted.insert(client.stream.connection.localKey)
            if world.random.chance(byServer),
                let server = world.servers.first(where: {
                    $0.stream.connection.remoteKey == client.stream.connection.localKey
                })
            {
                server.stream.abort(at: world.now)
                server.stream.release(at: world.now)
                continue
            }
            client.stream.abort(at: world.now)
            client.stream.release(at: world.now)
        }
        return aborted
    }

    @Test(
        arguments: [(1, 200, .single), (2, 200, .full), (2, 2_000, .full)]
            as [(Int, Int, HandoverMode)])
    func withoutLossARoundTripIsEnough(_ size: (uplinks: Int, count: Int, mode: HandoverMode)) {
        let world = World(seed: 800, uplinks: size.uplinks, mode: size.mode)
        for i in 0..<size.uplinks {
            // No queue keeps the resets waiting.
            world.up[i].rate = .megabitsPerSecond(1000)
            world.down[i].rate = .megabitsPerSecond(8)
        }
        world.run(.seconds(1))
        let aborted = abort(size.count, within: .milliseconds(500), world)
        #expect(aborted.count > size.count / 4)
        world.run(.milliseconds(31))
        #expect(Self.left(of: aborted, world) == (0, 0))
        #expect((world.concentrator.sessions[0]?.directory.resets.count ?? -1) == 0)
        world.run(.milliseconds(500))
        #expect((world.proxy.sessions.compactMap { $0 }.first?.directory.resets.count ?? -1) == 0)
    }

    @Test(arguments: 0..<3 as Range<UInt64>)
    func withLossAFewTimeouts(_ seed: UInt64) {
        let world = World(seed: 810 + seed)
        for i in 0..<2 {
            world.up[i].rate = .megabitsPerSecond(100); world.down[i].rate = .megabitsPerSecond(8)
            world.up[i].loss = 0.1; world.down[i].loss = 0.1
            world.up[i].jitter = .milliseconds(5); world.up[i].duplication = 0.05
        }
        world.run(.seconds(1))
        let aborted = abort(200, within: .milliseconds(500), world, byServer: 0.3)
        world.run(.seconds(3)) { Self.left(of: aborted, world) == (0, 0) }
        #expect(Self.left(of: aborted, world) == (0, 0), "seed \(seed)")
    }

    /// The applications give up while no path works, as they do: the other side hears of it with
    /// the first path.
    @Test(arguments: HandoverMode.allCases)
    func withoutAPathTheNextOneTells(_ mode: HandoverMode) {
        let world = World(seed: 820, mode: mode)
        world.run(.seconds(1))
        let clients = (0..<50).map { _ in world.open(port: 1000) }
        world.run(.milliseconds(300))
        world.proxy.removeUplink(0, at: world.now)
        world.proxy.removeUplink(1, at: world.now)
        world.run(.milliseconds(200))
        for client in clients {
            client.stream.abort(at: world.now)
            client.stream.release(at: world.now)
        }
        world.run(.seconds(2))
        #expect(world.proxy.report(at: world.now).connections == 0)
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        world.run(.seconds(1))
        #expect(world.concentrator.report(at: world.now).connections == 0)
    }

    /// The concentrator has lost the subflow by a reset that said nothing of the connection; the
    /// abort still ends it.
    @Test func anAbortIsKnownByItsKey() throws {
        let world = World(seed: 830, uplinks: 1)
        let client = world.open(port: 1000)
        world.run(.milliseconds(300))
        let number = client.stream.links[0].number
        world.up[0].isOut = true  // what the proxy says for a while is lost
        client.stream.abort(at: world.now)
        client.stream.release(at: world.now)
        world.run(.milliseconds(20))
        try SkippedFrameTests.inject(
            [8, UInt8(number >> 8), UInt8(number & 255), 0], toProxy: false, world)
        #expect(world.concentrator.report(at: world.now).connections == 1)
        world.up[0].isOut = false
        world.run(.milliseconds(500))
        #expect(world.concentrator.report(at: world.now).connections == 0)
    }
}

@Suite struct UnconfirmedResetTests {
    private func remember(_ resets: inout UnconfirmedResets, _ number: UInt16, at now: Instant) {
        [UInt8(number & 255)].withUnsafeBytes {
            resets.remember($0, number: number, timeout: .milliseconds(50), at: now)
        }
    }

    @Test func repeatedWithDoublingWaitsUntilConfirmed() throws {
        var resets = UnconfirmedResets(), now = Instant.zero
        remember(&resets, 7, at: now)
        remember(&resets, 8, at: now)
        resets.confirm(8)
        #expect(resets.frame(of: 8) == nil && resets.frame(of: 7) == [7])
        var times: [Int64] = []
        while resets.count > 0 {
            now = max(now, resets.deadline)
            guard let (slot, frame) = resets.nextDue(at: now) else { continue }
            #expect(frame == [7])
            times.append(now.nanoseconds / 1_000_000)
            resets.sent(slot, timeout: .milliseconds(50), at: now)
        }
        #expect(times == [50, 150, 350, 750, 1550, 3150, 6350, 12750, 25550])
        #expect(resets.deadline == .distantFuture)
    }

    @Test func noMoreThanTheLimit() {
        var resets = UnconfirmedResets()
        for n in 0..<10_000 as Range<UInt16> { remember(&resets, n, at: .zero) }
        #expect(resets.count == Limits.unconfirmedResets)
        for n in 0..<10_000 as Range<UInt16> { resets.confirm(n) }
        #expect(resets.count == 0 && resets.deadline == .distantFuture)
    }

    @Test func whatCouldNotBeSaidStaysDue() {
        var resets = UnconfirmedResets(), now = Instant.zero
        for n in 0..<3 as Range<UInt16> { remember(&resets, n, at: now) }
        now += .milliseconds(50)
        guard let (slot, _) = resets.nextDue(at: now) else { Issue.record("not due"); return }
        resets.hold(slot, for: .milliseconds(1), at: now)
        #expect(resets.nextDue(at: now) == nil)
        #expect(resets.deadline == now + .milliseconds(1))
        now += .milliseconds(1)
        var said = 0
        while let (slot, _) = resets.nextDue(at: now) {
            resets.sent(slot, timeout: .milliseconds(50), at: now); said += 1
        }
        #expect(said == 3)
    }
}

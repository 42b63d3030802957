import Measures
import Multipath
import Simulator
import Testing
import Tunnel

/// Links that silently drop what is longer than they like.
@Suite struct DatagramSizeTests {
    private static let link = LinkConditions(
        rate: .megabitsPerSecond(20), delay: .milliseconds(15),
        queue: .milliseconds(60))

    private func world(
        _ mtus: [Int?], mode: HandoverMode = .full, bytes: Int = 5_000_000,
        upload: Bool = false, faults: [Fault] = []
    ) -> World {
        var options = World.Options()
        options.mode = mode
        let uplinks = mtus.map { mtu in UplinkPlan(Self.link.with { $0.mtu = mtu }) }
        let plan =
            upload
            ? StreamPlan(initiator: .bulk(bytes), listener: .nothing)
            : StreamPlan(initiator: .nothing, listener: .bulk(bytes))
        let world = World(
            Scenario(uplinks: uplinks, streams: [plan], faults: faults), seed: 1, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        world.streams[0].listener.log.keepsArrivals = true
        return world
    }

    private func paths(_ world: World) -> [EndpointReport.Path] {
        (world.proxy.report(at: world.now).sessions.first?.paths ?? []).sorted {
            $0.uplink < $1.uplink
        }
    }

    private func seconds(_ world: World, upload: Bool = false) -> Double {
        let log = upload ? world.streams[0].listener.log : world.streams[0].initiator.log
        return log.last.map { Double($0.nanoseconds) / 1e9 } ?? .infinity
    }

    /// Nothing above 1,420 bytes passes anywhere, from the start.
    @Test(arguments: HandoverMode.allCases, [false, true]) func aHoleAbove1420(
        mode: HandoverMode, upload: Bool
    ) {
        let world = world([1420, 1420], mode: mode, upload: upload)
        world.run()
        #expect(world.failure == nil)
        let rate = 5_000_000 * 8e-6 / seconds(world, upload: upload)
        #expect(rate > (mode == .single ? 17 : 28), "\(rate) Mbit/s")
    }

    /// Nothing arrives in one direction for a third of a second: that tells nothing of sizes.
    @Test(arguments: [Fault.Direction.up, .down]) func aShortOutageIsNoBlackHole(
        direction: Fault.Direction
    ) {
        let at = Instant.zero + .seconds(6)
        let link = LinkConditions(
            rate: Rate(bytesPerSecond: 1_600_000), delay: .milliseconds(20), queueLimit: 1_600_000)
        var scenario = Scenario(
            uplinks: [UplinkPlan(link)],
            streams: [StreamPlan(initiator: .nothing, listener: .bulk(20_000_000))])
        scenario.faults = [
            Fault(at: at, uplink: 0, change: .outage(.blackHole, direction)),
            Fault(at: at + .milliseconds(300), uplink: 0, change: .outage(.none, direction))
        ]
        let world = World(scenario, seed: 1)
        for i in 0..<150 {
            world.run(until: at + .milliseconds(Int64(i) * 20), mayStop: true)
            let size = world.concentrator.report(at: world.now).sessions[0].paths[0].packetSize
            #expect(size == 1500, "after \(i * 20) ms")
        }
        #expect(world.failure == nil)
    }

    @Test func theSizeIsFoundAndSaid() {
        for mtu in [1280, 1420, 1492, 1500] {
            let world = world([mtu], bytes: 20_000_000)
            world.run(until: .zero + .seconds(6), mayStop: true)
            let path = paths(world)[0]
            #expect(
                path.packetSize <= mtu && path.packetSize > mtu - 9, "\(path.packetSize) of \(mtu)")
            #expect(path.health == .usable)
            let theirs = world.concentrator.report(at: world.now).sessions[0].paths[0]
            #expect(theirs.packetSize <= mtu && theirs.packetSize > mtu - 9)
        }
    }

    /// The same under flows of datagrams of all sizes besides: all go on with the smaller size.
    @Test(arguments: 0..<2 as Range<UInt64>) func aLinkBecomesNarrowUnderFlows(seed: UInt64) {
        var options = World.Options()
        options.associations = 5
        let at = Instant.zero + .seconds(2)
        let scenario = Scenario(
            uplinks: [UplinkPlan(Self.link)],
            streams: [StreamPlan(initiator: .nothing, listener: .bulk(6_000_000))],
            faults: [Fault(at: at, uplink: 0, change: .mtu(1280, .both))])
        let world = World(scenario, seed: seed, options: options)
        world.run(until: at, mayStop: true)
        let before = world.datagramsReturned
        world.run(until: at + .milliseconds(1_500), mayStop: true)
        #expect(paths(world).allSatisfy { $0.packetSize <= 1280 && $0.health == .usable })
        world.run()
        #expect(world.failure == nil)
        #expect(world.datagramsReturned > before + 100)
    }

    /// A link becomes narrow in the middle of a transfer, and nobody says so.
    @Test(arguments: [1280, 1400], [false, true]) func aLinkBecomesNarrow(mtu: Int, upload: Bool) {
        let at = Instant.zero + .seconds(1)
        let world = world(
            [1500], upload: upload, faults: [Fault(at: at, uplink: 0, change: .mtu(mtu, .both))])
        world.run()
        #expect(world.failure == nil)
        let log = upload ? world.streams[0].listener.log : world.streams[0].initiator.log
        let gap = log.longestGap(from: at - .milliseconds(100), to: at + .seconds(2))
        // A round trip is 30 ms and the queue up to 60 ms more.
        #expect(gap < .milliseconds(400), "a gap of \(gap.milliseconds) ms")
        #expect(seconds(world, upload: upload) < 3)
    }

    /// One uplink drops everything above 1,000 bytes: it is never usable, and the other carries it
    /// all.
    @Test(arguments: HandoverMode.allCases, [0, 1]) func aHoleAbove1000BesideAHealthyUplink(
        mode: HandoverMode, hole: Int
    ) {
        let world = world(
            [hole == 0 ? 1000 : 1500, hole == 0 ? 1500 : 1000], mode: mode, bytes: 10_000_000)
        world.run(until: .zero + .seconds(3), mayStop: true)
        #expect(world.failure == nil)
        for path in paths(world) where path.uplink == "uplink\(hole)" {
            #expect(path.health != .usable)
        }
        #expect(paths(world).contains { $0.uplink == "uplink\(1 - hole)" && $0.health == .usable })
        world.run()
        #expect(world.failure == nil && seconds(world) < 6, "\(seconds(world)) s")
    }

    /// The hole opens below the base size while data flows.
    @Test(arguments: HandoverMode.allCases) func aLinkBecomesTooNarrow(mode: HandoverMode) {
        let at = Instant.zero + .seconds(1)
        let world = world(
            [1500, 1500], mode: mode, bytes: 10_000_000,
            faults: [Fault(at: at, uplink: 0, change: .mtu(1000, .both))])
        world.run(until: .zero + .seconds(3), mayStop: true)
        #expect(world.failure == nil)
        for path in paths(world) where path.uplink == "uplink0" { #expect(path.health != .usable) }
        world.run()
        #expect(world.failure == nil)
        let gap = world.streams[0].initiator.log.longestGap(
            from: at - .milliseconds(100), to: at + .seconds(2))
        #expect(gap < .milliseconds(900), "a gap of \(gap.milliseconds) ms")
    }

    /// No request is longer than what every path takes, not even one that fills a datagram.
    @Test func aRequestThatFillsADatagram() {
        for size in [1_100, 1_200, 1_300, 1_400, 1_500] {
            var options = World.Options()
            options.mode = .full
            let plan = StreamPlan(
                initiator: .requests(count: 3, size: size, responseSize: size),
                listener: .responses(count: 3, size: size, requestSize: size))
            let asked = World(
                Scenario(uplinks: [UplinkPlan(Self.link.with { $0.mtu = 1280 })], streams: [plan]),
                seed: 2, options: options)
            asked.run()
            #expect(asked.failure == nil, "\(size)")
            #expect(asked.now < .zero + .seconds(5))
        }
    }

    /// The growth costs nothing to speak of.
    @Test func aWidePathIsFilled() {
        let world = world([nil], bytes: 20_000_000)
        world.run()
        #expect(world.failure == nil)
        let share = 20_000_000 * 8e-6 / 20 / seconds(world)
        #expect(share > 0.94, "\(share)")
    }
}

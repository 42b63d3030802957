import Measures
import Multipath
import Testing

@testable import Simulator

/// A line that becomes slower, or longer, under a download: the queue that its former rate leaves
/// is gone soon, and a longer path is not taken for a full one.
@Suite struct SlowerLineTests {
    private static func world(_ before: LinkConditions, _ after: LinkConditions) -> World {
        var scenario = Scenario(
            uplinks: [UplinkPlan(before)],
            streams: [StreamPlan(initiator: .nothing, listener: .bulk(60_000_000))])
        scenario.faults = [
            Fault(
                at: .zero + .seconds(4), uplink: 0,
                change: .conditions(up: after, down: after))
        ]
        return World(scenario, seed: 1)
    }

    /// The filter of rates remembered the former one for ten round trips through the queue, and the
    /// round trip through the queue was taken for the path's own: the queue grew for 20 s.
    @Test(arguments: [2, 5, 13])
    func aSlowerLineKeepsNoQueue(_ factor: Int64) {
        let before = LinkConditions(
            rate: Rate(bytesPerSecond: 1_600_000), delay: .milliseconds(20), queue: .seconds(1))
        let after = before.with {
            $0.rate = Rate(bytesPerSecond: 1_600_000 / factor)
            $0.queueLimit = 1_600_000
        }
        let world = Self.world(before, after)
        for second in 12...30 {
            world.run(until: .zero + .seconds(Int64(second)), mayStop: true)
            let link = world.lanes[0].downs[0]
            let queue = (link.conditions.rate ?? .zero).time(for: link.backlog)
            #expect(queue <= .milliseconds(150), "\(queue) at \(second) s")
        }
        #expect(world.failure == nil)
        for stream in world.streams { stream.handles = (nil, nil) }
    }

    @Test func aLongerPathIsFilled() {
        let before = LinkConditions(
            rate: Rate(bytesPerSecond: 1_000_000), delay: .milliseconds(2), queue: .seconds(1))
        let world = Self.world(before, before.with { $0.delay = .milliseconds(60) })
        world.run(until: .zero + .seconds(6), mayStop: true)
        let read = world.streams[0].initiator.read
        world.run(until: .zero + .seconds(8), mayStop: true)
        #expect(world.streams[0].initiator.read - read >= 1_600_000)
        #expect(world.failure == nil)
        for stream in world.streams { stream.handles = (nil, nil) }
    }

    /// Worlds in which it was found: 0.72 and 0.64 of what the uplinks carry.
    @Test(arguments: [7, 12] as [UInt64]) func drawn(_ seed: UInt64) {
        let world = World(
            .drawnLong(seed: seed), seed: seed, options: .drawnLong(seed: seed))
        world.run(until: .zero + .seconds(30), mayStop: true)
        #expect(world.failure == nil, "seed \(seed)")
        for stream in world.streams { stream.handles = (nil, nil) }
    }
}

import Measures
import Multipath
import Testing

@testable import Simulator

/// The redundant scheduler: every byte on two paths, and what it is for.
@Suite struct RedundantTests {
    /// A call's bytes to the initiator, over WiFi and cellular.
    private func world(
        _ scheduler: SchedulerKind, faults: [Fault] = [], bulk: Int? = nil
    ) -> SegmentWorld {
        let scenario = Scenario(
            uplinks: [UplinkPlan(.wifi), UplinkPlan(.cellular)],
            streams: [
                StreamPlan(
                    initiator: .nothing,
                    listener: bulk.map { .bulk($0) }
                        ?? .constantRate(chunk: 160, period: .milliseconds(20), total: 160 * 400))
            ], faults: faults)
        var configuration = ConnectionConfiguration()
        configuration.scheduler = scheduler
        // Thin streams are copied in full mode anyway, by something else.
        configuration.aidsHandover = false
        return SegmentWorld(scenario, seed: 1, configuration: configuration)
    }

    @Test func everyByteGoesOnBothPaths() {
        let world = world(.redundant)
        var paths: [UInt64: Set<Int>] = [:]
        world.observer = { now, fromInitiator, path, segment, count in
            guard !fromInitiator, count > 0, now > .zero + .seconds(1),
                let mapping = segment.options.dss.mapping
            else { return }
            for i in 0..<count {
                let number = UInt64(mapping.dataSequence.low32) + UInt64(i)
                paths[number, default: []].insert(path)
            }
        }
        world.run()
        #expect(world.failure == nil)
        let both = paths.values.count { $0.count == 2 }
        #expect(paths.count > 160 * 340 && both == paths.count, "\(both) of \(paths.count)")
    }

    @Test func aSilentLossIsNotNoticed() {
        let at = Instant.zero + .seconds(4)
        let faults = [
            Fault(at: at, uplink: 0, change: .outage(.blackHole, .both)),
            Fault(at: at + .seconds(2), uplink: 0, change: .outage(.none, .both))
        ]
        func worst(_ scheduler: SchedulerKind) -> Interval {
            let world = world(scheduler, faults: faults)
            world.run()
            #expect(world.failure == nil, "\(scheduler)")
            return world.ends.initiator.log.delays.map(\.delay).max() ?? .zero
        }
        // The cellular link's own 50 ms and what a packet takes there.
        let redundant = worst(.redundant)
        #expect(redundant < .milliseconds(60), "\(redundant.milliseconds) ms")
        #expect(worst(.roundRobin) > redundant * 2)
    }

    /// A bulk transfer is as fast as the better link alone, less what it takes to begin.
    @Test func bulkIsAsFastAsTheBetterLink() {
        let world = world(.redundant, bulk: 4_000_000)
        world.run()
        #expect(world.failure == nil)
        let last = world.ends.initiator.log.last ?? .zero
        let alone = Rate.megabitsPerSecond(8).time(for: 4_000_000)
        #expect(last - .zero < alone * 5 / 4, "\((last - .zero).seconds) s")
    }
}

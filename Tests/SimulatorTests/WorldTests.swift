import Measures
import Multipath
import Simulator
import Testing

/// Worlds drawn from seeds; `simulate soak` runs many more in release mode.
@Suite struct DrawnWorldTests {
    /// Seeds that once failed are kept, with what they found.
    static let onceFailedSegments: [UInt64] = [
        95,  // a join's third packet with DSS and timestamps did not fit a raw header
        109, 145,  // early data whose SYN was lost
        316, 495,  // a writer waiting for bytes that only a finished subflow held
        327,  // DATA_FIN repeated on one deaf subflow only
        438,  // a window told by the third packet was not taken
        4439,  // a reset was taken for the proof that the peer had our DATA_FIN
        5298,  // a reset of the last subflow on raw IP ended the connection at once
        6660, 7117  // a finished connection on raw IP could not be joined for its last words
    ]
    static let onceFailed: [UInt64] = [
        0,  // a finished connection's join retry kept a deadline in the past
        6, 27,  // early data whose SYN was lost was answered by a reset
        9, 33, 46, 55,  // the first subflow's path was lost before the keys had arrived
        1973, 2498,  // it came back, and nobody spoke first
        824, 1110,  // the last DATA_ACK was lost with its path, the connection forgotten
        // the only path went before an address was announced, and the first was forbidden
        145, 190,
        // bytes behind an unacknowledged SYN were let go, and then could not be repeated
        1891
    ]

    @Test(arguments: Array(0..<40) + onceFailedSegments) func segments(seed: UInt64) {
        let world = SegmentWorld(
            .drawn(seed: seed), seed: seed,
            configuration: SegmentWorld.drawnConfiguration(seed: seed))
        world.run()
        #expect(world.failure == nil, "seed \(seed)")
    }

    @Test(arguments: Array(0..<25) + onceFailed) func endpoints(seed: UInt64) {
        let world = World(.drawn(seed: seed), seed: seed, options: .drawn(seed: seed))
        world.run()
        #expect(world.failure == nil, "seed \(seed)")
    }

    /// Random calls of both applications; kept are seeds that once failed.
    static let onceFailedCalls: [UInt64] = [
        // the reset of a broken connection was lost, and its peer had nothing to say
        232, 327,
        // a first flight beyond a small window stood before what would have moved it
        405,
        // a broken listener whose joins waited for a key never sent their resets
        447, 628, 1049, 1412,
        // the only path became too narrow for full datagrams, and short ones were answered
        5338
    ]

    /// Associations beside the streams: none wrong, none twice, none of another flow, nothing kept.
    @Test(arguments: 0..<10 as Range<UInt64>) func flows(seed: UInt64) {
        var options = World.Options.drawn(seed: seed)
        options.associations = 1 + Int(seed % 6)
        let world = World(.drawn(seed: seed), seed: seed, options: options)
        world.run()
        #expect(world.failure == nil)
        #expect(world.datagramsReturned > 0)
    }

    @Test(arguments: Array(0..<15) + onceFailedCalls) func calls(seed: UInt64) {
        let world = World(.drawnCalls(seed: seed), seed: seed, options: .drawn(seed: seed))
        world.run()
        #expect(world.failure == nil, "seed \(seed)")
    }

    @Test(arguments: [3, 14, 15] as [UInt64]) func sameSeedSameTrace(seed: UInt64) {
        func run(_ seed: UInt64) -> Trace {
            let world = World(.drawn(seed: seed), seed: seed, options: .drawn(seed: seed))
            world.run()
            return world.trace
        }
        let first = run(seed)
        #expect(first.packets > 10)
        #expect(run(seed) == first)
        #expect(run(seed + 1) != first)
    }
}

/// The paper's links, and what an application sees when one is lost.
@Suite struct HandoverWorldTests {
    private static let paper = [UplinkPlan(.wifi), UplinkPlan(.cellular)]

    private func download(
        _ faults: [Fault], mode: HandoverMode = .full, bytes: Int = 4_000_000
    ) -> World {
        var options = World.Options()
        options.mode = mode
        let world = World(
            Scenario(
                uplinks: Self.paper,
                streams: [StreamPlan(initiator: .nothing, listener: .bulk(bytes))],
                faults: faults), seed: 1, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        world.run()
        return world
    }

    @Test func bothLinksAddUp() {
        let world = download([])
        #expect(world.failure == nil)
        let finished = world.streams[0].initiator.log.last!
        let share = 4_000_000 * 8e3 / Double(finished.nanoseconds) / 10
        #expect(share > 0.80, "\(share) of 10 Mbit/s")
    }

    @Test(arguments: [Fault.Change.removed, .outage(.blackHole, .both)]) func wifiIsLost(
        _ change: Fault.Change
    ) {
        let world = download(
            [Fault(at: .zero + .seconds(2), uplink: 0, change: change)], bytes: 3_000_000)
        #expect(world.failure == nil)
        let gap = world.streams[0].initiator.log.longestGap(
            from: .zero + .seconds(2),
            to: .zero + .seconds(4))
        #expect(gap < .seconds(2), "a gap of \(gap.milliseconds) ms")
    }

    @Test func wifiComesBack() {
        let world = download([
            Fault(at: .zero + .seconds(1), uplink: 0, change: .removed),
            Fault(at: .zero + .seconds(3), uplink: 0, change: .returned)
        ])
        #expect(world.failure == nil)
        let log = world.streams[0].initiator.log
        // In the fourth second WiFi carries again: more than cellular alone could.
        #expect(log.bins[18..<23].reduce(0, +) > 2_000_000 / 8)
    }

    @Test func natForgets() {
        let world = download([Fault(at: .zero + .seconds(1), uplink: 0, change: .rebind)])
        #expect(world.failure == nil)
    }

    @Test func aSlowReaderStopsTheSender() {
        var plan = StreamPlan(initiator: .nothing, listener: .bulk(2_000_000))
        plan.initiatorReader = .slow(.megabitsPerSecond(2))
        let world = World(
            Scenario(
                uplinks: [
                    UplinkPlan(
                        LinkConditions(
                            rate: .megabitsPerSecond(50), delay: .milliseconds(5),
                            queue: .milliseconds(100)))
                ],
                streams: [plan]), seed: 3)
        world.run()
        #expect(world.failure == nil)
        #expect(world.streams[0].initiator.log.last! > .zero + .seconds(7))
    }

    @Test func strangersGetNoAnswer() {
        var options = World.Options()
        options.hasStrangers = true
        let world = World(
            Scenario(
                uplinks: Self.paper,
                streams: [StreamPlan(initiator: .bulk(200_000), listener: .echo(total: 200_000))]),
            seed: 5, options: options)
        world.run()
        #expect(world.failure == nil)
    }
}

import Measures
import Multipath
import Testing
import Tunnel

@testable import Simulator

/// What somebody in front of a screen waits, and moves of both ends.
@Suite struct WaitingTests {
    private func end(_ pace: Pace, count: Int, size: Int, faults: [Fault] = []) throws -> WaitingEnd
    {
        var stream = StreamPlan(
            at: .zero + .seconds(1),
            initiator: .requests(count: count, size: 200, responseSize: size),
            listener: .responses(count: count, size: size, requestSize: 200))
        stream.pace = pace
        let world = World(
            Scenario(uplinks: [UplinkPlan(.wifi)], streams: [stream], faults: faults), seed: 1)
        world.run(until: .zero + .seconds(120), mayStop: true)
        #expect(world.failure == nil)
        return try #require(world.streams[0].initiator as? WaitingEnd)
    }

    /// 100 kB at 8 Mbit/s take a tenth of a second and some round trips of 31 ms; the last one
    /// counts like the others.
    @Test func pagesAreWaitedForOneByOne() throws {
        let waited = try end(.reading(.seconds(2)), count: 5, size: 100_000)
            .waited(until: .zero + .seconds(120))
        #expect((0.6...1.6).contains(waited.time.seconds), "\(waited.time.seconds) s")
        #expect(waited.pauses == 0)
    }

    @Test func whatNeverComesIsWaitedFor() throws {
        let waited = try end(
            .reading(.seconds(2)), count: 5, size: 100_000,
            faults: [Fault(at: .zero + .seconds(2), uplink: 0, change: .removed)]
        )
        .waited(until: .zero + .seconds(120))
        #expect((115...118).contains(waited.time.seconds), "\(waited.time.seconds) s")
        #expect(waited.pauses == 1)
    }

    /// A film of 4 s a piece with 30 s in hand: an outage of 20 s is not seen, one of 50 s is.
    @Test(arguments: [(20, 0.0...1.0), (50, 20.0...30.0)] as [(Int64, ClosedRange<Double>)])
    func aFilmStallsWhenNothingIsLeft(outage: Int64, waits: ClosedRange<Double>) throws {
        let at = Instant.zero + .seconds(40)
        let waited = try end(
            .playing(segment: .seconds(4), ahead: .seconds(30)), count: 20, size: 500_000,
            faults: [
                Fault(at: at, uplink: 0, change: .outage(.blackHole, .both)),
                Fault(at: at + .seconds(outage), uplink: 0, change: .outage(.none, .both))
            ]
        ).waited(until: .zero + .seconds(120))
        #expect(waits.contains(waited.time.seconds), "\(waited.time.seconds) s")
    }

    /// WiFi and the concentrator's first address go together; the second was announced.
    @Test(arguments: HandoverMode.allCases) func bothEndsMove(mode: HandoverMode) {
        let at = Instant.zero + .seconds(4)
        var cellular = UplinkPlan(.cellular)
        cellular.isBackup = mode != .full
        let scenario = Scenario(
            uplinks: [UplinkPlan(.wifi), cellular],
            streams: [
                StreamPlan(
                    at: .zero + .seconds(1), initiator: .nothing,
                    listener: .constantRate(
                        chunk: 1_250, period: .milliseconds(20), total: 1_250 * 50 * 10))
            ],
            faults: [
                Fault(at: at, uplink: 0, change: .removed),
                Fault(at: at, uplink: 0, change: .firstAddress(false))
            ])
        var options = World.Options()
        options.mode = mode
        options.second = .cellular
        let world = World(scenario, seed: 5, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        world.run()
        #expect(world.failure == nil)
        let gap = world.streams[0].initiator.log.longestGap(from: at, to: at + .seconds(5))
        #expect(gap < .milliseconds(1_500), "\(mode): \(gap.milliseconds) ms")
    }
}

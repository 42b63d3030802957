import Measures
import Multipath
import Testing
import Tunnel

@testable import Simulator

/// A dear uplink carries what the cheap one can't carry in time, and nothing else.
@Suite struct CostTests {
    /// Bytes by uplink of a world in full mode whose second uplink has this cost.
    private func bytes(
        _ stream: StreamPlan, cost: PathCosts.Cost, wifi: Double = 8, faults: [Fault] = [],
        mode: HandoverMode = .full, seconds: Int64 = 60
    ) -> (bytes: [Int], world: World) {
        var cellular = UplinkPlan(.cellular)
        cellular.cost = cost
        let link = LinkConditions(
            rate: .megabitsPerSecond(wifi), delay: .milliseconds(15), queue: .milliseconds(200))
        var scenario = Scenario(uplinks: [UplinkPlan(link), cellular], streams: [stream])
        scenario.faults = faults
        var options = World.Options()
        options.mode = mode
        let world = World(scenario, seed: 3, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        var bytes = [0, 0]
        world.traceRadios { bytes[$0.radio] += $0.bytes }
        world.run(until: .zero + .seconds(seconds), mayStop: true)
        #expect(world.failure == nil)
        return (bytes, world)
    }

    private func download(_ size: Int) -> StreamPlan {
        StreamPlan(at: .zero + .seconds(1), initiator: .nothing, listener: .bulk(size))
    }

    /// What a path says of itself while nothing goes on it: handshake, signals, the probes of its
    /// size (which are long), joins.
    private static let itself = 20_000

    @Test func whatIsDoneInTimeCostsNothing() {
        let usual = bytes(download(2_000_000), cost: .usual)
        #expect(usual.bytes[1] > 200_000)
        let dear = bytes(download(2_000_000), cost: .dear)
        #expect(dear.bytes[1] < Self.itself, "\(dear.bytes[1]) bytes over the dear uplink")
        #expect(dear.world.streams[0].initiator.read == 2_000_000)
    }

    @Test func anUploadLikewise() {
        let plan = StreamPlan(
            at: .zero + .seconds(1), initiator: .bulk(2_000_000), listener: .nothing)
        let dear = bytes(plan, cost: .dear)
        #expect(dear.bytes[1] < Self.itself, "\(dear.bytes[1]) bytes over the dear uplink")
        #expect(dear.world.streams[0].listener.read == 2_000_000)
    }

    /// A backlog that has stood for longer than the time goes over both.
    @Test func whatLastsGoesOverBoth() {
        let dear = bytes(download(12_000_000), cost: .dear)
        #expect(dear.bytes[1] > 800_000, "\(dear.bytes[1]) bytes over the dear uplink")
        let spent = bytes(download(12_000_000), cost: .spent)
        #expect(spent.bytes[1] < 2 * Self.itself, "\(spent.bytes[1]) bytes over the spent uplink")
    }

    /// 500 kbit/s where the cheap uplink has 400: the rest goes over the dear one, and not more.
    @Test func aStreamThatWouldStarve() {
        let total = 1_250 * 50 * 30
        let stream = StreamPlan(
            at: .zero + .seconds(1), initiator: .nothing,
            listener: .constantRate(chunk: 1_250, period: .milliseconds(20), total: total))
        let dear = bytes(stream, cost: .dear, wifi: 0.4)
        // What has gone on for less than a second may as well be a page, whose backlog may stand.
        let steady = dear.world.streams[0].initiator.log.delays.filter {
            $0.at > .zero + .seconds(8)
        }
        let late = steady.map(\.delay).max() ?? .max
        #expect(late < .milliseconds(450), "\(late.milliseconds) ms late")
        #expect(
            (total / 8...total * 7 / 10).contains(dear.bytes[1]),
            "\(dear.bytes[1]) of \(total) bytes over the dear uplink")
        // Where it has room, nothing does.
        let roomy = bytes(stream, cost: .dear, wifi: 2)
        #expect(roomy.bytes[1] < Self.itself, "\(roomy.bytes[1]) bytes over the dear uplink")
    }

    @Test(arguments: [PathCosts.Cost.dear, .spent], [HandoverMode.full, .single])
    func aHandoverGoesOverIt(cost: PathCosts.Cost, mode: HandoverMode) {
        let at = Instant.zero + .seconds(4)
        let run = bytes(
            download(6_000_000), cost: cost,
            faults: [
                Fault(at: at, uplink: 0, change: .removed),
                Fault(at: at + .seconds(4), uplink: 0, change: .returned)
            ], mode: mode)
        #expect(run.world.streams[0].initiator.read == 6_000_000)
        #expect(run.bytes[1] > 500_000)
        let gap = run.world.streams[0].initiator.log.longestGap(from: at, to: at + .seconds(3))
        #expect(gap < .milliseconds(400), "\(gap.milliseconds) ms")
    }
}

import Buffers
import Measures
import Multipath
import Subflow

/// A connection with two subflows beside plain TCPs (NewReno): what coupled congestion control is
/// for. Downloads without end; bytes are counted once all have found their share.
public struct FairnessTrial: Hashable, Sendable {
    /// What the subflows cross.
    public enum Topology: String, CaseIterable, Hashable, Sendable {
        /// Both and one plain TCP share a line of `rate`.
        case shared
        /// Each has a line of `rate` of its own, where nobody else is.
        case separate
        /// Each has a line of `rate` of its own, with a plain TCP on it.
        case contended
    }
    /// Where the lines are.
    public var topology: Topology
    /// Of the connection with two subflows.
    public var congestion: CongestionAlgorithm
    /// Of each line.
    public var rate: Rate
    /// Round trips of the two subflows, without queues; with one alone it is a plain connection.
    public var roundTrips = [Interval.milliseconds(40), .milliseconds(40)]
    /// Of a plain TCP; the `i`th shares a line with the `i`th subflow.
    public var plainRoundTrip = Interval.milliseconds(40)
    /// A line's queue holds as much as it carries in this time.
    public var queue = Interval.milliseconds(60)
    /// When counting begins, and for how long it goes on.
    public var settling = Interval.seconds(20)
    /// See `settling`.
    public var measured = Interval.seconds(100)
    /// Round trips and beginnings differ by a little from seed to seed.
    public var seed: UInt64

    /// Two subflows with round trips of 40 ms.
    public init(
        _ topology: Topology, _ congestion: CongestionAlgorithm, rate: Rate, seed: UInt64 = 1
    ) {
        self.topology = topology
        self.congestion = congestion
        self.rate = rate
        self.seed = seed
    }

    /// Goodput in what was measured.
    public struct Outcome: Sendable {
        /// Bits per second of the connection with two subflows, and of each plain TCP.
        public var multipath = 0.0, plain: [Double] = []
        /// Of `multipath`, by subflow.
        public var subflows = [0.0, 0.0]
        /// The first thing that went wrong; nil where nothing did.
        public var failure: String?

        /// `multipath` over what each of as many TCPs would take, had one been in its place: the
        /// mean of it and the plain ones (`.shared`).
        public var overFairShare: Double {
            let all = multipath + plain.reduce(0, +)
            return all > 0 ? multipath / all * Double(1 + plain.count) : 0
        }
    }

    /// Runs the trial to its end.
    public func run() -> Outcome {
        let world = FairnessWorld(self)
        world.runInstants(until: .zero + settling, mayStop: true)
        let before = world.counts
        world.runInstants(until: .zero + settling + measured, mayStop: true)
        let after = world.counts
        var outcome = Outcome(failure: world.failure)
        let rates = zip(after, before).map { Double(8 * ($0.read - $1.read)) / measured.seconds }
        outcome.multipath = rates[0]
        outcome.plain = Array(rates.dropFirst())
        outcome.subflows = (0..<2).map {
            Double(8 * (after[0].byPath[$0] - before[0].byPath[$0])) / measured.seconds
        }
        return outcome
    }
}

/// Several connections over common lines: a `SegmentWorld` each, on one clock.
final class FairnessWorld: InstantLoop {
    var now = Instant.zero
    var failure: String?
    private var flows: [SegmentWorld] = []
    private var lines: [SharedBottleneck] = []

    init(_ trial: FairnessTrial) {
        var random = SeededRandom(seed: trial.seed &* 7919 &+ 11)
        let pool = PacketPool(slotSize: 4096, limit: 1 << 17)
        let line = LinkConditions(rate: trial.rate, delay: .zero, queue: trial.queue)
        let count = trial.topology == .shared ? 1 : 2
        lines = (0..<count).map { _ in SharedBottleneck(line, pool: pool, seed: random.next()) }
        /// A path behind its line: up to a twentieth longer by the seed.
        func uplink(_ roundTrip: Interval) -> UplinkPlan {
            let oneWay = roundTrip / 2 + random.interval(.zero, roundTrip / 40)
            return UplinkPlan(LinkConditions(rate: nil, delay: oneWay, queueLimit: .max / 2))
        }
        func flow(
            _ congestion: CongestionAlgorithm, _ roundTrips: [Interval],
            _ lines: [SharedBottleneck]
        ) {
            var configuration = ConnectionConfiguration()
            configuration.subflow.congestion = congestion
            let scenario = Scenario(
                uplinks: roundTrips.map(uplink),
                streams: [StreamPlan(initiator: .nothing, listener: .bulk(1 << 40))])
            let world = SegmentWorld(
                scenario, seed: random.next(), configuration: configuration)
            world.bottlenecks = lines
            flows.append(world)
        }
        flow(
            trial.congestion, trial.roundTrips,
            trial.topology == .shared ? [lines[0], lines[0]] : lines)
        if trial.topology != .separate {
            for line in lines { flow(.newReno, [trial.plainRoundTrip], [line]) }
        }
    }

    /// What the applications have read, and what each path brought.
    var counts: [(read: Int, byPath: [Int])] {
        flows.map { flow in
            (
                flow.ends.initiator.read,
                (0..<2).map { flow.initiator.pathTotals(PathID($0)).received }
            )
        }
    }

    var isFinished: Bool { false }
    var engineDeadline: Instant { flows.map(\.engineDeadline).min() ?? .distantFuture }
    var nextEvent: Instant {
        let next = flows.map(\.nextEvent).min() ?? .distantFuture
        return lines.reduce(next) { min($0, $1.nextDelivery) }
    }

    func turn() -> Bool {
        var busy = false
        for line in lines { busy = line.deliver(at: now) || busy }
        for flow in flows {
            flow.now = now
            busy = flow.turn() || busy
            if let wrong = flow.failure { failure = wrong }
        }
        return busy
    }

    func describe() -> String { flows.map { $0.describe() }.joined(separator: "; ") }
}

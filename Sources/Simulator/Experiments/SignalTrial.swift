import Measures
import Multipath

/// A world drawn from a seed in which an uplink is taken away and the news of it is lost one to ten
/// times, or every time for a while; the echo meets loss, duplication and reordering, and the
/// uplink may be back before it. The bar: the concentrator is off the dead path within one round
/// trip of the first signal that arrives.
public struct SignalTrial: Sendable {
    /// All that is drawn follows from it.
    public let seed: UInt64
    /// Links, one upload or download, and the faults.
    public let scenario: Scenario
    /// Drawn from the seed.
    public let mode: HandoverMode
    /// The news is lost this often, and always until this time.
    public let losses: Int
    /// Before it every signal is lost.
    public let losesUntil: Instant
    /// When the uplink is lost.
    public let removedAt: Instant
    /// When it is back; nil: never.
    public let returnedAt: Instant?

    /// What a run brought.
    public struct Result: Sendable {
        /// The first thing that went wrong; nil where nothing did.
        public var failure: String?
        /// Equal for equal behaviour.
        public var trace = Trace()
        /// Read by both applications.
        public var bytes = 0
        /// Of the simulated time.
        public var length = Interval.zero
        /// From the loss of the uplink to the first signal that arrived.
        public var untilSignal: Interval?
        /// From that to the concentrator's last datagram into the dead path; negative: it had
        /// stopped before.
        public var untilOff: Interval?
    }

    /// What a repetition takes at most: the longest interval between two, and a link.
    private static let maximumRepetition = Interval.milliseconds(2500)
    /// Further repetitions that the links' own losses may cost.
    private static let spareRepetitions = 4

    /// Draws the trial.
    public init(seed: UInt64) {
        self.seed = seed
        var random = SeededRandom(seed: seed &* 0x9e6c_63d0_676a_9a99 &+ 5)
        mode = .allCases[random.number(0...2)]
        removedAt = .zero + random.interval(.milliseconds(800), .seconds(3))
        let isEveryOne = random.chance(0.2)
        var losses = isEveryOne ? 0 : random.number(1...10)
        losesUntil =
            isEveryOne ? removedAt + random.interval(.milliseconds(50), .seconds(3)) : .zero
        // A return is soon more often than late: the echo is still to come.
        let latest = Interval.milliseconds(random.chance(0.7) ? 300 : 3000)
        returnedAt =
            random.chance(0.4) ? removedAt + random.interval(.milliseconds(1), latest) : nil
        var uplinks: [UplinkPlan] = []
        for i in 0..<random.number(2...3) {
            uplinks.append(Self.uplink(isBackup: i > 0 && mode != .full, from: &random))
        }
        // Old news arrives after new: the removal after the return that followed it.
        if returnedAt != nil, random.chance(0.5) {
            losses = min(losses, 1)
            for i in 1..<uplinks.count {
                uplinks[i].up.reordering = 0.5
                uplinks[i].up.reorderDelay = .milliseconds(500)
            }
        }
        self.losses = losses
        var streams: [StreamPlan] = []
        for _ in 0..<random.number(1...3) { streams.append(Self.stream(uplinks[0], from: &random)) }
        scenario = Self.scenario(
            uplinks, streams, removedAt: removedAt, returnedAt: returnedAt,
            lastSignal: max(removedAt, losesUntil)
                + Self.maximumRepetition * Int64(losses + Self.spareRepetitions))
    }

    private static func scenario(
        _ uplinks: [UplinkPlan], _ streams: [StreamPlan], removedAt: Instant,
        returnedAt: Instant?, lastSignal: Instant
    ) -> Scenario {
        var scenario = Scenario(uplinks: uplinks, streams: streams)
        scenario.faults.append(Fault(at: removedAt, uplink: 0, change: .removed))
        if let returnedAt {
            scenario.faults.append(Fault(at: returnedAt, uplink: 0, change: .returned))
        }
        // Until then the world goes on; then the links are good, so that connections can wind up.
        let end = max(lastSignal, (returnedAt ?? .zero) + .seconds(3))
        for (i, uplink) in uplinks.enumerated() {
            scenario.faults.append(
                Fault(
                    at: end, uplink: i,
                    change: .conditions(
                        up: uplink.up.with { $0.loss = .none },
                        down: uplink.down.with { $0.loss = .none })))
        }
        return scenario
    }

    /// No corruption: a signal that arrives is one that can be read.
    private static func uplink(isBackup: Bool, from random: inout SeededRandom) -> UplinkPlan {
        func direction() -> LinkConditions {
            var link = LinkConditions(
                rate: .megabitsPerSecond(random.scaled(1, 50)),
                delay: random.interval(.milliseconds(2), .milliseconds(120)),
                queue: random.interval(.milliseconds(20), .seconds(2)))
            if random.chance(0.5) { link.loss = .random(random.scaled(0.01, 0.1)) }
            if random.chance(0.3) {
                link.reordering = random.scaled(0.01, 0.3)
                link.reorderDelay = random.interval(.milliseconds(1), .milliseconds(150))
            }
            if random.chance(0.3) { link.duplication = random.scaled(0.01, 0.3) }
            return link
        }
        let up = direction()
        var down = random.chance(0.5) ? up : direction()
        // A way back that loses half of everything: the echo comes late.
        if isBackup || random.chance(0.5), random.chance(0.3) { down.loss = .random(0.5) }
        return UplinkPlan(up: up, down: down, isBackup: isBackup)
    }

    private static func stream(_ uplink: UplinkPlan, from random: inout SeededRandom) -> StreamPlan
    {
        let size = 50_000 + Int(random.scaled(1, 1_000_000))
        switch random.number(0...3) {
        case 0: return StreamPlan(initiator: .nothing, listener: .bulk(size))
        case 1: return StreamPlan(initiator: .bulk(size), listener: .nothing)
        case 2:
            return StreamPlan(
                initiator: .requests(count: 60, size: 200, responseSize: 4000),
                listener: .responses(count: 60, size: 4000, requestSize: 200))
        default:
            let rate = Supply.constantRate(
                chunk: 300, period: .milliseconds(20),
                total: 300 * random.number(100...300))
            return StreamPlan(initiator: random.chance(0.3) ? rate : .nothing, listener: rate)
        }
    }

    // MARK: Running

    /// Runs it; `prepare` sees the world before its first turn.
    public func run(_ prepare: (World) -> Void = { _ in }) -> Result {
        var options = World.Options()
        options.mode = mode
        let world = World(scenario, seed: seed, options: options)
        let signals = SignalLoss(losses, lostUplink: 0, since: removedAt)
        signals.losesUntil = losesUntil
        signals.watchesUntil = returnedAt ?? .distantFuture
        prepare(world)
        signals.attach(to: world)
        world.run()
        var result = Result(
            failure: world.failure, trace: world.trace, bytes: world.bytesRead,
            length: world.now - .zero)
        judge(signals, &result)
        if result.failure == nil { result.failure = disagreement(world) }
        return result
    }

    /// At the end both must say the same of the path that was lost: gone, or back.
    private func disagreement(_ world: World) -> String? {
        let ours = world.proxy.report(at: world.now).sessions.first
        let theirs = world.concentrator.report(at: world.now).sessions.first
        guard let here = ours?.paths.first(where: { $0.uplink == "uplink0" }) else { return nil }
        let there = theirs?.paths.first { $0.number == here.number }
        let isGone = here.health == .lost
        if mode != .single, isGone != (returnedAt == nil) {
            return "the proxy takes the path for \(here.health)"
        }
        let other = there?.health ?? .lost
        return (other == .lost) == isGone
            ? nil
            : "the proxy takes the path for \(here.health), the concentrator for \(other)"
    }

    private func judge(_ signals: SignalLoss, _ result: inout Result) {
        let returned = returnedAt ?? .distantFuture
        if let arrived = signals.firstArrival, arrived < returned {
            result.untilSignal = arrived - removedAt
            let off = signals.lastOnLost - arrived
            result.untilOff = off
            if result.failure == nil, off > maximumRoundTrip {
                result.failure =
                    "the concentrator still sends on the dead path \(off.milliseconds) ms "
                    + "after the signal"
            }
        } else if result.failure == nil, returnedAt == nil, signals.wasDue || mode != .single {
            // In single mode the path may not have been open.
            result.failure = "no signal ever arrived; \(signals.lost) were lost"
        }
        if result.failure == nil, returnedAt != nil, mode != .single, signals.sentAfterReturn == 0 {
            result.failure = "the concentrator never used the returned path"
        }
    }

    /// Of the links that remain, without their queues.
    private var maximumRoundTrip: Interval {
        scenario.uplinks[1...].map { $0.up.delay + $0.down.delay }.max() ?? .zero
    }
}

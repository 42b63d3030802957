import Measures
import Multipath

/// A silent loss in the middle of a download, in a session of any age and history: on the paper's
/// links, WiFi goes silent while it carries the transfer; what the other uplink can carry must then
/// arrive.
///
/// Everything is drawn from the seed: the mode, how old the session is and what happened in it
/// before (transfers, idle minutes, rebindings, outages of either path, mode changes, a radio that
/// sleeps).
public struct SilentLossTrial: Hashable, Sendable {
    /// All that is drawn follows from it.
    public var seed: UInt64
    /// Drawn from the seed.
    public var mode: HandoverMode
    /// Links, streams and what happened before.
    public var scenario: Scenario
    /// When the download begins.
    public var transferAt: Instant
    /// When WiFi falls silent, for good.
    public var lossAt: Instant

    /// How long is looked on after the loss.
    public static let tail = Interval.seconds(25)
    /// The handover and, where the radio sleeps, its waking are over by then.
    public static let grace = Interval.seconds(4)

    /// Draws the trial.
    public init(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x7369_6c65_6e63_6500)
        self.seed = seed
        mode = .allCases[random.number(0...2)]
        var wifi = UplinkPlan(.wifi), cellular = UplinkPlan(.cellular)
        wifi.isBackup = false
        cellular.isBackup = mode != .full || random.chance(0.3)
        if random.chance(0.3) {
            cellular.radio = .init(
                sleepsAfter: random.interval(.milliseconds(500), .seconds(10)),
                wakeTime: random.interval(.milliseconds(100), .seconds(2)))
        }
        if random.chance(0.4) { Self.makeUneven(&cellular, from: &random) }
        let age =
            random.chance(0.2)
            ? Interval.seconds(1)
            : random.chance(0.5)
                ? random.interval(.seconds(2), .seconds(60))
                : random.interval(.seconds(60), .seconds(900))
        transferAt = .zero + age + .seconds(12)
        lossAt =
            transferAt
            + (random.chance(0.7)
                ? .seconds(5) + random.interval(.zero, .milliseconds(200))
                : random.interval(.milliseconds(200), .seconds(15)))
        let download = StreamPlan(
            at: transferAt, initiator: .nothing, listener: .bulk(60_000_000))
        scenario = Scenario(
            uplinks: [wifi, cellular],
            streams: [download] + Self.earlierStreams(within: age, from: &random))
        for _ in 0..<(random.chance(0.3) ? 0 : random.number(1...6)) {
            scenario.faults += Self.trouble(before: age, from: &random)
        }
        scenario.faults.append(Fault(at: transferAt - .seconds(5), uplink: 0, change: .mode(mode)))
        scenario.faults.append(
            Fault(
                at: lossAt, uplink: 0,
                change: .outage(
                    .blackHole,
                    random.chance(0.8)
                        ? .both
                        : random.chance(0.5) ? .down : .up)))
        scenario.faults = scenario.faults.enumerated()
            .sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
    }

    /// A cellular link that is not as even as the paper's; what it carries stays the same.
    private static func makeUneven(_ uplink: inout UplinkPlan, from random: inout SeededRandom) {
        if random.chance(0.7) {
            uplink.down.reordering = random.scaled(0.01, 0.3)
            uplink.down.reorderDelay = random.interval(.milliseconds(1), .milliseconds(40))
            uplink.up.reordering = uplink.down.reordering
            uplink.up.reorderDelay = uplink.down.reorderDelay
        }
        if random.chance(0.5) { uplink.down.loss = .random(random.scaled(0.0005, 0.01)) }
        if random.chance(0.5) { uplink.up.loss = .random(random.scaled(0.0005, 0.01)) }
        if random.chance(0.3) { uplink.down.duplication = random.scaled(0.001, 0.02) }
    }

    /// Transfers that begin before the download does, and connections that idle beside it.
    private static func earlierStreams(
        within age: Interval, from random: inout SeededRandom
    ) -> [StreamPlan] {
        var streams: [StreamPlan] = []
        for _ in 0..<(random.chance(0.3) ? 0 : random.number(1...30)) {
            var plan = StreamPlan.drawn(isFirst: false, from: &random)
            plan.initiatorReader = .eager
            plan.listenerReader = .eager
            plan.at = .zero + random.interval(.zero, age)
            streams.append(plan)
        }
        for _ in 0..<(random.chance(0.5) ? 0 : random.number(1...4)) {
            streams.append(
                StreamPlan(
                    at: .zero + random.interval(.milliseconds(200), age), initiator: .bulk(1),
                    listener: .constantRate(chunk: 1, period: .seconds(7200), total: 2)))
        }
        return streams
    }

    /// Something that began and ended before the transfer.
    private static func trouble(before age: Interval, from random: inout SeededRandom) -> [Fault] {
        let uplink = random.number(0...1),
            at = Instant.zero + random.interval(.milliseconds(20), age)
        let ends = min(
            at + random.interval(.milliseconds(10), .seconds(random.chance(0.3) ? 30 : 3)),
            .zero + age + .seconds(6))
        switch random.number(0...6) {
        case 0:
            return [
                Fault(at: at, uplink: uplink, change: .removed),
                Fault(at: ends, uplink: uplink, change: .returned)
            ]
        case 1, 2:
            return [
                Fault(at: at, uplink: uplink, change: .outage(.blackHole, .both)),
                Fault(at: ends, uplink: uplink, change: .outage(.none, .both))
            ]
        case 3: return [Fault(at: at, uplink: uplink, change: .rebind)]
        case 4: return [Fault(at: at, uplink: uplink, change: .roam)]
        case 5:
            return [Fault(at: at, uplink: uplink, change: .mode(.allCases[random.number(0...2)]))]
        default:
            return [
                Fault(at: at, uplink: uplink, change: .outage(.stall, .both)),
                Fault(at: ends, uplink: uplink, change: .outage(.none, .both))
            ]
        }
    }

    /// What a run brought.
    public struct Outcome {
        /// The first thing that went wrong; nil where nothing did.
        public var failure: String?
        /// The least share of the cellular rate that arrived in any three seconds, and when they
        /// began.
        public var minimumShare: Double
        /// When those three seconds began.
        public var minimumAt: Instant
        /// Over all the time after the grace.
        public var share: Double
        /// The longest time without a byte after the loss.
        public var longestGap: Interval
        /// Whether the cellular radio had to be woken.
        public var isAsleep: Bool
    }

    /// Runs it to its end.
    public func run(_ prepare: (World) -> Void = { _ in }) -> Outcome {
        var options = World.Options()
        options.mode = mode
        let world = World(scenario, seed: seed, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        prepare(world)
        world.run(until: lossAt + Self.tail, mayStop: true)
        let log = world.streams[0].initiator.log
        // Handles and streams hold each other.
        for stream in world.streams { stream.handles = (nil, nil) }
        let rate = Double(LinkConditions.cellular.rate?.bytesPerSecond ?? 1)
        let step = log.binWidth,
            first = Int((lossAt + Self.grace).nanoseconds / step.nanoseconds) + 1
        let last = Int((lossAt + Self.tail).nanoseconds / step.nanoseconds) - 1
        func bytes(_ bin: Int) -> Int { bin < log.bins.count ? log.bins[bin] : 0 }
        let perWindow = Int(Interval.seconds(3).nanoseconds / step.nanoseconds)
        let maximumHole = Int(Interval.seconds(1).nanoseconds / step.nanoseconds)
        var minimum = Double.infinity, minimumBin = first, total = 0
        for bin in first..<last { total += bytes(bin) }
        for bin in first..<(last - perWindow) {
            // Where nothing can be read at the window's end, what has arrived stands behind a
            // hole: it is counted, with the time until the hole is filled. A segment that is lost
            // with its repetition is missing for two round trips and two reordering windows at
            // least, half a second on this link, and 0.17 of three seconds.
            var end = bin + perWindow
            while end < min(last, bin + perWindow + maximumHole), bytes(end - 1) == 0 { end += 1 }
            let sum = (bin..<end).reduce(0) { $0 + bytes($1) }
            let share = Double(sum) / (Double(end - bin) * step.seconds) / rate
            if share < minimum { minimum = share; minimumBin = bin }
        }
        return Outcome(
            failure: world.failure, minimumShare: minimum,
            minimumAt: Instant(nanoseconds: step.nanoseconds * Int64(minimumBin)),
            share: Double(total) / rate / (Double(last - first) * step.seconds),
            longestGap: log.longestGap(from: lossAt, to: lossAt + Self.tail),
            isAsleep: scenario.uplinks[1].radio != nil)
    }
}

import Measures
import Multipath
import Tunnel

// Scenarios, and what they are made of, drawn from a seed.

extension Scenario {
    /// A scenario with every kind of trouble, drawn from `seed`. All faults end; some uplink works
    /// afterwards.
    public static func drawn(seed: UInt64) -> Scenario {
        var random = SeededRandom(seed: seed &* 0x2545_f491_4f6c_dd1d &+ 1)
        let hardship = random.unit()  // how bad this world is
        let count = 1 + Int(random.next() % 3)
        let uplinks = (0..<count).map { _ in UplinkPlan.drawn(hardship: hardship, from: &random) }
        let streams = (0..<(1 + Int(random.next() % 4))).map { i in
            StreamPlan.drawn(isFirst: i == 0, from: &random)
        }
        var scenario = Scenario(uplinks: uplinks, streams: streams)
        for (i, uplink) in uplinks.enumerated() {
            scenario.faults += uplink.drawnFaults(uplink: i, from: &random)
        }
        scenario.faults += furtherFaults(seed: seed, uplinks: count)
        scenario.narrow(seed: seed)
        // A stable order for equal times: that of the uplinks.
        scenario.faults = scenario.faults.enumerated()
            .sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
        return scenario
    }
}

extension Scenario {
    /// A scenario whose first stream has something to send for long after the last fault, on links
    /// that are mostly clean: where `RateChecker` has most to say.
    public static func drawnLong(seed: UInt64) -> Scenario {
        var random = SeededRandom(seed: seed ^ 0x6c6f_6e67_0000_0000)
        let hardship = random.chance(0.7) ? 0 : random.unit() * 0.3
        let uplinks = (0..<random.number(1...3)).map { _ in
            var plan = UplinkPlan.drawn(hardship: hardship, from: &random)
            plan.up.rate = .megabitsPerSecond(random.scaled(0.5, 20))
            plan.down.rate = .megabitsPerSecond(random.scaled(0.5, 20))
            return plan
        }
        // As much as the fastest uplinks carry in so many seconds.
        let seconds = Interval.seconds(Int64(random.number(18...30)))
        let down = uplinks.compactMap { $0.down.rate?.bytes(in: seconds) }.reduce(0, +)
        let up = uplinks.compactMap { $0.up.rate?.bytes(in: seconds) }.reduce(0, +)
        var streams: [StreamPlan] = [
            random.chance(0.6)
                ? StreamPlan(initiator: .nothing, listener: .bulk(down))
                : random.chance(0.6)
                    ? StreamPlan(initiator: .bulk(up), listener: .nothing)
                    : StreamPlan(initiator: .bulk(up), listener: .bulk(down))
        ]
        for _ in 0..<random.number(0...3) {
            streams.append(StreamPlan.drawn(isFirst: false, from: &random))
        }
        var scenario = Scenario(uplinks: uplinks, streams: streams)
        scenario.timeLimit = .seconds(1200)
        for (i, uplink) in uplinks.enumerated() {
            scenario.faults += uplink.drawnFaults(uplink: i, from: &random)
        }
        scenario.faults += furtherFaults(seed: seed, uplinks: uplinks.count)
        scenario.narrow(seed: seed)
        scenario.faults = scenario.faults.enumerated()
            .sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
        return scenario
    }
}

extension Scenario {
    /// Trouble with addresses and signals, in every second world; drawn apart, so that older seeds
    /// keep the rest.
    private static func furtherFaults(seed: UInt64, uplinks: Int) -> [Fault] {
        var random = SeededRandom(seed: seed ^ 0x6164_6472_6573_7300)
        guard random.chance(0.5) else { return [] }
        var faults: [Fault] = []
        for _ in 0..<random.number(1...4) {
            let uplink = random.number(0...(uplinks - 1))
            let at = Instant.zero + random.interval(.milliseconds(20), .seconds(8))
            switch random.number(0...4) {
            case 0: faults.append(Fault(at: at, uplink: uplink, change: .renumbered))
            case 1: faults.append(Fault(at: at, uplink: uplink, change: .roam))
            case 2:
                let ends = at + random.interval(.milliseconds(10), .seconds(2))
                faults += [
                    Fault(at: at, uplink: uplink, change: .announced(false)),
                    Fault(at: ends, uplink: uplink, change: .announced(true))
                ]
            default:
                let direction: Fault.Direction =
                    random.chance(0.5) ? .both : random.chance(0.5) ? .up : .down
                let ends = at + random.interval(.milliseconds(10), .seconds(3))
                faults += [
                    Fault(
                        at: at, uplink: uplink,
                        change: .smallLoss(0.3 + random.unit() * 0.7, direction)),
                    Fault(at: ends, uplink: uplink, change: .smallLoss(0, direction))
                ]
            }
        }
        return faults
    }
}

extension Scenario {
    /// Packets of fewer than 1,500 bytes, from the start or from some moment on, in every third
    /// world; drawn apart, too. The first uplink takes 1,280, or nothing might ever arrive.
    mutating func narrow(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x6e61_7272_6f77_0000)
        guard random.chance(0.33) else { return }
        for i in uplinks.indices {
            let minimum = i > 0 && random.chance(0.2) ? 600 : 1280
            if random.chance(0.5) { uplinks[i].up.mtu = random.number(minimum...1500) }
            if random.chance(0.5) { uplinks[i].down.mtu = random.number(minimum...1500) }
            guard random.chance(0.4) else { continue }
            let direction: Fault.Direction =
                random.chance(0.5) ? .both : random.chance(0.5) ? .up : .down
            faults.append(
                Fault(
                    at: .zero + random.interval(.milliseconds(20), .seconds(6)), uplink: i,
                    change: .mtu(random.number(minimum...1500), direction)))
        }
    }
}

extension SeededRandom {
    mutating func number(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(next() % UInt64(range.count))
    }
    /// Spread evenly over the orders of magnitude.
    mutating func scaled(_ low: Double, _ high: Double) -> Double {
        // Powers of two and a straight line between them: no library needed.
        let ratio = high / low
        var doublings = 0, reach = 1.0
        while reach * 2 <= ratio { reach *= 2; doublings += 1 }
        let step = number(0...doublings)
        var base = low
        for _ in 0..<step { base *= 2 }
        return min(high, base * (1 + unit()))
    }
    mutating func interval(_ low: Interval, _ high: Interval) -> Interval {
        low + Interval(nanoseconds: Int64(unit() * Double((high - low).nanoseconds)))
    }
}

extension LinkConditions {
    static func drawn(hardship: Double, from random: inout SeededRandom) -> LinkConditions {
        var link = LinkConditions(
            rate: .megabitsPerSecond(random.scaled(0.5, 100)),
            delay: random.interval(
                .microseconds(200),
                .milliseconds(
                    random.chance(0.3) ? 150 : 40)),
            queue: Interval(seconds: random.scaled(0.01, 2)))
        if random.chance(hardship) {
            link.loss =
                random.chance(0.7)
                ? .random(random.scaled(0.001, 0.1))
                : .bursts(
                    enter: random.scaled(0.001, 0.02), leave: random.scaled(0.1, 0.5),
                    inside: 0.5 + random.unit() / 2)
        }
        if random.chance(hardship / 2) {
            link.reordering = random.scaled(0.001, 0.2)
            link.reorderDelay = random.interval(.microseconds(100), .milliseconds(40))
        }
        if random.chance(hardship / 2) { link.duplication = random.scaled(0.001, 0.1) }
        if random.chance(hardship / 3) { link.corruption = random.scaled(0.001, 0.05) }
        return link
    }
}

extension UplinkPlan {
    static func drawn(hardship: Double, from random: inout SeededRandom) -> UplinkPlan {
        let up = LinkConditions.drawn(hardship: hardship, from: &random)
        var down = random.chance(0.5) ? up : LinkConditions.drawn(hardship: hardship, from: &random)
        if random.chance(0.5) { down.delay = up.delay }
        return UplinkPlan(
            up: up, down: down, isBackup: random.chance(0.15),
            radio: random.chance(0.15)
                ? .init(
                    sleepsAfter: random.interval(.milliseconds(500), .seconds(5)),
                    wakeTime: random.interval(.milliseconds(100), .seconds(2))) : nil)
    }

    /// Zero to three troubles in the first twelve seconds, each with its end.
    func drawnFaults(uplink: Int, from random: inout SeededRandom) -> [Fault] {
        var faults: [Fault] = []
        var at = Instant.zero
        for _ in 0..<random.number(0...3) {
            at += random.interval(.milliseconds(20), .seconds(3))
            let ends = at + random.interval(.milliseconds(10), .seconds(random.chance(0.2) ? 6 : 1))
            switch random.number(0...5) {
            case 0:
                faults += [
                    Fault(at: at, uplink: uplink, change: .removed),
                    Fault(at: ends, uplink: uplink, change: .returned)
                ]
            case 1, 2:
                let direction: Fault.Direction =
                    random.chance(0.6) ? .both : random.chance(0.5) ? .up : .down
                let kind = random.chance(0.8) ? LinkConditions.Outage.blackHole : .stall
                faults += [
                    Fault(at: at, uplink: uplink, change: .outage(kind, direction)),
                    Fault(at: ends, uplink: uplink, change: .outage(.none, direction))
                ]
            case 3:
                faults += [
                    Fault(
                        at: at, uplink: uplink,
                        change: .conditions(
                            up: .drawn(hardship: 1, from: &random),
                            down: .drawn(hardship: 1, from: &random))),
                    Fault(at: ends, uplink: uplink, change: .conditions(up: up, down: down))
                ]
            case 4:
                faults.append(Fault(at: at, uplink: uplink, change: .rebind))
            default:
                faults.append(
                    Fault(at: at, uplink: uplink, change: .mode(.allCases[random.number(0...2)])))
            }
            at = ends
        }
        return faults
    }
}

extension StreamPlan {
    static func drawn(isFirst: Bool, from random: inout SeededRandom) -> StreamPlan {
        let at = isFirst ? Instant.zero : .zero + random.interval(.zero, .seconds(4))
        let size = Int(random.scaled(1, 1_500_000))
        var plan: StreamPlan
        switch random.number(0...5) {
        case 0: plan = StreamPlan(at: at, initiator: .nothing, listener: .bulk(size))
        case 1: plan = StreamPlan(at: at, initiator: .bulk(size), listener: .nothing)
        case 2: plan = StreamPlan(at: at, initiator: .bulk(size), listener: .echo(total: size))
        case 3:
            let count = random.number(1...30), ask = random.number(1...3000),
                reply = Int(random.scaled(1, 30_000))
            plan = StreamPlan(
                at: at, initiator: .requests(count: count, size: ask, responseSize: reply),
                listener: .responses(count: count, size: reply, requestSize: ask))
        case 4:
            let chunk = random.number(20...1400)
            plan = StreamPlan(
                at: at,
                initiator: .constantRate(
                    chunk: chunk, period: .milliseconds(20),
                    total: chunk * random.number(1...300)),
                listener: .constantRate(
                    chunk: 160, period: .milliseconds(20),
                    total: 160 * random.number(1...300)))
        default: plan = StreamPlan(at: at, initiator: .bulk(size / 3), listener: .bulk(size))
        }
        if random.chance(0.15) {
            plan.initiatorReader = .slow(.megabitsPerSecond(random.scaled(0.5, 20)))
        }
        if random.chance(0.15) {
            plan.listenerReader = .slow(.megabitsPerSecond(random.scaled(0.5, 20)))
        }
        if random.chance(0.1) {
            plan.initiatorReader = .pausing(
                at: size / 2,
                for: random.interval(.milliseconds(100), .seconds(8)))
        }
        return plan
    }
}

extension SegmentWorld {
    /// A configuration drawn from `seed`: with and without early data, small and large windows.
    public static func drawnConfiguration(seed: UInt64) -> ConnectionConfiguration {
        var random = SeededRandom(seed: seed ^ 0x7365_676d_656e_7473)
        var configuration = World.Options.drawn(seed: seed).connection
        configuration.framing = random.chance(0.8) ? .sealed : .rawIP
        configuration.subflow.timestamps = random.chance(0.2)
        configuration.subflow.selectiveAcknowledgement = !random.chance(0.1)
        configuration.subflow.maximumSegmentSize =
            random.chance(0.8) ? 1400 : random.number(300...1400)
        return configuration
    }
}

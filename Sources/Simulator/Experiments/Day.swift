import Measures
import Multipath
import Tunnel

/// A day with a phone, drawn from a seed: mail in the background, browsing, a call, downloads, a
/// film, and mostly nothing; at home, at work and on the way, with WiFi that comes and goes.
public struct Day: Hashable, Sendable {
    /// Which mode the proxy has.
    public enum Choice: String, CaseIterable, Hashable, Sendable {
        case full, backup, single, auto
        /// By use, and told when somebody uses the phone.
        case hinted = "auto with hints"

        var fixed: HandoverMode? { HandoverMode(rawValue: rawValue) }
    }

    /// Of the day and all chance.
    public var seed: UInt64
    /// How the mode is chosen.
    public var choice: Choice
    /// Of WiFi and cellular.
    public var radios: [RadioProfile]

    /// The same day for every choice.
    public init(seed: UInt64, choice: Choice, radios: [RadioProfile]) {
        self.seed = seed
        self.choice = choice
        self.radios = radios
    }

    /// What it came to.
    public struct Outcome: Sendable {
        /// Of WiFi and cellular.
        public var energies: [RadioEnergy] = []
        /// Bytes over WiFi and cellular, both ways, with IP and UDP headers.
        public var bytes = [0, 0]
        /// For pages; for downloads and uploads; for the film.
        public var pages = Waiting(), transfers = Waiting(), film = Waiting()
        /// Of the call: what was not heard in time.
        public var call = Waiting()
        /// The first thing that went wrong; nil where nothing did.
        public var failure: String?

        /// Joules of both radios.
        public var joules: Double { energies.reduce(0) { $0 + $1.joules } }
        /// All that was waited, and what was not heard.
        public var waiting: Waiting {
            var all = pages
            all += transfers
            all += film
            all += call
            return all
        }
    }

    private static let length = Interval.seconds(24 * 3600)

    /// Runs it. `telling`: what happens, with the joules of WiFi and cellular so far; what was
    /// waited for each thing of each use, at the end.
    public func run(telling: ((String) -> Void)? = nil) -> Outcome {
        let plan = plan
        var options = World.Options()
        options.mode = choice.fixed ?? .single
        options.followsUse = choice.fixed == nil
        let world = World(plan.scenario, seed: seed, options: options)
        var meters = radios.map { RadioMeter($0, from: .zero) }
        var outcome = Outcome()
        world.traceRadios { packet in
            outcome.bytes[packet.radio] += packet.bytes
            meters[packet.radio].packet(packet.bytes, isUp: packet.isUp, at: packet.at)
        }
        if let telling {
            world.noted = { at, what in
                for i in meters.indices { meters[i].advance(to: at) }
                let joules = meters.map { "\(Int($0.energy))" }.joined(separator: " ")
                telling("\((at - .zero).seconds) s [\(joules) J] \(what)")
            }
        }
        let end = Instant.zero + Self.length
        world.run(until: end, mayStop: true)
        for i in meters.indices { meters[i].advance(to: end) }
        outcome.energies = meters.map { RadioEnergy(joules: $0.energy, promotions: $0.promotions) }
        outcome.failure = world.failure
        for (i, kind) in plan.kinds.enumerated() { outcome.take(world.streams[i], kind, end) }
        if let telling { tell(world.streams, plan, telling) }
        if let call = world.call { outcome.take(call) }
        return outcome
    }

    private func tell(_ streams: [World.Stream], _ plan: Plan, _ telling: (String) -> Void) {
        for (stream, kind) in zip(streams, plan.kinds) where kind != .mail {
            let near = stream.initiator as? WaitingEnd
            let waits = near?.waits.map { "\(($0.seconds * 100).rounded() / 100)" } ?? []
            let begins = (stream.plan.at - .zero).seconds
            telling("\(begins) s: \(kind), s: \(waits.joined(separator: " "))")
        }
    }

    // MARK: The day

    /// What a stream is to the person.
    fileprivate enum Kind { case mail, pages, transfer, film }

    private struct Plan {
        var scenario: Scenario
        var kinds: [Kind] = []
        /// When somebody has the phone in hand.
        var uses: [Range<Instant>] = []
    }

    private static func hour(_ hour: Double) -> Instant { .zero + Interval(seconds: hour * 3600) }

    /// When which part of the day begins.
    private struct Times {
        var leavesHome, reachesWork, leavesForLunch, isBack, leavesWork, reachesHome: Instant

        init(_ random: inout SeededRandom) {
            leavesHome = Day.hour(8) + random.interval(.zero, .seconds(1800))
            reachesWork = leavesHome + random.interval(.seconds(1500), .seconds(2700))
            leavesForLunch = Day.hour(12) + random.interval(.zero, .seconds(1800))
            isBack = leavesForLunch + random.interval(.seconds(1800), .seconds(3000))
            leavesWork = Day.hour(17) + random.interval(.zero, .seconds(3600))
            reachesHome = leavesWork + random.interval(.seconds(1500), .seconds(2700))
        }
    }

    private var plan: Plan {
        var random = SeededRandom(seed: seed ^ 0x6461_7900_0000_0001)
        let times = Times(&random)
        var cellular = UplinkPlan(cell(&random))
        cellular.radio = radios.count > 1 ? radios[1].plan : nil
        cellular.isBackup = choice != .full
        var plan = Plan(
            scenario: Scenario(uplinks: [UplinkPlan(wifi(&random)), cellular], streams: []))
        addStreams(&plan, times, &random)
        plan.scenario.call = call(times, &random)
        if let call = plan.scenario.call { plan.uses.append(call.begins..<call.ends) }
        var faults = coverage(times, &random) + cellularFaults(times, &random)
        for use in plan.uses where random.chance(0.3) { faults += dip(in: use, &random) }
        if choice == .hinted { faults += hints(plan.uses) }
        plan.scenario.faults = faults.enumerated()
            .sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
        return plan
    }

    private func wifi(_ random: inout SeededRandom) -> LinkConditions {
        LinkConditions(
            rate: .megabitsPerSecond(random.scaled(4, 24)),
            delay: random.interval(.milliseconds(8), .milliseconds(20)), queue: .milliseconds(200))
    }

    private func cell(_ random: inout SeededRandom) -> LinkConditions {
        LinkConditions(
            rate: .megabitsPerSecond(random.scaled(1, 4)),
            delay: random.interval(.milliseconds(30), .milliseconds(80)), queue: .seconds(2))
    }

    // MARK: What is done

    private func addStreams(_ plan: inout Plan, _ times: Times, _ random: inout SeededRandom) {
        let minutes = { (n: Double) in Interval(seconds: 60 * n) }
        var mail = requests(
            at: .zero + .seconds(60), count: 1_000, size: random.number(5_000...60_000))
        mail.pause = .seconds(600)
        plan.scenario.streams.append(mail)
        plan.kinds.append(.mail)
        let begins = [
            Self.hour(7.2), times.leavesHome + minutes(6), Self.hour(10.2),
            times.leavesForLunch + minutes(8), Self.hour(16), times.leavesWork + minutes(6),
            Self.hour(19.5), Self.hour(22.7)
        ]
        for begin in begins {
            let pages = random.number(6...14)
            let pause = random.interval(.seconds(10), .seconds(45))
            var stream = requests(
                at: begin + random.interval(.zero, minutes(5)), count: pages,
                size: Int(random.scaled(200_000, 1_600_000)))
            stream.pace = .reading(pause)
            add(stream, .pages, lasts: (pause + .seconds(3)) * Int64(pages), &plan)
        }
        for (at, size) in [(14.0, 20_000_000...60_000_000), (18.9, 30_000_000...80_000_000)] {
            var stream = requests(
                at: Self.hour(at) + random.interval(.zero, minutes(30)), count: 1,
                size: random.number(size))
            stream.pace = .reading(.zero)
            add(stream, .transfer, lasts: minutes(1), &plan)
        }
        let upload = StreamPlan(
            at: Self.hour(20) + random.interval(.zero, minutes(15)),
            initiator: .bulk(random.number(5_000_000...15_000_000)), listener: .nothing)
        add(upload, .transfer, lasts: .seconds(20), &plan)
        let segments = random.number(220...380), rate = 1 + 0.6 * random.unit()
        var film = requests(
            at: Self.hour(20.5) + random.interval(.zero, minutes(40)), count: segments,
            size: Int(rate * 500_000))
        film.pace = .playing(segment: .seconds(4), ahead: .seconds(30))
        add(film, .film, lasts: .seconds(4) * Int64(segments), &plan)
    }

    private func requests(at: Instant, count: Int, size: Int) -> StreamPlan {
        StreamPlan(
            at: at, initiator: .requests(count: count, size: 400, responseSize: size),
            listener: .responses(count: count, size: size, requestSize: 400))
    }

    private func add(_ stream: StreamPlan, _ kind: Kind, lasts: Interval, _ plan: inout Plan) {
        plan.scenario.streams.append(stream)
        plan.kinds.append(kind)
        plan.uses.append(stream.at..<(stream.at + lasts))
    }

    /// At work, or while leaving a place with WiFi.
    private func call(_ times: Times, _ random: inout SeededRandom) -> CallPlan {
        var call = CallPlan.voice
        let places = [times.leavesHome, times.leavesForLunch, times.leavesWork]
        let leaves = places[random.number(0...2)] - random.interval(.seconds(60), .seconds(240))
        let atWork = Self.hour(11) + random.interval(.zero, .seconds(1800))
        call.begins = random.chance(0.5) ? leaves : atWork
        call.ends = call.begins + random.interval(.seconds(240), .seconds(600))
        return call
    }

    // MARK: What the networks do

    private func coverage(_ times: Times, _ random: inout SeededRandom) -> [Fault] {
        var gaps = [
            times.leavesForLunch..<times.isBack
        ]
        for way in [times.leavesHome..<times.reachesWork, times.leavesWork..<times.reachesHome] {
            var at = way.lowerBound
            for _ in 0..<random.number(2...4) {
                let next = at + random.interval(.seconds(180), .seconds(480))
                let stays = random.interval(.seconds(40), .seconds(150))
                guard next + stays < way.upperBound - .seconds(30) else { break }
                gaps.append(at..<next)
                at = next + stays
            }
            gaps.append(at..<way.upperBound)
        }
        return gaps.flatMap { gap in
            let fades = random.interval(.zero, .seconds(2)), link = wifi(&random)
            return [
                Fault(at: gap.lowerBound - fades, uplink: 0, change: .outage(.blackHole, .both)),
                Fault(at: gap.lowerBound, uplink: 0, change: .removed),
                Fault(at: gap.upperBound, uplink: 0, change: .outage(.none, .both)),
                Fault(at: gap.upperBound, uplink: 0, change: .conditions(up: link, down: link)),
                Fault(at: gap.upperBound, uplink: 0, change: .roam),
                Fault(at: gap.upperBound, uplink: 0, change: .returned)
            ]
        }
    }

    private func cellularFaults(_ times: Times, _ random: inout SeededRandom) -> [Fault] {
        [
            times.leavesHome, times.reachesWork, times.leavesForLunch, times.isBack,
            times.leavesWork, times.reachesHome
        ].map {
            let link = cell(&random)
            return Fault(at: $0, uplink: 1, change: .conditions(up: link, down: link))
        }
    }

    /// WiFi says nothing for a while, in the middle of something.
    private func dip(in use: Range<Instant>, _ random: inout SeededRandom) -> [Fault] {
        let at = use.lowerBound + random.interval(.zero, use.upperBound - use.lowerBound)
        let ends = at + random.interval(.milliseconds(500), .seconds(6))
        return [
            Fault(at: at, uplink: 0, change: .outage(.blackHole, .both)),
            Fault(at: ends, uplink: 0, change: .outage(.none, .both))
        ]
    }

    private func hints(_ uses: [Range<Instant>]) -> [Fault] {
        [Fault(at: .zero + .seconds(1), uplink: 0, change: .use(.idle))]
            + uses.flatMap { use in
                [
                    Fault(at: use.lowerBound, uplink: 0, change: .use(.inUse)),
                    Fault(at: use.upperBound, uplink: 0, change: .use(.idle))
                ]
            }
    }
}

extension Day.Outcome {
    fileprivate mutating func take(_ stream: World.Stream, _ kind: Day.Kind, _ end: Instant) {
        guard let near = stream.initiator as? WaitingEnd else {
            guard kind == .transfer, stream.initiator.began != nil else { return }
            transfers.time += (stream.listener.log.last ?? end) - stream.plan.at
            return
        }
        let waited = near.waited(until: end)
        switch kind {
        case .mail: break
        case .pages: pages += waited
        case .transfer: transfers += waited
        case .film: film += waited
        }
    }

    /// Of both directions the one that was heard worse.
    fileprivate mutating func take(_ call: WorldCall) {
        for log in [call.up.log, call.down.log] {
            let usual = log.usualDelay(before: .distantFuture) ?? .zero
            var missed = Waiting(), run = Interval.zero
            for (_, delay) in log.delays {
                if delay.map({ $0 > usual + .milliseconds(150) }) ?? true {
                    run += log.period
                } else {
                    missed.time += run
                    missed.note(pause: run)
                    run = .zero
                }
            }
            missed.time += run
            missed.note(pause: run)
            if missed.time > self.call.time { self.call = missed }
        }
    }
}

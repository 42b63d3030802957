import Measures
import Multipath
import Tunnel

/// Twenty minutes on the way to work: coverage of WiFi and of a cellular network comes and goes.
public struct Commute: Hashable, Sendable {
    /// What is done on the way.
    public enum Use: Hashable, Sendable {
        /// Something is listened to: `chunk` bytes every `period`.
        case stream
        /// As much is fetched as can be, and a call in datagrams goes on beside it.
        case downloadAndCall
    }

    /// Of the trace and all chance.
    public var seed: UInt64
    /// Of the connections.
    public var mode: HandoverMode
    /// What the cellular uplink costs beside WiFi, at the scheduler's.
    public var cost = PathCosts.Cost.usual
    /// The mode follows from use instead.
    public var followsUse = false
    /// Of the way.
    public var length = Interval.seconds(1200)
    /// How many times as fast coverage comes and goes as on a way of twenty minutes.
    public var pace = 1.0
    /// What the traveller does meanwhile.
    public var use = Use.stream
    /// Of WiFi and cellular.
    public var radios: [RadioProfile]
    /// What is listened to: bytes every so often.
    public var chunk = 1250
    /// See `chunk`: 500 kbit/s.
    public var period = Interval.milliseconds(20)

    /// A stream of 500 kbit/s.
    public init(seed: UInt64, mode: HandoverMode, radios: [RadioProfile]) {
        self.seed = seed
        self.mode = mode
        self.radios = radios
    }

    /// What it came to.
    public struct Outcome: Sendable {
        /// When the bytes came.
        public var log: ReceptionLog
        /// Time without a byte beyond half a second each, added up.
        public var waited = Interval.zero
        /// The longest such time, from its beginning.
        public var longest = Interval.zero
        /// Bytes of what was fetched, or listened to, and the time that it had.
        public var received = 0, time = Interval.zero
        /// Of the call, in the worse direction: what was not heard in time; nil where there is
        /// none.
        public var missed: Interval?
        /// Of WiFi and cellular.
        public var energies: [RadioEnergy]
        /// Bytes over WiFi and cellular, both ways, with IP and UDP headers.
        public var bytes = [0, 0]
        /// Of what was received, Mbit/s.
        public var megabits: Double { Double(received) * 8e-6 / max(time.seconds, 1e-3) }
        /// At 5 a GB over cellular, and nothing over WiFi.
        public var money: Double { 5 * Double(bytes[1]) / 1e9 }
        /// The first thing that went wrong; nil where nothing did.
        public var failure: String?
    }

    /// Runs the trial to its end.
    public func run() -> Outcome {
        let scenario = scenario
        var options = World.Options()
        options.mode = mode
        options.followsUse = followsUse
        let world = World(scenario, seed: seed, options: options)
        world.streams[0].initiator.log.keepsArrivals = true
        world.streams[0].initiator.log.binWidth = .seconds(5)
        var trace = PacketTrace()
        world.traceRadios { trace.note($0) }
        let end = Instant.zero + length
        world.run(until: end, mayStop: true)
        let call = world.call.map { CallRecord(up: $0.up.log, down: $0.down.log) }
        return outcome(
            world.streams[0].initiator.log, trace, call: call, failure: world.failure)
    }

    /// What it came to, simulated or on sockets. `log`: with all arrivals.
    public func outcome(
        _ log: ReceptionLog, _ trace: PacketTrace, call: CallRecord?, failure: String?
    ) -> Outcome {
        let end = Instant.zero + length
        var outcome = Outcome(
            log: log, energies: trace.energies(radios, from: .zero, to: end), failure: failure)
        for packet in trace.packets where packet.at <= end {
            outcome.bytes[packet.radio] += packet.bytes
        }
        var last = Self.begins
        for at in log.arrivals.map(\.at) + [end] {
            let gap = at - last
            outcome.longest = max(outcome.longest, gap)
            if gap > .milliseconds(500) { outcome.waited += gap - .milliseconds(500) }
            last = at
        }
        outcome.received = log.arrivals.last?.total ?? 0
        outcome.time = end - Self.begins
        outcome.missed = call.map { call in
            [call.up, call.down].map {
                $0.missed(
                    in: .zero..<end, usual: $0.usualDelay(before: .distantFuture) ?? .zero)
            }.reduce(.zero, max)
        }
        return outcome
    }

    // MARK: The trace

    /// When the application begins; the session stands by then.
    public static let begins = Instant.zero + .seconds(1)
    /// A call's last datagrams have so long to arrive.
    private static let callEnd = Interval.milliseconds(500)

    /// The same for each mode: WiFi for 20 s to 2 min at a time, with 10 to 90 s without; the
    /// cellular link's rate changes every 10 to 60 s, and holes of 2 to 15 s are in it.
    public var scenario: Scenario {
        var random = SeededRandom(seed: seed ^ 0x636f_6d6d_7574_6500)
        var wifi = UplinkPlan(.wifi, radio: nil), cellular = UplinkPlan(.cellular)
        cellular.radio = radios.count > 1 ? radios[1].plan : nil
        cellular.isBackup = mode != .full || followsUse
        cellular.cost = cost
        wifi.isBackup = false
        let count = Int((length - .seconds(1)).nanoseconds / period.nanoseconds) + 1
        let supply =
            switch use {
            case .stream:
                Supply.constantRate(chunk: chunk, period: period, total: count * chunk)
            case .downloadAndCall:
                // More than both links carry.
                Supply.bulk(Int(length.seconds) * 4_000_000)
            }
        var scenario = Scenario(
            uplinks: [wifi, cellular],
            streams: [StreamPlan(at: Self.begins, initiator: .nothing, listener: supply)])
        if use == .downloadAndCall {
            var call = CallPlan.voice
            call.begins = Self.begins
            call.ends = .zero + length - Self.callEnd
            scenario.call = call
        }
        scenario.faults = wifiFaults(&random) + cellularFaults(&random)
        scenario.faults = scenario.faults.enumerated()
            .sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
        return scenario
    }

    /// A stretch of coverage, or of what it is like, between these at a pace of 1.
    private func stretch(
        _ least: Interval, _ most: Interval, _ random: inout SeededRandom
    ) -> Interval {
        random.interval(
            Interval(seconds: least.seconds / pace), Interval(seconds: most.seconds / pace))
    }

    /// WiFi fades: nothing gets through for up to 2 s, then the interface goes. The next one has
    /// another address and rate.
    private func wifiFaults(_ random: inout SeededRandom) -> [Fault] {
        var faults: [Fault] = [], at = Instant.zero
        while true {
            at += stretch(.seconds(20), .seconds(120), &random)
            let fades = at
            at += random.interval(.zero, .seconds(2))
            let leaves = at
            at += stretch(.seconds(10), .seconds(90), &random)
            guard at < .zero + length else { return faults }
            let link = LinkConditions(
                rate: .megabitsPerSecond(random.scaled(2, 20)), delay: .milliseconds(15),
                queue: .milliseconds(200))
            faults += [
                Fault(at: fades, uplink: 0, change: .outage(.blackHole, .both)),
                Fault(at: leaves, uplink: 0, change: .removed),
                Fault(at: at, uplink: 0, change: .outage(.none, .both)),
                Fault(at: at, uplink: 0, change: .conditions(up: link, down: link)),
                Fault(at: at, uplink: 0, change: .roam),
                Fault(at: at, uplink: 0, change: .returned)
            ]
        }
    }

    private func cellularFaults(_ random: inout SeededRandom) -> [Fault] {
        var faults: [Fault] = [], at = Instant.zero
        while true {
            at += stretch(.seconds(10), .seconds(60), &random)
            guard at < .zero + length - Interval(seconds: 20 / pace) else { return faults }
            let link = LinkConditions(
                rate: .megabitsPerSecond(random.scaled(0.4, 4)),
                delay: random.interval(.milliseconds(30), .milliseconds(80)), queue: .seconds(2))
            faults.append(Fault(at: at, uplink: 1, change: .conditions(up: link, down: link)))
            guard random.chance(0.2) else { continue }
            let ends = at + stretch(.seconds(2), .seconds(15), &random)
            faults += [
                Fault(at: at, uplink: 1, change: .outage(.blackHole, .both)),
                Fault(at: ends, uplink: 1, change: .outage(.none, .both))
            ]
            at = ends
        }
    }
}

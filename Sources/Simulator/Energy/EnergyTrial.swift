import Measures
import Multipath
import Tunnel

/// Downloads one after the other on a phone with two radios: what they cost a battery (the paper's
/// section 4.4).
public struct EnergyTrial: Hashable, Sendable {
    /// Which interfaces are up. The radio of one that is not is idle.
    public enum Uses: String, Hashable, Sendable, CaseIterable { case wifi, cellular, both }

    /// Which are up.
    public var uses: Uses
    /// Of the connections, where both are.
    public var mode = HandoverMode.full
    /// The cellular uplink's path is kept ready (`warm`) in the modes that make it a backup.
    public var isWarm = false
    /// Of WiFi and cellular.
    public var rates: [Rate]
    /// Of WiFi and cellular.
    public var radios: [RadioProfile]
    /// Bytes of one download.
    public var size: Int
    /// How many downloads there are.
    public var count: Int
    /// From the end of one to the request for the next.
    public var pause: Interval
    /// Of all chance.
    public var seed: UInt64

    /// Both links at `rate`, in full mode where both are used.
    public init(
        _ uses: Uses, rate: Rate, radios: [RadioProfile], size: Int, count: Int, pause: Interval,
        seed: UInt64 = 1
    ) {
        self.uses = uses
        rates = [rate, rate]
        self.radios = radios
        self.size = size
        self.count = count
        self.pause = pause
        self.seed = seed
    }

    /// The session stands when the first is asked for, its keepalive of 20 s has gone, and the
    /// radios rest again.
    public static let start = Instant.zero + .seconds(40)
    private static let requestSize = 200

    /// What it came to.
    public struct Outcome: Sendable {
        /// Of WiFi and cellular, from the first request to the end: that of the last download, and
        /// the pause behind it where there is one.
        public var energies: [RadioEnergy]
        /// From the first request to the end.
        public var duration: Interval
        /// Bits that the application got.
        public var bits: Int
        /// What the radios carried, from time zero on.
        public var trace: PacketTrace
        /// What wrong byte or stuck stream there was.
        public var failure: String?

        /// Joules of both.
        public var joules: Double { energies.reduce(0) { $0 + $1.joules } }
        /// Microjoules for each bit of the application's.
        public var microjoulesPerBit: Double { joules / Double(max(1, bits)) * 1e6 }
    }

    /// Which radio the uplink `i` of the world is.
    private var radioOfUplink: [Int] {
        switch uses {
        case .wifi: [0]
        case .cellular: [1]
        case .both: [0, 1]
        }
    }

    private func uplink(_ radio: Int) -> UplinkPlan {
        let links: [LinkConditions] = [.wifi, .cellular]
        let queue = radio == 0 ? Interval.milliseconds(200) : .seconds(2)
        var plan = UplinkPlan(
            LinkConditions(rate: rates[radio], delay: links[radio].delay, queue: queue),
            radio: radios[radio].plan)
        if radio == 1, uses == .both, mode != .full {
            plan.isBackup = true
            plan.isWarm = isWarm
        }
        return plan
    }

    /// Runs the trial to its end.
    public func run() -> Outcome {
        let uplinks = radioOfUplink
        var stream = StreamPlan(
            at: Self.start,
            initiator: .requests(count: count, size: Self.requestSize, responseSize: size),
            listener: .responses(count: count, size: size, requestSize: Self.requestSize))
        stream.pause = pause
        var scenario = Scenario(uplinks: uplinks.map(uplink), streams: [stream])
        let pauses = pause * Int64(count)
        let slowest = rates.min { $0.bytesPerSecond < $1.bytesPerSecond } ?? .zero
        scenario.timeLimit = pauses + slowest.time(for: 4 * size * count) + .seconds(120)
        var options = World.Options()
        options.mode = mode
        let world = World(scenario, seed: seed, options: options)
        var trace = PacketTrace()
        world.traceRadios { packet in
            var packet = packet
            packet.radio = uplinks[packet.radio]
            trace.note(packet)
        }
        world.run(until: Self.start + scenario.timeLimit, mayStop: false)
        let end = (world.streams[0].initiator.log.last ?? Self.start) + pause
        return Outcome(
            energies: trace.energies(radios, from: Self.start, to: end),
            duration: end - Self.start, bits: 8 * world.streams[0].initiator.read, trace: trace,
            failure: world.failure)
    }
}

/// An application that asks for one thing after the other, with a pause between: somebody reads
/// what came.
final class PausingEnd: StreamEnd {
    private let pause: Interval
    private let responseSize: Int
    private let requestSize: Int
    private let count: Int
    /// Whole responses seen, and when the next may be asked for.
    private var answered = 0
    private var resumesAt = Instant.zero
    private var turnedAt = Instant.zero

    init(
        outgoing: StreamPattern, incoming: StreamPattern, supply: Supply, expected: Int,
        pause: Interval
    ) {
        guard case .requests(let count, let size, let responseSize) = supply else {
            preconditionFailure("pauses are between requests")
        }
        self.pause = pause
        self.responseSize = responseSize
        requestSize = size
        self.count = count
        super.init(
            outgoing: outgoing, incoming: incoming, supply: supply, expected: expected,
            reader: .eager)
    }

    override func produced(at now: Instant) -> Int {
        turnedAt = now
        let complete = read / responseSize
        if complete > answered {
            answered = complete
            resumesAt = now + pause
        }
        return min(count, complete + (now >= resumesAt ? 1 : 0)) * requestSize
    }

    override var deadline: Instant {
        guard !isFinished, failure == nil, began != nil, resumesAt > turnedAt else {
            return .distantFuture
        }
        return resumesAt
    }
}

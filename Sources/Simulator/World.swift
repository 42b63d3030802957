import Buffers
import Crypto
import Measures
import Multipath
import Tunnel
import Wire

/// A proxy and a concentrator as they are, shells and kernels left out: endpoints joined by virtual
/// links with a NAT on every uplink, a virtual clock that jumps from event to event, applications
/// at both ends.
public final class World: InstantLoop {
    /// Uplinks, streams and what goes wrong.
    public let scenario: Scenario
    /// As given to the initialiser.
    public let options: Options
    /// Virtual time since the start.
    public internal(set) var now = Instant.zero
    /// Of every datagram sent.
    public internal(set) var trace = Trace()
    /// The first thing that went wrong.
    public internal(set) var failure: String?
    /// The end with the uplinks.
    public let proxy: Endpoint
    /// The end with the users.
    public let concentrator: Endpoint
    /// Those that have begun, in their order.
    public internal(set) var streams: [Stream] = []
    /// Called for faults and events of the endpoints.
    public var noted: ((Instant, String) -> Void)?
    /// Called for every datagram sent: from the proxy or not, uplink, bytes.
    public var observer: ((Instant, Bool, Int, UnsafeRawBufferPointer) -> Void)?
    /// Asked for every datagram sent, after `observer`, with the same: true where it is lost at
    /// once.
    public var loses: ((Instant, Bool, Int, UnsafeRawBufferPointer) -> Bool)?
    /// Called for every datagram that arrives, before it is opened: at the concentrator or not,
    /// uplink, bytes.
    public var arriving: ((Instant, Bool, Int, UnsafeRawBufferPointer) -> Void)?

    /// One application stream with its two ends.
    public final class Stream: StreamOwner {
        /// Nothing: the world hears of the events itself.
        public func answered(_ status: DialStatus) {}
        /// Nothing, for the same reason.
        public func activity() {}

        /// Its place in `streams`.
        public let number: Int
        /// What both ends do.
        public let plan: StreamPlan
        /// The application at the proxy.
        public let initiator: StreamEnd
        /// The target at the concentrator.
        public let listener: StreamEnd
        var handles: (proxy: StreamHandle?, concentrator: StreamHandle?) = (nil, nil)
        var isAnswered = false  // the concentrator's dial ended
        var isConnected = false  // and the proxy knows
        init(number: Int, plan: StreamPlan, key: UInt64) {
            self.number = number
            self.plan = plan
            if let seed = plan.calls {
                (initiator, listener) = CallsEnd.pair(key: key, seed: seed)
                return
            }
            (initiator, listener) = StreamEnd.pair(
                key: key, initiator: plan.initiator,
                listener: plan.listener,
                initiatorReader: plan.initiatorReader,
                listenerReader: plan.listenerReader,
                recording: plan.recording, pause: plan.pause, pace: plan.pace)
        }
        /// Whether both ends are done.
        public var isFinished: Bool {
            // Where the initiator was gone at once, the listener may never have heard of it.
            initiator.isFinished
                && (listener.isFinished || (initiator.hasBrokenOff && handles.concentrator == nil))
        }
    }

    struct Lane {
        /// To and from the concentrator's addresses, one or two.
        let ups: [VirtualLink]
        let downs: [VirtualLink]
        var isDown = false
        /// Probability that a short datagram is lost.
        var smallLossUp = 0.0, smallLossDown = 0.0
        /// What the concentrator sees as this uplink's address at present.
        var publicAddress: SocketAddress
    }
    var lanes: [Lane] = []
    var formerAddresses: [IPAddress] = []
    let pool = PacketPool(slotSize: 2048, limit: 1 << 18)
    var random: SeededRandom
    let flows: WorldFlows
    /// The scenario's call; nil: none.
    public let call: WorldCall?
    var nonces = NonceChecker()
    var addresses = AddressChecker()
    var rates = RateChecker()
    var queues = QueueChecker()
    /// The owner's latest choice.
    var mode: HandoverMode
    var nextFault = 0
    /// Dials that end at a time.
    var dials: [(at: Instant, stream: Stream)] = []
    let batch = DatagramBatch()
    var started = 0  // streams begun, in the order of their times
    var order: [Int] = []
    var nextStranger = Instant.zero

    // 203.0.113.1
    static let concentratorAddress = SocketAddress(IPAddress(v4: 0xcb00_7101), port: 443)
    static let secondAddress = SocketAddress(IPAddress(v4: 0xcb00_7102), port: 443)
    /// Shorter than any datagram with bulk payload.
    static let smallDatagram = 300
    /// UDP and IPv4 headers.
    static let headerBytes = 28
    /// UDP payload in an MTU of 1500.
    static let datagramLimit = 1472

    /// All chance, the keys' included, comes from `seed`.
    public init(_ scenario: Scenario, seed: UInt64, options: Options = Options()) {
        self.scenario = scenario
        self.options = options
        flows = WorldFlows(count: options.associations, seed: seed)
        call = scenario.call.map { WorldCall($0, seed: seed) }
        mode = options.mode
        random = SeededRandom(seed: seed)
        func key(_ random: inout SeededRandom) -> Key32 {
            let words = (random.next(), random.next(), random.next(), random.next())
            return withUnsafeBytes(of: words) { Key32($0) }
        }
        let client = StaticKeyPair(privateKey: key(&random)),
            server = StaticKeyPair(privateKey: key(&random))
        var there = EndpointConfiguration(
            role: .proxy(
                concentrator: [Self.concentratorAddress], publicKey: server.publicKey,
                preSharedKey: nil),
            identity: client)
        var back = EndpointConfiguration(
            role: .concentrator(users: [.init(name: "user", publicKey: client.publicKey)]),
            identity: server)
        there.connection = options.connection
        back.connection = options.connection
        there.mode = options.mode
        back.mode = options.mode
        there.followsUse = options.followsUse
        there.signaling = options.signaling
        back.signaling = options.signaling
        back.joinsFirstAddress = options.joinsFirst
        there.epoch = 1_700_000_000_000_000_000
        back.epoch = there.epoch
        proxy = Endpoint(configuration: there, seed: key(&random), at: .zero)
        concentrator = Endpoint(configuration: back, seed: key(&random), at: .zero)
        for (i, uplink) in scenario.uplinks.enumerated() {
            let radio = uplink.radio.map {
                Radio(sleepsAfter: $0.sleepsAfter, wakeTime: $0.wakeTime)
            }
            var ups = [VirtualLink(uplink.up, pool: pool, seed: random.next(), radio: radio)]
            var downs = [VirtualLink(uplink.down, pool: pool, seed: random.next(), radio: radio)]
            if let second = options.second {
                ups.append(VirtualLink(second, pool: pool, seed: random.next(), radio: radio))
                downs.append(VirtualLink(second, pool: pool, seed: random.next(), radio: radio))
            }
            lanes.append(
                Lane(
                    ups: ups, downs: downs,
                    publicAddress: SocketAddress(
                        IPAddress(v4: 0xc633_6401 + UInt32(i)),
                        port: 20_000)))
            proxy.addUplink(Self.uplink(i, uplink), at: .zero)
        }
        for (i, plan) in scenario.streams.enumerated() {
            streams.append(Stream(number: i, plan: plan, key: random.next()))
        }
        receiveDatagrams()
        if options.second != nil { concentrator.setAnnounced([Self.secondAddress], at: .zero) }
        order = streams.indices.sorted { (streams[$0].plan.at, $0) < (streams[$1].plan.at, $1) }
        if !options.hasStrangers { nextStranger = .distantFuture }
    }

    static func uplink(_ i: Int, _ plan: UplinkPlan) -> Uplink {
        var uplink = Uplink(
            number: UplinkNumber(i), name: "uplink\(i)", isBackup: plan.isBackup,
            isWarm: plan.isWarm)
        uplink.cost = plan.cost
        return uplink
    }

    /// Whether every stream has ended and every fault has happened.
    public var isFinished: Bool {
        started == order.count && nextFault == scenario.faults.count
            && streams.allSatisfy(\.isFinished) && flows.isFinished
            && call?.isFinished(at: now) ?? true
    }

    /// The least share of a line's rate that arrived in three seconds in which it was due
    /// (`RateChecker`); infinite where none was.
    public var leastRateShare: Double { rates.leastShare }

    /// Bytes that applications read, both ways.
    public var bytesRead: Int { streams.reduce(0) { $0 + $1.initiator.read + $1.listener.read } }

    // MARK: Running

    /// Runs until all streams and faults are done, then checks that nothing is left behind. With
    /// `mayStop`,
    /// `limit` is where the run ends; without, reaching it is a failure.
    public func run(until limit: Instant? = nil, mayStop: Bool = false) {
        let end =
            limit
            ?? max(scenario.faults.last?.at ?? .zero, scenario.streams.last?.at ?? .zero)
            + scenario.timeLimit
        runInstants(until: end, mayStop: mayStop)
        if failure == nil, !mayStop { windUp() }
    }

    /// All streams are finished: connections must go away by themselves.
    private func windUp() {
        let end = now + .seconds(120)
        while failure == nil,
            now < end,
            proxy.report(at: now).connections + concentrator.report(at: now).connections > 0
                || !flowsLeft.isEmpty
        {
            let next = nextEvent
            if next > end { break }
            now = max(now, next)
            runInstant()
        }
        if failure != nil { return }
        let left = (proxy.report(at: now).connections, concentrator.report(at: now).connections)
        if left != (0, 0) { failure = "connections left behind: \(left)" }
        if !flowsLeft.isEmpty { failure = "flows left behind: \(flowsLeft)" }
        for lane in lanes { for link in lane.ups + lane.downs { link.clear(at: now) } }
        if pool.inUse != 0 { failure = "\(pool.inUse) packets leaked" }
        flows.forget()
    }

    /// What either end still has of associations.
    private var flowsLeft: [EndpointReport.Datagrams] {
        guard options.associations > 0 else { return [] }
        return [proxy, concentrator].flatMap { $0.report(at: now).sessions.map(\.datagrams) }
            .filter { $0.associations + $0.flows + $0.closing + $0.held > 0 }
    }

    /// Datagrams that went there and came back.
    public var datagramsReturned: Int { flows.returned }

    /// One phrase for each stream that is not finished, for failures.
    public func describe() -> String {
        streams.filter { !$0.isFinished }.map { s in
            "stream \(s.number): initiator \(s.initiator.standing)\(subflows(s.handles.proxy)),"
                + " listener \(s.listener.standing)\(subflows(s.handles.concentrator))"
        }.joined(separator: "; ")
    }

    private func subflows(_ handle: StreamHandle?) -> String {
        guard let connection = handle?.connection else { return "" }
        return " "
            + (0..<256).compactMap { i in
                connection.subflow(SubflowIndex(i)).map { "\($0.state)" }
            }.joined(separator: "/")
    }

    var nextEvent: Instant {
        var next = min(proxy.deadline, concentrator.deadline, nextStranger)
        next = min(next, flows.nextEvent())
        if let call { next = min(next, call.nextEvent) }
        for lane in lanes {
            for link in lane.ups { next = min(next, link.nextDelivery) }
            for link in lane.downs { next = min(next, link.nextDelivery) }
        }
        for dial in dials { next = min(next, dial.at) }
        for stream in streams {
            if stream.handles.proxy != nil { next = min(next, stream.initiator.deadline) }
            if stream.handles.concentrator != nil { next = min(next, stream.listener.deadline) }
        }
        if nextFault < scenario.faults.count { next = min(next, scenario.faults[nextFault].at) }
        if started < order.count { next = min(next, streams[order[started]].plan.at) }
        return next
    }

    var engineDeadline: Instant { min(proxy.deadline, concentrator.deadline) }

    func turn() -> Bool {
        applyFaults()
        if nextStranger <= now { disturb() }
        var busy = deliver()
        proxy.advance(to: now)
        concentrator.advance(to: now)
        busy = startStreams() || busy
        busy = flows.turn(self) || busy
        if let call { busy = call.turn(self) || busy }
        busy = drainEvents() || busy
        busy = runTimedEnds() || busy
        busy = transmit(fromProxy: true) || busy
        busy = transmit(fromProxy: false) || busy
        rates.look(at: now) { rateDemands() }
        queues.look(at: now) { queuedLinks() }
        if let wrong = nonces.failure ?? addresses.failure ?? flows.failure ?? rates.failure
            ?? queues.failure ?? call?.failure
        {
            failure = wrong
        }
        return busy
    }
}

import Measures
import Multipath
import Tunnel

/// One handover in the simulator: an application on the paper's two links, one of which goes away
/// and perhaps comes back. What `braid figures`, `braid handovers` and the engine's own tuning
/// start from.
public struct HandoverTrial: Hashable, Sendable {
    /// What runs while the uplink is lost.
    public enum Application: Hashable, Sendable {
        /// As much as the links carry, to the proxy or from it.
        case download, upload
        /// Blocks of `chunk` bytes every `period` to the proxy: the paper's 500 kbit/s.
        case stream(chunk: Int, period: Interval)
        /// The same both ways.
        case voice(chunk: Int, period: Interval)
        /// No stream at all: the call alone.
        case nothing
        /// These bytes to the proxy, `chunk` every `period`.
        case recording([UInt8], chunk: Int, period: Interval)

        /// 500 kbit/s, as in the paper.
        public static let paperStream = Application.stream(chunk: 625, period: .milliseconds(10))
        /// 64 kbit/s in frames of 20 ms.
        public static let paperVoice = Application.voice(chunk: 160, period: .milliseconds(20))
    }
    /// How an uplink goes.
    public enum Loss: String, Hashable, Sendable, CaseIterable {
        /// The interface goes: the proxy is told, the concentrator is not.
        case visible
        /// Packets vanish both ways, and nobody is told.
        case silent
    }
    /// What becomes at a visible loss of what the proxy has sent and the other side has not
    /// received.
    public enum UnderWay: String, Hashable, Sendable, CaseIterable {
        /// It stood in the interface's queue, or in a radio that is off now.
        case lost
        /// It has left the machine: on links that begin behind a modem or an access point.
        case arrives
    }
    /// The two uplinks, numbered as in the scenario.
    public enum Link: Int, Hashable, Sendable, CaseIterable { case wifi, cellular }

    /// Begins when the session does.
    public var application: Application
    /// Datagrams both ways beside it, from `start` until half a second before the end; nil: none.
    public var call: CallPlan?
    /// Of its connection.
    public var mode: HandoverMode
    /// How it goes.
    public var loss: Loss
    /// Of what was under way when it went; counts only where the loss is visible.
    public var underWay = UnderWay.lost
    /// How long the interface takes nothing before the proxy hears that it goes; counts only where
    /// the loss is visible. A kernel needs about a millisecond.
    public var closing = Interval.zero
    /// Which one goes.
    public var lost = Link.wifi
    /// After the loss; nil: never.
    public var returnAfter: Interval?
    /// 8 Mbit/s and 30 ms.
    public var wifi = UplinkPlan(.wifi)
    /// 2 Mbit/s and 100 ms, with a queue of 2 s.
    public var cellular = UplinkPlan(.cellular)
    /// Also the phase of the loss against the application's and the engine's clocks.
    public var seed: UInt64
    /// Applications that do nothing but stay open meanwhile.
    public var idleStreams = 0
    /// How losses are signaled; anything but `.reliable` is an experiment.
    public var signaling = Signaling.reliable
    /// From the application's beginning, up to 200 ms more by the seed.
    public var lossAfter = Interval.seconds(5)
    /// How long is looked on after the loss.
    public var tail = Interval.seconds(5)

    /// On the paper's links.
    public init(_ application: Application, _ mode: HandoverMode, _ loss: Loss, seed: UInt64 = 1) {
        self.application = application
        self.mode = mode
        self.loss = loss
        self.seed = seed
    }

    /// The session stands when the application begins.
    public static let start = Instant.zero + .seconds(1)
    /// From 0 to 200 ms, by the seed.
    public var lossAt: Instant {
        var random = SeededRandom(seed: seed ^ 0x6c6f_7373)
        return Self.start + lossAfter + random.interval(.zero, .milliseconds(200))
    }
    /// A call's last datagrams have so long to arrive.
    static let callEnd = Interval.milliseconds(500)
    /// When the lost uplink is back; nil: never.
    public var returnAt: Instant? { returnAfter.map { lossAt + $0 } }

    /// The trial as the world takes it.
    public var scenario: Scenario {
        var wifi = wifi, cellular = cellular
        wifi.isBackup = false
        cellular.isBackup = mode != .full
        let end = lossAt + tail
        var streams = application == .nothing ? [] : [plan(until: end)]
        for _ in 0..<idleStreams {
            streams.append(
                StreamPlan(
                    at: .zero + .milliseconds(200), initiator: .bulk(1),
                    listener: .constantRate(chunk: 1, period: .seconds(3600), total: 2)))
        }
        var scenario = Scenario(uplinks: [wifi, cellular], streams: streams)
        if var call {
            call.begins = Self.start
            call.ends = end - Self.callEnd
            scenario.call = call
        }
        let i = lost.rawValue
        switch loss {
        case .visible:
            let change: Fault.Change = underWay == .lost ? .removed : .detached
            if closing > .zero {
                scenario.faults.append(Fault(at: lossAt, uplink: i, change: .closing))
            }
            scenario.faults.append(Fault(at: lossAt + closing, uplink: i, change: change))
        case .silent:
            scenario.faults.append(Fault(at: lossAt, uplink: i, change: .outage(.blackHole, .both)))
        }
        if let back = returnAt {
            let change: Fault.Change = loss == .visible ? .returned : .outage(.none, .both)
            scenario.faults.append(Fault(at: back, uplink: i, change: change))
        }
        return scenario
    }

    private func plan(until end: Instant) -> StreamPlan {
        let lasting = end - Self.start
        func constant(_ chunk: Int, _ period: Interval) -> Supply {
            let count = Int(lasting.nanoseconds / period.nanoseconds) + 100
            return .constantRate(chunk: chunk, period: period, total: count * chunk)
        }
        // More than both links carry until the end.
        let plenty = Supply.bulk(
            2 * (wifi.down.rate ?? .zero).bytes(in: lasting)
                + 2 * (cellular.down.rate ?? .zero).bytes(in: lasting))
        switch application {
        case .nothing: preconditionFailure("no stream to plan")
        case .download: return StreamPlan(at: Self.start, initiator: .nothing, listener: plenty)
        case .upload: return StreamPlan(at: Self.start, initiator: plenty, listener: .nothing)
        case .stream(let chunk, let period):
            return StreamPlan(
                at: Self.start, initiator: .nothing, listener: constant(chunk, period))
        case .voice(let chunk, let period):
            return StreamPlan(
                at: Self.start, initiator: constant(chunk, period),
                listener: constant(chunk, period))
        case .recording(let bytes, let chunk, let period):
            var plan = StreamPlan(
                at: Self.start, initiator: .nothing,
                listener: .constantRate(chunk: chunk, period: period, total: bytes.count))
            plan.recording = bytes
            return plan
        }
    }

    /// Whether the application's bulk goes from the proxy.
    public var isUpload: Bool { if case .upload = application { true } else { false } }

    /// Runs it to its end.
    public func run(_ prepare: (World) -> Void = { _ in }) -> HandoverRecord {
        var options = World.Options()
        options.mode = mode
        options.signaling = signaling
        let world = World(scenario, seed: seed, options: options)
        let stream = world.streams.first
        stream?.initiator.log.keepsArrivals = true
        stream?.listener.log.keepsArrivals = true
        let traffic = TrafficCount(self)
        world.observer = { now, fromProxy, uplink, bytes in
            traffic.note(now, fromProxy: fromProxy, uplink: uplink, bytes: bytes.count)
        }
        prepare(world)
        world.run(until: lossAt + tail, mayStop: true)
        let near = stream?.initiator.log ?? .init(), far = stream?.listener.log ?? .init()
        return HandoverRecord(
            trial: self, received: isUpload ? far : near, sent: isUpload ? near : far,
            call: world.call.map { CallRecord(up: $0.up.log, down: $0.down.log) },
            traffic: traffic, failure: world.failure)
    }
}

/// Datagrams of a trial by uplink, direction and time.
public final class TrafficCount {
    /// Datagrams until the application began, [from the proxy, to it] of each uplink: the session's
    /// beginning.
    public private(set) var beforeStart = [[0, 0], [0, 0]]
    /// Datagrams from then until the loss.
    public private(set) var before = [[0, 0], [0, 0]]
    /// Datagrams of the first second after the loss.
    public private(set) var after = [[0, 0], [0, 0]]
    /// The first bulk datagram on the lost link after its return, towards the receiver.
    public private(set) var firstAfterReturn: Instant?
    private let lossAt: Instant, returnAt: Instant
    private let lost: Int
    private let isUpload: Bool

    /// Counts from the trial's loss on.
    public init(_ trial: HandoverTrial) {
        lossAt = trial.lossAt
        returnAt = trial.returnAt ?? .distantFuture
        lost = trial.lost.rawValue
        isUpload = trial.isUpload
    }

    /// A datagram of `bytes` was sent at `now` of the trial's time.
    public func note(_ now: Instant, fromProxy: Bool, uplink: Int, bytes: Int) {
        let direction = fromProxy ? 0 : 1
        if now < HandoverTrial.start {
            beforeStart[uplink][direction] += 1
        } else if now < lossAt {
            before[uplink][direction] += 1
        }
        if now >= lossAt, now < lossAt + .seconds(1) { after[uplink][direction] += 1 }
        if now >= returnAt, firstAfterReturn == nil, uplink == lost, fromProxy == isUpload,
            bytes > 500
        {
            firstAfterReturn = now
        }
    }
}

/// What a trial brought.
public struct HandoverRecord {
    /// What was tried.
    public let trial: HandoverTrial
    /// The receiving application's arrivals; for voice, the proxy's side.
    public let received: ReceptionLog
    /// The other end's: for voice what went up.
    public let sent: ReceptionLog
    /// Of the trial's call.
    public let call: CallRecord?
    /// Datagrams of the uplinks around the loss.
    public let traffic: TrafficCount
    /// The first thing that went wrong; nil where nothing did.
    public let failure: String?

    /// From a world that has run, or from sockets.
    public init(
        trial: HandoverTrial, received: ReceptionLog, sent: ReceptionLog, call: CallRecord?,
        traffic: TrafficCount, failure: String?
    ) {
        self.trial = trial
        self.received = received
        self.sent = sent
        self.call = call
        self.traffic = traffic
        self.failure = failure
    }

    /// The longest time without a byte that overlaps the time since the loss (or the return, if
    /// sooner).
    public var longestGap: Interval {
        let end = min(trial.lossAt + trial.tail, trial.returnAt ?? .distantFuture)
        return received.longestGap(from: trial.lossAt, to: end)
    }

    /// From the loss to the end of the longest gap after it, or later, from where on four fifths of
    /// the remaining link's rate arrive for 200 ms; nil: never. Before that gap the lost link's
    /// last bytes would count.
    public var recovery: Interval? {
        let left = trial.lost == .wifi ? trial.cellular : trial.wifi
        return received.recovery(
            after: trial.lossAt, gap: longestGap, rate: left.down.rate ?? .zero)
    }

    /// From the return of the link until data leaves on it again; nil: never.
    public var timeToReturn: Interval? {
        guard let back = trial.returnAt, let first = traffic.firstAfterReturn else { return nil }
        return first - back
    }

    /// The usual one-way delay of a direction of the call before the loss; nil where there is none.
    public func callDelay(_ direction: KeyPath<CallRecord, CallLog>) -> Interval? {
        call?[keyPath: direction].usualDelay(before: trial.lossAt - .milliseconds(500))
    }
    /// What a direction of the call missed from just before the loss until its end.
    public func missed(_ direction: KeyPath<CallRecord, CallLog>) -> Interval? {
        guard let call, let usual = callDelay(direction) else { return nil }
        let from = trial.lossAt - .seconds(1)
        return call[keyPath: direction].missed(in: from..<(trial.lossAt + trial.tail), usual: usual)
    }

    /// The median of a constant-rate stream's delays before the loss.
    public var delayBefore: Interval? {
        let before = received.delays.filter {
            $0.at < trial.lossAt - .milliseconds(500) && $0.at > HandoverTrial.start + .seconds(1)
        }.map(\.delay).sorted()
        return before.isEmpty ? nil : before[before.count / 2]
    }
    /// How much longer the slowest block took after the loss (until the return, if there is one).
    public var extraDelay: Interval? {
        guard let usual = delayBefore else { return nil }
        let from = trial.lossAt - .seconds(1), to = trial.returnAt ?? .distantFuture
        let worst = received.delays.filter { $0.at > from && $0.at < to }.map(\.delay).max()
        return worst.map { $0 - usual }
    }
}

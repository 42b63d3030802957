import Measures

/// Watches whether streams get what their paths can carry: once nothing has happened to the uplinks
/// for a while and a stream has had bytes to send all that time, what arrives in any three seconds
/// is at least `share` of the rate of the best uplink in that direction.
///
/// It says nothing where a lower rate is right: uplinks that lose, reorder or damage packets (how
/// much TCP then gets is its congestion control's affair), windows that an owner made smaller than
/// what is under way, readers that are slow.
struct RateChecker {
    /// The part of the line's rate that must arrive as payload: three quarters of what headers
    /// leave, since several streams that share a line hand over in lumps what arrives in order.
    static let share = 0.72
    /// The same where the other direction is filled, too: acknowledgements wait behind its data,
    /// where the lines are uneven or their queues hold seconds for most of the time. The transfer
    /// must go on.
    static let shareBothWays = 0.15
    /// How long after a fault, or after a stream began, nothing is asked: the handover, the waking
    /// of a radio and the growth of the congestion window.
    static let grace = Interval.seconds(4)
    static let window = Interval.seconds(3)
    /// Where both directions are filled, a queue that holds more leaves no demand on the other
    /// direction.
    static let longestQueue = Interval.milliseconds(500)

    private static let bin = Interval.milliseconds(200)
    private static let binsInWindow = Int(window.nanoseconds / bin.nanoseconds)
    private static let binsOfGrace = Int(grace.nanoseconds / bin.nanoseconds)

    /// One direction: bytes that applications read, by bin of the run that is looked at.
    private struct Direction {
        var bins: [Int] = []
        /// What had arrived when the bin began.
        var before = 0
        /// What part was asked for in the last bin.
        var share = 0.0
    }
    private var directions = [Direction(), Direction()]
    private var binEnds = Instant.zero + bin
    private var isDisturbed = false
    /// The first thing that was wrong.
    private(set) var failure: String?
    /// The least share of three seconds that was asked for; for those who set `share`.
    private(set) var leastShare = Double.infinity

    /// Something happened to an uplink, or to what connections want.
    mutating func disturbed() { isDisturbed = true }

    /// What a direction is asked for at an instant: payload that arrived so far, and the rate that
    /// is due; nil where none is.
    struct Demand {
        var arrived: Int
        var rate: Rate?
        var share = RateChecker.share
    }

    /// Looks at both directions, down first, once the present bin is over.
    mutating func look(at now: Instant, _ demands: () -> [Demand]) {
        guard now >= binEnds else { return }
        let demands = demands()
        for (i, demand) in demands.enumerated() { close(i, demand) }
        isDisturbed = false
        // Where the world slept through several bins, those had nothing to send.
        let behind = (now - binEnds).nanoseconds / Self.bin.nanoseconds
        if behind > 0 { for i in directions.indices { directions[i].bins.removeAll() } }
        binEnds += Self.bin * (behind + 1)
    }

    private mutating func close(_ i: Int, _ demand: Demand) {
        let arrived = demand.arrived - directions[i].before
        directions[i].before = demand.arrived
        guard let rate = demand.rate, !isDisturbed else {
            directions[i].bins.removeAll()
            return
        }
        // Whoever has the link alone from now on needs time to take it.
        if demand.share != directions[i].share { directions[i].bins.removeAll() }
        directions[i].share = demand.share
        directions[i].bins.append(arrived)
        guard directions[i].bins.count >= Self.binsOfGrace + Self.binsInWindow else { return }
        let sum = directions[i].bins.suffix(Self.binsInWindow).reduce(0, +)
        let share = Double(sum) / Double(rate.bytes(in: Self.window))
        leastShare = min(leastShare, share)
        if share < demand.share, failure == nil {
            failure =
                "\(i == 0 ? "down" : "up"): \((share * 1000).rounded() / 1000) of"
                + " \(rate.bytesPerSecond) bytes/s arrived in the last three seconds"
        }
    }
}

extension World {
    /// What either direction is asked for now, down first.
    func rateDemands() -> [RateChecker.Demand] {
        var down = RateChecker.Demand(arrived: 0), up = RateChecker.Demand(arrived: 0)
        var sendsDown = false, sendsUp = false
        for stream in streams {
            down.arrived += stream.initiator.read
            up.arrived += stream.listener.read
            guard stream.plan.calls == nil, !stream.isFinished else { continue }
            sendsDown =
                sendsDown
                || stream.handles.concentrator != nil && isBehind(stream.listener, stream.initiator)
            sendsUp =
                sendsUp
                || stream.handles.proxy != nil && isBehind(stream.initiator, stream.listener)
        }
        if sendsDown { down.rate = dueRate { $0.downs[0].conditions } }
        if sendsUp { up.rate = dueRate { $0.ups[0].conditions } }
        if sendsDown, sendsUp {
            down.share = RateChecker.shareBothWays
            up.share = RateChecker.shareBothWays
            if holdsTooMuch(\.ups) { down.rate = nil }
            if holdsTooMuch(\.downs) { up.rate = nil }
        }
        return [down, up]
    }

    /// Whether acknowledgements wait so long in a direction that three seconds tell nothing: with
    /// a round trip of r, BBR's search for the path's own (ProbeRTT: what is in flight has left,
    /// and one round more) takes 2 r with four segments in flight, 2.8 of 3 s with 1.4 s.
    private func holdsTooMuch(_ links: KeyPath<Lane, [VirtualLink]>) -> Bool {
        lanes.contains { lane in
            let link = lane[keyPath: links][0]
            guard !lane.isDown, let rate = link.conditions.rate else { return false }
            return link.backlog > rate.bytes(in: RateChecker.longestQueue)
        }
    }

    /// More is still to come than the end of a transfer, and whoever reads takes it at once.
    private func isBehind(_ sender: StreamEnd, _ reader: StreamEnd) -> Bool {
        guard case .eager = reader.reader, case .bulk = sender.supply else { return false }
        return sender.supply.total - reader.read >= 64_000
    }

    /// What the uplinks that the mode uses carry at least in a direction; nil where that can't be
    /// said. An uplink that loses packets only adds to the others in full mode; in the other modes
    /// it may be the one in use.
    private func dueRate(_ conditions: (Lane) -> LinkConditions) -> Rate? {
        guard options.second == nil, options.connection.sendLimit >= 1 << 20,
            options.connection.receiveLimit >= 1 << 20,
            options.connection.subflow.congestion != .newReno,
            !options.connection.subflow.congestion.isCoupled
        else { return nil }
        var rates: [(rate: Rate, isBackup: Bool)] = [], areAllClean = true
        for (i, lane) in lanes.enumerated() where !lane.isDown {
            let both = [lane.ups[0].conditions, lane.downs[0].conditions]
            if both.contains(where: { $0.outage == .blackHole }) { continue }
            guard both.allSatisfy(\.isClean), lane.smallLossUp == 0, lane.smallLossDown == 0,
                let rate = conditions(lane).rate
            else {
                areAllClean = false
                continue
            }
            rates.append((rate, scenario.uplinks[i].isBackup))
        }
        guard areAllClean || mode == .full else { return nil }
        let regular = rates.filter { !$0.isBackup }
        func slower(_ a: (rate: Rate, isBackup: Bool), _ b: (rate: Rate, isBackup: Bool)) -> Bool {
            a.rate.bytesPerSecond < b.rate.bytesPerSecond
        }
        return switch mode {
        case .full: rates.max(by: slower)?.rate
        case .backup: (regular.isEmpty ? rates : regular).max(by: slower)?.rate
        case .single: rates.min(by: slower)?.rate
        }
    }
}

extension LinkConditions {
    /// Nothing but its rate, delay and a queue of a tenth of a second or more comes between packets
    /// and the other end.
    var isClean: Bool {
        loss == .none && reordering == 0 && duplication == 0 && corruption == 0 && outage == .none
            && (mtu ?? 1500) >= 1280 && queueLimit >= (rate?.bytes(in: .milliseconds(100)) ?? 0)
    }
}

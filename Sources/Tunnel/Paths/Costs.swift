import Measures
import Multipath

/// What paths cost, said and heard: the proxy knows prices and allowances, and the concentrator
/// schedules what comes down by the same rule.
extension Endpoint {
    /// Proxy: what an uplink costs beside the others changed, while connections live.
    public func setUplinkCost(_ number: UplinkNumber, _ cost: PathCosts.Cost, at now: Instant) {
        guard let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == number }),
            host.proxy.uplinks[i].uplink.cost != cost
        else { return }
        host.proxy.uplinks[i].uplink.cost = cost
        for case let session? in sessions where !session.isClosing {
            session.setCost(ofUplink: number, cost, at: now)
        }
    }
}

extension Session {
    fileprivate func setCost(ofUplink number: UplinkNumber, _ cost: PathCosts.Cost, at now: Instant)
    {
        for case let path? in paths where path.uplink == number && path.role.cost != cost {
            path.role.cost = cost
            if path.isOpen { signalState(of: path, at: now) }
        }
        renewCosts()
        costsChanged(at: now)
        changes.forJoins &+= 1
        visitAllStreams()
        watchSpare(at: now)
    }

    /// Proxy: how long data waits for cheap paths is another; the concentrator is told with the
    /// paths that this is said of.
    func setBacklogTime(_ time: Interval, at now: Instant) {
        guard costs.backlogTime != time else { return }
        costs.backlogTime = time
        for case let path? in paths where path.role.cost == .dear && path.isOpen {
            signalState(of: path, at: now)
        }
        costsChanged(at: now)
        visitAllStreams()
    }

    /// What connections know of costs is what the paths' roles say.
    func renewCosts() {
        for case let path? in paths { costs[path.id] = path.role.cost }
    }

    /// Concentrator: the proxy says what the path costs.
    func adoptCost(_ code: UInt8, _ path: Path, at now: Instant) {
        let (cost, backlogTime) = PathCost.read(code)
        path.role.cost = cost
        let before = costs
        costs[path.id] = cost
        if let backlogTime { costs.backlogTime = backlogTime }
        if costs != before { costsChanged(at: now) }
    }
}

/// A path's cost in three bits (`PathStateFrame.cost`): 0 usual, 7 spent, 1 to 6 dear with the time
/// for which data waits for cheaper paths, 0.5 s doubled with each step.
enum PathCost {
    private static let minimumTime = Interval.milliseconds(500)
    private static let spent: UInt8 = 7

    /// A time between two steps is rounded up, as far as there are steps.
    static func code(_ cost: PathCosts.Cost, backlogTime: Interval) -> UInt8 {
        switch cost {
        case .usual: return 0
        case .spent: return spent
        case .dear:
            var step: UInt8 = 1
            while step < spent - 1, minimumTime * Int64(1 << (step - 1)) < backlogTime { step += 1 }
            return step
        }
    }

    /// The time is nil where none is said.
    static func read(_ code: UInt8) -> (PathCosts.Cost, Interval?) {
        switch code {
        case 0: (.usual, nil)
        case 1..<spent: (.dear, minimumTime * Int64(1 << (code - 1)))
        default: (.spent, nil)
        }
    }
}

/// How the windows of a connection's subflows grow and shrink together. Pure arithmetic: all
/// windows in bytes, round trips in seconds; `paths[0]` is the subflow that it is about.
enum CoupledRule: Sendable {
    case lia, olia, balia

    typealias Path = CongestionCoupling.Path

    /// Bytes by which the window of `paths[0]` grows in congestion avoidance for `acknowledged`
    /// bytes; OLIA may shrink it.
    func increase(_ paths: [Path], acknowledged: Double, segment: Double) -> Double {
        let own = paths[0]
        let alone = acknowledged * segment / own.window
        guard paths.count > 1, own.rtt > 0 else { return alone }
        switch self {
        case .lia:
            // RFC 6356 section 3: the lesser of alpha's share and what TCP would grow by.
            let total = paths.reduce(0) { $0 + $1.window }
            return min(Self.alpha(paths) * acknowledged * segment / total, alone)
        case .olia:
            // draft-khalili-mptcp-congestion-control, section 2.
            let rates = Self.sumOfRates(paths)
            let shared = own.window / (own.rtt * own.rtt) / (rates * rates)
            return (shared + Self.shift(paths, segment: segment) / own.window) * acknowledged
                * segment
        case .balia:
            // draft-walid-mptcp-congestion-control, section 3.
            let rates = Self.sumOfRates(paths), rate = own.window / own.rtt
            let ratio = Self.ratio(paths)
            return rate / own.rtt / (rates * rates) * ((1 + ratio) / 2) * ((4 + ratio) / 5)
                * acknowledged * segment
        }
    }

    /// The share of its window that `paths[0]` keeps after a loss: half, as TCP does; with BALIA as
    /// little as a quarter on a path that is slower than the best.
    func kept(_ paths: [Path]) -> Double {
        guard case .balia = self, paths.count > 1, paths[0].rtt > 0, paths[0].window > 0 else {
            return 0.5
        }
        return 1 - min(Self.ratio(paths), 1.5) / 2
    }

    /// LIA's aggressiveness: how much the connection as a whole grows by per window, such that it
    /// gets what TCP would on the best of its paths (RFC 6356 section 3, equation 2).
    static func alpha(_ paths: [Path]) -> Double {
        var total = 0.0, best = 0.0
        for path in paths where path.rtt > 0 {
            total += path.window
            best = max(best, path.window / (path.rtt * path.rtt))
        }
        let rates = sumOfRates(paths)
        return total * best / (rates * rates)
    }

    /// BALIA's alpha: the rate of the fastest path over the own one, at least 1.
    static func ratio(_ paths: [Path]) -> Double {
        let own = paths[0].window / paths[0].rtt
        var fastest = own
        for path in paths where path.rtt > 0 { fastest = max(fastest, path.window / path.rtt) }
        return fastest / own
    }

    /// OLIA's alpha: a window that is the greatest gives to good paths (those with most bytes
    /// between losses for their round trip) whose windows are smaller. Windows are compared in
    /// whole segments: of two like ones the latter to be acknowledged would always be the smaller,
    /// and both would only gain.
    static func shift(_ paths: [Path], segment: Double) -> Double {
        func size(_ path: Path) -> Double { (path.window / segment).rounded(.down) }
        func quality(_ path: Path) -> Double { path.lossDistance / (path.rtt * path.rtt) }
        var greatest = 0.0, best = 0.0
        for path in paths where path.rtt > 0 {
            greatest = max(greatest, size(path))
            best = max(best, quality(path))
        }
        var greatestCount = 0.0, collected = 0.0
        for path in paths where path.rtt > 0 {
            if size(path) >= greatest {
                greatestCount += 1
            } else if quality(path) >= best {
                collected += 1
            }
        }
        guard collected > 0 else { return 0 }
        let own = paths[0], count = Double(paths.count)
        if size(own) >= greatest { return -1 / (count * greatestCount) }
        return quality(own) >= best ? 1 / (count * collected) : 0
    }

    private static func sumOfRates(_ paths: [Path]) -> Double {
        var sum = 0.0
        for path in paths where path.rtt > 0 { sum += path.window / path.rtt }
        return sum
    }
}

import Measures
import Multipath

/// Which of its paths a session uses for what: the active one of single mode, the best one for a
/// connection's first subflow and for what speaks of the session itself.
extension Session {
    // MARK: What may be chosen

    /// A path that works; or where none does one that was just opened and has not been found dead:
    /// waiting for its first answer would cost a round trip of the handover.
    func isEligible(_ path: Path) -> Bool {
        path.health == .usable
            || (path.isOpen && path.monitor.lifecycle.isUntried && !hasUsablePath)
    }

    /// Whether subflows of the connection may be on the path.
    func mayUse(_ path: Path, _ stream: StreamHandle?) -> Bool {
        stream?.restriction?.allows(path.uplink) ?? true
    }

    // MARK: One of many

    /// The eligible path with the shortest round trip, a regular one before a backup one.
    func bestPath(for stream: StreamHandle? = nil) -> Path? {
        var best: Path?
        for case let path? in paths where isEligible(path) && mayUse(path, stream) {
            guard let other = best else { best = path; continue }
            if path.role.isReserve != other.role.isReserve
                ? !path.role.isReserve : path.probeTimeout < other.probeTimeout
            {
                best = path
            }
        }
        return best
    }

    /// The open path that was heard last.
    var latestPath: Path? {
        var latest: Path?
        for case let path? in paths where path.isOpen {
            if let found = latest, found.monitor.lastArrival >= path.monitor.lastArrival {
                continue
            }
            latest = path
        }
        return latest
    }

    // MARK: The active path of single mode

    /// The lower, the better: regular uplinks first, then in their order.
    func rank(_ path: Path) -> Int {
        let isForbidden = addresses.forbidsFirst && path.remote == addresses.first
        let cost =
            switch path.role.cost {
            case .usual: 0
            case .dear: 1 << 12
            case .spent: 1 << 18
            }
        return 2 * path.uplink.value + (isForbidden ? 1 : 0) + cost
            + (path.role.isReserve ? 1 << 16 : 0)
    }

    /// The one path of single mode. It changes only for one that works and stands higher, or when
    /// it does not work any more.
    func selectActivePath() -> Path? {
        var best: Path?
        for case let path? in paths where isEligible(path) {
            guard let other = best else { best = path; continue }
            let isBetter =
                rank(path) != rank(other)
                ? rank(path) < rank(other)
                : other.id != selection.activePath
                    && (path.id == selection.activePath
                        || path.probeTimeout < other.probeTimeout)
            if isBetter { best = path }
        }
        if let best { selection.activePath = best.id }
        return best
    }

    /// Single mode: the active path, or where the connection may not use that, the one that stands
    /// highest of those it may use.
    func activePath(for stream: StreamHandle) -> Path? {
        let active = selectActivePath()
        guard stream.restriction != nil else { return active }
        if let active, mayUse(active, stream) { return active }
        var best: Path?
        for case let path? in paths where mayUse(path, stream) && isEligible(path) {
            if best.map({ rank(path) < rank($0) }) ?? true { best = path }
        }
        return best
    }

    /// A path that nobody in single mode wants beside the active one. One that is better but silent
    /// is waited for.
    func isSpare(_ path: Path, _ active: Path) -> Bool {
        path !== active && (path.health == .usable || rank(path) >= rank(active))
    }
}

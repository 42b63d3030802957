import Measures
import Multipath
import Shell
import Tunnel

/// An uplink as the page shows it; at a concentrator a path of a session.
struct UplinkRow: Equatable {
    /// What a person is told of it, the best first.
    enum State: String {
        /// It carries data, or would.
        case usable
        /// Its turn comes when no regular one works, or when another one is lost.
        case resting
        /// Nothing is heard on it for the moment.
        case silent
        /// It never reached the other end's address.
        case unreached
        case lost
        /// There is no session to use it.
        case waiting
        /// The system does not show it.
        case absent
        case off
    }

    var name: String
    var role: UplinkRoleName
    var state: State
    /// Since when, on the loop's clock; nil where whoever has the row knows it.
    var since: Instant?
    /// Why it is unused, as a sentence; nil where it is used.
    var reason: String?
    var rtt: Interval?, minimumRTT: Interval?
    /// Share of datagrams lost recently, 0 to 1.
    var loss = 0.0
    /// Bytes a second, from the applications and to them.
    var up = 0, down = 0
    /// Bytes since the path, or the session, began.
    var bytesUp = 0, bytesDown = 0

    /// Bytes of IP packets in the present period of its allowance, what it may carry in it, and
    /// what that came to, in words; nil where nobody counts.
    var used: Int?, allowance: Int?, spent: String?

    /// What waits in the uplink's queue, as time: the round trip beyond the shortest of late.
    var queue: Interval? {
        guard let rtt, let minimumRTT else { return nil }
        return max(rtt - minimumRTT, .zero)
    }
}

/// The words for an uplink's role.
enum UplinkRoleName: String { case regular, backup, off }

enum UplinkRows {
    /// Paths of a concentrator that are shown.
    static let maximum = 64
    /// Bytes a second below which an uplink carries probes, acknowledgements and little else.
    private static let trickle = 20_000

    /// A proxy's uplinks, in their order.
    static func proxy(
        _ uplinks: [ServerStatus.UplinkState], paths: [PathSnapshot], mode: String,
        hasSession: Bool
    ) -> [UplinkRow] {
        uplinks.map { uplink in
            let own = paths.filter { $0.uplink == uplink.name }
            var row = row(uplink.name, own, isProxy: true)
            row.role = uplink.isOff ? .off : uplink.isBackup ? .backup : .regular
            row.used = uplink.usedBytes
            row.allowance = uplink.allowanceBytes
            if let spent = uplink.spent, let currency = uplink.currency {
                row.spent = "\(hundredths(spent)) \(currency)"
            }
            judge(&row, uplink, own, mode: mode, hasSession: hasSession)
            return row
        }
    }

    /// A concentrator's paths, each by itself.
    static func concentrator(_ paths: [PathSnapshot]) -> [UplinkRow] {
        paths.prefix(maximum).map { path in
            var row = row("\(path.user), path \(path.number)", [path], isProxy: false)
            if path.isBackup { row.role = .backup }
            switch path.health {
            case .usable where path.isBackup:
                row.state = .resting
                row.reason = "backup: rests while a regular one works"
            case .usable: break
            case .suspect:
                row.state = .silent
                row.reason = "nothing is heard on it; it is asked again and again"
            case .lost:
                row.state = .lost
                row.reason = "the proxy has given it up"
            }
            return row
        }
    }

    private static func hundredths(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e12 else { return "?" }
        let all = Int((abs(value) * 100).rounded()), part = all % 100
        return (value < 0 ? "-" : "") + "\(all / 100).\(part < 10 ? "0" : "")\(part)"
    }

    /// What is measured on `paths`, which are one uplink's.
    private static func row(_ name: String, _ paths: [PathSnapshot], isProxy: Bool) -> UplinkRow {
        var row = UplinkRow(name: name, role: .regular, state: .usable)
        for path in paths {
            let sent = Int(path.sendRate.bytesPerSecond)
            let received = Int(path.receiveRate.bytesPerSecond)
            row.up += isProxy ? sent : received
            row.down += isProxy ? received : sent
            row.bytesUp += isProxy ? path.bytesSent : path.bytesReceived
            row.bytesDown += isProxy ? path.bytesReceived : path.bytesSent
        }
        let usable = paths.filter { $0.health == .usable }
        if let best = usable.filter({ $0.smoothedRTT > .zero }).min(by: {
            $0.smoothedRTT < $1.smoothedRTT
        }) {
            row.rtt = best.smoothedRTT
            row.minimumRTT = best.minimumRTT
        }
        row.loss = usable.map(\.loss).max() ?? 0
        row.since =
            usable.isEmpty ? paths.map(\.since).max() : usable.map(\.since).min()
        return row
    }

    /// The state of a proxy's uplink, and why it is unused.
    private static func judge(
        _ row: inout UplinkRow, _ uplink: ServerStatus.UplinkState, _ paths: [PathSnapshot],
        mode: String, hasSession: Bool
    ) {
        func unused(_ state: UplinkRow.State, _ reason: String, isKnown: Bool = true) {
            row.state = state
            row.reason = reason
            if !isKnown { row.since = nil }
        }
        let usable = paths.filter { $0.health == .usable }
        if uplink.isOff {
            unused(.off, "switched off", isKnown: false)
        } else if !uplink.isPresent {
            unused(
                .absent, "the system does not show it: no interface, or no address", isKnown: false)
        } else if let problem = uplink.problem {
            unused(.unreached, "nothing was ever heard on it: \(problem)")
        } else if !usable.isEmpty {
            if usable.allSatisfy(\.isBackup) {
                unused(.resting, "backup: rests while a regular one works")
            } else if !usable.contains(where: \.isBaseConfirmed), row.up + row.down < trickle {
                // What carries is in use, though full packets pass in one direction only yet.
                unused(.silent, "full packets don't pass it yet")
            }
        } else if let used = uplink.usedBytes, let allowance = uplink.allowanceBytes,
            used >= allowance
        {
            unused(.off, "its allowance is used up", isKnown: false)
        } else if !hasSession {
            unused(.waiting, "there is no session to the concentrator", isKnown: false)
        } else if paths.contains(where: \.isFutile) {
            unused(.unreached, "the concentrator's address was never reached from it")
        } else if paths.contains(where: { $0.health == .suspect }) {
            unused(.silent, "nothing is heard on it; it is asked again and again")
        } else if mode == HandoverMode.single.rawValue {
            unused(.resting, "mode single: another one is in use")
        } else {
            unused(.lost, "no path leads from it to the concentrator")
        }
    }
}

/// Since when uplinks have the states for which no path can tell.
struct StateClock {
    /// Uplinks that are remembered.
    private static let maximum = 256
    private var known: [String: (state: UplinkRow.State, since: Instant)] = [:]

    mutating func since(_ row: UplinkRow, at now: Instant) -> Instant {
        if let since = row.since {
            known[row.name] = nil
            return since
        }
        if let before = known[row.name], before.state == row.state { return before.since }
        if known.count >= Self.maximum { known.removeAll() }
        known[row.name] = (row.state, now)
        return now
    }
}

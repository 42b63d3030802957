import Multipath

/// What happens to uplinks, from what happens to their paths.
///
/// An uplink has a path to each address of the concentrator, in each session; it carries while any
/// of them does.
public struct UplinkStates: Sendable {
    /// What became of an uplink.
    public struct News: Equatable, Sendable {
        /// As the journal calls it.
        public var kind: Event.Kind
        /// How long it had been silent or away before it carried again, ms.
        public var silence: Int?
    }

    private enum Condition: Equatable {
        /// It never carried, or not since it was closed in order.
        case idle
        case carrying
        /// Since when, ms of a steady clock.
        case silent(since: Int64)
        case lost(since: Int64)
        case away(since: Int64?)
    }
    private struct PathName: Hashable { var session: Int, path: PathID }
    private struct State {
        var condition = Condition.idle
        var usable: Set<PathName> = []
    }

    /// Uplinks that are told apart; beyond, nothing is said of them.
    public static let maximum = 64
    private var states: [String: State] = [:]

    /// Of no uplink yet.
    public init() {}

    /// The system shows the uplink; nil where it did already.
    public mutating func appeared(_ uplink: String) -> News? {
        guard let known = states[uplink] else {
            guard states.count < Self.maximum else { return nil }
            states[uplink] = State()
            return News(kind: .uplinkAppeared)
        }
        guard case .away(let since) = known.condition else { return nil }
        states[uplink]?.condition = since.map { .lost(since: $0) } ?? .idle
        return News(kind: .uplinkAppeared)
    }

    /// The system shows it no more. `time`: ms of a steady clock.
    public mutating func vanished(_ uplink: String, at time: Int64) -> News? {
        guard let known = states[uplink] else { return nil }
        switch known.condition {
        case .away: return nil
        case .idle: states[uplink]?.condition = .away(since: nil)
        case .carrying: states[uplink]?.condition = .away(since: time)
        case .silent(let since), .lost(let since): states[uplink]?.condition = .away(since: since)
        }
        states[uplink]?.usable = []
        return News(kind: .uplinkVanished)
    }

    /// Sending through it fails, which is its own news: it is lost, whatever its paths say of it.
    public mutating func failed(_ uplink: String, at time: Int64) {
        if case .carrying? = states[uplink]?.condition {
            states[uplink]?.condition = .lost(since: time)
        }
    }

    /// A path of the uplink changed. `session`: what the owner calls the path's; `time`: ms of a
    /// steady clock.
    public mutating func path(
        _ path: PathID, session: Int, of uplink: String, is state: PathHealth, at time: Int64
    ) -> News? {
        guard states[uplink] != nil || states.count < Self.maximum else { return nil }
        var known = states[uplink] ?? State()
        defer { states[uplink] = known }
        let name = PathName(session: session, path: path)
        if state == .usable {
            known.usable.insert(name)
            return carries(&known, at: time)
        }
        let wasUsable = known.usable.remove(name) != nil
        guard known.usable.isEmpty else { return nil }
        switch (known.condition, state) {
        case (.carrying, .suspect) where wasUsable:
            known.condition = .silent(since: time)
            return News(kind: .uplinkSilent)
        case (.carrying, .lost) where wasUsable:
            known.condition = .idle
            return News(kind: .uplinkRests)
        case (.silent(let since), .lost):
            known.condition = .lost(since: since)
            return News(kind: .uplinkLost)
        default: return nil
        }
    }

    private func carries(_ known: inout State, at time: Int64) -> News? {
        defer { known.condition = .carrying }
        switch known.condition {
        case .carrying: return nil
        case .idle, .away(since: nil): return News(kind: .uplinkCarries)
        case .silent(let since), .lost(let since), .away(let since?):
            return News(kind: .uplinkCarries, silence: Int(clamping: max(0, time &- since)))
        }
    }

    /// The session is over, and its paths with it; that is its own news.
    public mutating func sessionClosed(_ session: Int) {
        for uplink in Array(states.keys) {
            guard var known = states[uplink] else { continue }
            known.usable = known.usable.filter { $0.session != session }
            if known.usable.isEmpty {
                switch known.condition {
                case .away: break
                case .idle, .carrying, .silent, .lost: known.condition = .idle
                }
            }
            states[uplink] = known
        }
    }
}

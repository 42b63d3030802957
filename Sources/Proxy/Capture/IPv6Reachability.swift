import Measures
import Wire

/// Whether the concentrator has IPv6, as its dials show: where it has none, programs are told so at
/// once, and go on with IPv4.
struct IPv6Reachability {
    private enum State {
        case unknown
        /// Reached something; so many have been unreachable since.
        case present(at: Instant, unreachable: Int)
        case absent(until: Instant)
    }
    private var state = State.unknown

    /// Networks of which none could be reached, after which a concentrator that had IPv6 has it no
    /// more.
    static let maximumUnreachable = 8
    /// For how long what was reached weighs more than any number of them: who tries many does not
    /// speak for all.
    static let presence = Interval.seconds(10)
    /// How long it is believed to have none.
    static let absence = Interval.seconds(30)

    func isAbsent(at now: Instant) -> Bool {
        if case .absent(let end) = state { return now < end }
        return false
    }

    /// A dial to an IPv6 address has ended.
    mutating func note(_ status: DialStatus, at now: Instant) {
        switch (status, state) {
        case (.connected, _), (.connectionRefused, _): state = .present(at: now, unreachable: 0)
        case (.networkUnreachable, .present(let at, let count))
        where count < Self.maximumUnreachable || now - at < Self.presence:
            state = .present(at: at, unreachable: min(count + 1, Self.maximumUnreachable))
        case (.networkUnreachable, _): state = .absent(until: now + Self.absence)
        default: break
        }
    }
}

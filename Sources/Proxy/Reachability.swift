import Dialogue
import Measures
import Wire

/// Whether the concentrator can be reached, as far as the proxy knows, so that applications are
/// told the true reason at once instead of waiting for what can't come.
struct Reachability {
    /// Why no request can be served at present.
    enum Obstacle: Equatable {
        /// No uplink is there.
        case noUplink
        /// None of the concentrator's names could be resolved so far.
        case noAddress
        /// It has not answered for as long as the log waits before it warns. A concentrator answers
        /// no stranger, so that a wrong key looks like one that is away.
        case noAnswer

        /// What a SOCKS application is told.
        var status: DialStatus { self == .noUplink ? .networkUnreachable : .generalFailure }

        /// What an HTTP application is told.
        var refusal: HTTPRefusal {
            switch self {
            case .noUplink:
                HTTPRefusal(.serviceUnavailable, "There is no uplink to reach the concentrator by.")
            case .noAddress:
                HTTPRefusal(.serviceUnavailable, "The concentrator's name can't be resolved.")
            case .noAnswer:
                HTTPRefusal(
                    .gatewayTimeout,
                    """
                    The concentrator does not answer: it is not running, its UDP port can't be reached, or one \
                    of the two does not have the other's public key.
                    """)
            }
        }
    }

    /// How long the concentrator may be silent before the log says so and applications are refused,
    /// doubled from one time to the next in the log.
    static let firstWait = Interval.seconds(5), maximumWait = Interval.seconds(320)

    private(set) var sessions = 0
    /// Until the next warning.
    private(set) var wait = Reachability.firstWait
    private var hasWarned = false
    private var uplinkChanges = 0

    mutating func sessionOpened() {
        sessions += 1
        wait = Self.firstWait
        hasWarned = false
    }

    mutating func sessionClosed() { sessions = max(0, sessions - 1) }

    /// The wait is over without a session; what stands in the way. Nil where one is up.
    mutating func waited(hasUplink: Bool, hasAddress: Bool) -> Obstacle? {
        guard sessions == 0 else { return nil }
        // Without an uplink nobody was asked: the wait begins anew when there is one.
        guard hasUplink else { return .noUplink }
        hasWarned = true
        wait = min(wait * 2, Self.maximumWait)
        return hasAddress ? .noAnswer : .noAddress
    }

    /// Whether an uplink has come, or come back changed, since the last call: the concentrator gets
    /// its time to answer over that one.
    mutating func noteUplinks(changes: Int) -> Bool {
        guard changes != uplinkChanges else { return false }
        uplinkChanges = changes
        hasWarned = false
        wait = Self.firstWait
        return true
    }

    /// What stands in the way of a request now. A session that is silent for a while is no
    /// obstacle: it may have lost its uplinks a moment ago, and its requests wait.
    func obstacle(hasUplink: Bool, hasAddress: Bool) -> Obstacle? {
        guard sessions == 0 else { return nil }
        guard hasUplink else { return .noUplink }
        return hasWarned ? (hasAddress ? .noAnswer : .noAddress) : nil
    }
}

/// What decides how much may be in flight.
public enum CongestionAlgorithm: String, CaseIterable, Sendable {
    case bbr, cubic, newReno = "newreno"
    /// Coupled over the subflows of a connection (RFC 6356, draft-khalili-mptcp-congestion-control,
    /// draft-walid-mptcp-congestion-control).
    case lia, olia, balia

    /// Whether the subflows of a connection look at each other.
    public var isCoupled: Bool {
        switch self {
        case .lia, .olia, .balia: true
        case .bbr, .cubic, .newReno: false
        }
    }
}

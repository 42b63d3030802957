import Measures

/// Whose traffic is captured, and what stays out of it.
public struct CapturePlan: Sendable, Equatable {
    /// What becomes of the traffic when nobody is there to carry it.
    public enum Exit: String, CaseIterable, Sendable {
        /// It goes as if there were no capture.
        case open
        /// It is dropped until a proxy captures again, or `braid capture remove`.
        case closed
    }
    /// How the packet filter gives to the proxy what is captured.
    public enum Method: String, CaseIterable, Sendable {
        /// `tproxy` where the kernel has it.
        case auto
        /// As it is, TCP and UDP.
        case tproxy
        /// By destination NAT: TCP and questions for names; other UDP is refused.
        case redirect
    }
    /// `auto`: chosen at the start.
    public var method = Method.auto
    /// The programs of this machine.
    public var machine = false
    /// Interfaces whose clients are captured.
    public var networks: [String] = []
    /// Destinations that are left alone, besides the networks this machine stands in.
    public var exclude: [Subnet] = []
    /// Networks this machine stands in that are captured all the same.
    public var include: [Subnet] = []
    /// Users of this machine whose programs are left alone.
    public var excludeUsers: [UInt32] = []
    /// Whether UDP is captured, too.
    public var udp = true
    /// When the proxy ends.
    public var exit = Exit.open

    /// Captures nothing yet.
    public init() {}
}

/// Where what is captured is taken.
public struct CapturePorts: Sendable, Equatable {
    /// On 127.0.0.1, and on ::1 where the machine has IPv6; by `redirect` on every address.
    public var tcp4: UInt16 = 0, tcp6: UInt16?
    /// Nil: UDP is not captured. By `redirect` questions for names alone come there.
    public var udp4: UInt16?, udp6: UInt16?
    /// The kernel's queue in which SYNs are held; nil: none are.
    public var queue: UInt16?

    /// None yet.
    public init() {}
}

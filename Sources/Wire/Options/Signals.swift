import Measures

/// MP_PRIO (RFC 8684 section 3.3.8): makes the subflow it arrives on backup or regular.
public struct MPPriority: Hashable, Sendable {
    public var backup = false
    public init() {}
}

/// MP_FAIL (RFC 8684 section 3.7).
public struct MPFail: Hashable, Sendable {
    public var dataSequence = DataSequence(0)
    public init() {}
}

/// MP_FASTCLOSE (RFC 8684 section 3.5).
public struct MPFastClose: Hashable, Sendable {
    public var receiverKey: UInt64 = 0
    public init() {}
}

/// MP_TCPRST (RFC 8684 section 3.6), only on a segment with RST.
public struct MPReset: Hashable, Sendable {
    /// T: the condition is transient.
    public var transient = false
    /// 0 to 6 (section 3.6), one of the constants below.
    public var reason: UInt8 = 0
    public init() {}

    public static let unspecified: UInt8 = 0
    public static let multipathSpecific: UInt8 = 1
    public static let lackOfResources: UInt8 = 2
    public static let administrativelyProhibited: UInt8 = 3
    public static let tooMuchOutstandingData: UInt8 = 4
    public static let unacceptablePerformance: UInt8 = 5
    public static let middleboxInterference: UInt8 = 6
}

import Measures

/// MP_PRIO (RFC 8684 section 3.3.8): makes the subflow it arrives on backup or regular.
public struct MPPriority: Hashable, Sendable {
    /// The subflow is for when no regular one works.
    public var backup = false
    /// To be filled in.
    public init() {}

    static let octets = 3

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(
            MultipathSubtype.priority, backup ? 1 : 0, octets: Self.octets, to: p)
    }

    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> MPPriority {
        guard length == octets else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.priority)
        }
        var option = MPPriority()
        option.backup = p.byte(2) & 1 != 0
        return option
    }
}

/// MP_FAIL (RFC 8684 section 3.7).
public struct MPFail: Hashable, Sendable {
    /// The data sequence number at which the failed mapping begins (section 3.7).
    public var dataSequence = DataSequence(0)
    /// To be filled in.
    public init() {}

    static let octets = 12

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(MultipathSubtype.fail, 0, octets: Self.octets, to: p)
        p.put(0 as UInt8, 3)
        p.put(dataSequence.value, 4)
    }

    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> MPFail {
        guard length == octets else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.fail)
        }
        var option = MPFail()
        option.dataSequence = DataSequence(p.word64(4))
        return option
    }
}

/// MP_FASTCLOSE (RFC 8684 section 3.5).
public struct MPFastClose: Hashable, Sendable {
    /// The key of whoever receives it, which proves that its sender may end the connection.
    public var receiverKey: UInt64 = 0
    /// To be filled in.
    public init() {}

    static let octets = 12

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(MultipathSubtype.fastClose, 0, octets: Self.octets, to: p)
        p.put(0 as UInt8, 3)
        p.put(receiverKey, 4)
    }

    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> MPFastClose {
        guard length == octets else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.fastClose)
        }
        var option = MPFastClose()
        option.receiverKey = p.word64(4)
        return option
    }
}

/// MP_TCPRST (RFC 8684 section 3.6), only on a segment with RST.
public struct MPReset: Hashable, Sendable {
    /// T: the condition is transient.
    public var transient = false
    /// 0 to 6 (section 3.6), one of the constants below.
    public var reason: UInt8 = 0
    /// To be filled in.
    public init() {}

    /// RFC 8684 section 3.6.
    public static let unspecified: UInt8 = 0
    /// An error of MPTCP.
    public static let multipathSpecific: UInt8 = 1
    /// The listener has no place for it; may be otherwise later.
    public static let lackOfResources: UInt8 = 2
    /// Forbidden by who runs the host.
    public static let administrativelyProhibited: UInt8 = 3
    /// The data it still owed has arrived over other subflows.
    public static let tooMuchOutstandingData: UInt8 = 4
    /// Too slow to be worth repairing.
    public static let unacceptablePerformance: UInt8 = 5
    /// Something under way changes or drops what MPTCP needs.
    public static let middleboxInterference: UInt8 = 6

    /// Whether another subflow on the same path may do better (section 3.6).
    public static func isTransient(_ reason: UInt8) -> Bool {
        reason == lackOfResources || reason == tooMuchOutstandingData
            || reason == unacceptablePerformance
    }

    static let octets = 4

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(
            MultipathSubtype.reset, transient ? 1 : 0, octets: Self.octets, to: p)
        p.put(reason, 3)
    }

    /// Of the bits U, V, W and T only T has a meaning here (U, V and W: reserved, section 3.6).
    static func read(
        _ p: UnsafeRawPointer, length: Int, flags: ControlBits
    ) throws(WireError) -> MPReset {
        guard length == octets, flags.contains(.rst) else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.reset)
        }
        var option = MPReset()
        option.transient = p.byte(2) & 1 != 0
        option.reason = p.byte(3)
        return option
    }
}

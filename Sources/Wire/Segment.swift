import Measures

/// The control bits of a TCP header (RFC 9293 section 3.1), as they stand in byte 13.
public struct ControlBits: OptionSet, Hashable, Sendable {
    public var rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let fin = ControlBits(rawValue: 0x01)
    public static let syn = ControlBits(rawValue: 0x02)
    public static let rst = ControlBits(rawValue: 0x04)
    public static let psh = ControlBits(rawValue: 0x08)
    public static let ack = ControlBits(rawValue: 0x10)
    public static let urg = ControlBits(rawValue: 0x20)
    public static let ece = ControlBits(rawValue: 0x40)
    public static let cwr = ControlBits(rawValue: 0x80)
}

/// One TCP segment without its payload: what the engine makes and takes, whatever its encoding.
///
/// A plain value without references, meant to be reused: `reset()` clears it without touching the
/// option fields that `options.present` does not name.
public struct Segment: Sendable {
    public var sourcePort: UInt16 = 0
    public var destinationPort: UInt16 = 0
    public var sequence = SubflowSequence(0)
    /// Meaningful only with `.ack`.
    public var acknowledgement = SubflowSequence(0)
    public var flags: ControlBits = []
    /// As on the wire: not yet scaled (RFC 7323 section 2.2).
    public var window: UInt16 = 0
    public var urgentPointer: UInt16 = 0
    public var options = SegmentOptions()

    public init() {}

    @inlinable public mutating func reset() {
        flags = []
        window = 0
        urgentPointer = 0
        options.present = []
    }
}

/// The options of a segment. A field means something only while `present` names it.
public struct SegmentOptions: Sendable {
    /// Which options the segment carries.
    public struct Kinds: OptionSet, Hashable, Sendable {
        public var rawValue: UInt16
        @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
        public static let maximumSegmentSize = Kinds(rawValue: 1 << 0)
        public static let windowScale = Kinds(rawValue: 1 << 1)
        public static let sackPermitted = Kinds(rawValue: 1 << 2)
        public static let timestamps = Kinds(rawValue: 1 << 3)
        public static let sack = Kinds(rawValue: 1 << 4)
        public static let multipathCapable = Kinds(rawValue: 1 << 5)
        public static let join = Kinds(rawValue: 1 << 6)
        public static let dss = Kinds(rawValue: 1 << 7)
        public static let addAddress = Kinds(rawValue: 1 << 8)
        public static let removeAddress = Kinds(rawValue: 1 << 9)
        public static let priority = Kinds(rawValue: 1 << 10)
        public static let fail = Kinds(rawValue: 1 << 11)
        public static let fastClose = Kinds(rawValue: 1 << 12)
        public static let reset = Kinds(rawValue: 1 << 13)
    }

    public var present: Kinds = []
    /// RFC 9293 section 3.7.1; bytes of payload.
    public var maximumSegmentSize: UInt16 = 0
    /// RFC 7323 section 2; a shift of 0 to 14.
    public var windowScale: UInt8 = 0
    /// RFC 7323 section 3.
    public var timestamps = Timestamps()
    public var sack = SACKBlocks()
    public var multipathCapable = MPCapable()
    public var join = MPJoin()
    public var dss = DSS()
    public var addAddress = AddAddress()
    public var removeAddress = RemoveAddress()
    public var priority = MPPriority()
    public var fail = MPFail()
    public var fastClose = MPFastClose()
    public var reset = MPReset()

    public init() {}
}

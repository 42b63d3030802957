import Measures

/// The control bits of a TCP header (RFC 9293 section 3.1), as they stand in byte 13.
public struct ControlBits: OptionSet, Hashable, Sendable {
    /// As in the header's byte 13.
    public var rawValue: UInt8
    /// From the header's byte 13.
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The sender has no more data.
    public static let fin = ControlBits(rawValue: 0x01)
    /// Sequence numbers are synchronised.
    public static let syn = ControlBits(rawValue: 0x02)
    /// The connection ends at once.
    public static let rst = ControlBits(rawValue: 0x04)
    /// The receiver should hand the data on.
    public static let psh = ControlBits(rawValue: 0x08)
    /// `acknowledgement` means something.
    public static let ack = ControlBits(rawValue: 0x10)
    /// `urgentPointer` means something.
    public static let urg = ControlBits(rawValue: 0x20)
    /// ECN echo (RFC 3168).
    public static let ece = ControlBits(rawValue: 0x40)
    /// Congestion window reduced (RFC 3168).
    public static let cwr = ControlBits(rawValue: 0x80)
}

/// One TCP segment without its payload: what the engine makes and takes, whatever its encoding.
///
/// A plain value without references, meant to be reused: `reset()` clears it without touching the
/// option fields that `options.present` does not name.
public struct Segment: Sendable {
    /// Of who sends it.
    public var sourcePort: UInt16 = 0
    /// Of who receives it.
    public var destinationPort: UInt16 = 0
    /// Of the first byte of payload, or of the SYN.
    public var sequence = SubflowSequence(0)
    /// Meaningful only with `.ack`.
    public var acknowledgement = SubflowSequence(0)
    /// SYN, ACK and so on.
    public var flags: ControlBits = []
    /// As on the wire: not yet scaled (RFC 7323 section 2.2).
    public var window: UInt16 = 0
    /// Only with URG.
    public var urgentPointer: UInt16 = 0
    /// Those of TCP and of RFC 8684.
    public var options = SegmentOptions()

    /// A segment without flags and options.
    public init() {}

    /// Without flags, window and options; ports and numbers stay until they are written.
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
        /// A bit for each kind.
        public var rawValue: UInt16
        /// A set of kinds by their bits.
        @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// RFC 9293 section 3.7.1.
        public static let maximumSegmentSize = Kinds(rawValue: 1 << 0)
        /// RFC 7323 section 2.
        public static let windowScale = Kinds(rawValue: 1 << 1)
        /// RFC 2018 section 2.
        public static let sackPermitted = Kinds(rawValue: 1 << 2)
        /// RFC 7323 section 3.
        public static let timestamps = Kinds(rawValue: 1 << 3)
        /// RFC 2018 section 3.
        public static let sack = Kinds(rawValue: 1 << 4)
        /// MP_CAPABLE (RFC 8684 section 3.1).
        public static let multipathCapable = Kinds(rawValue: 1 << 5)
        /// MP_JOIN (section 3.2).
        public static let join = Kinds(rawValue: 1 << 6)
        /// DSS (section 3.3).
        public static let dss = Kinds(rawValue: 1 << 7)
        /// ADD_ADDR (section 3.4.1).
        public static let addAddress = Kinds(rawValue: 1 << 8)
        /// REMOVE_ADDR (section 3.4.2).
        public static let removeAddress = Kinds(rawValue: 1 << 9)
        /// MP_PRIO (section 3.3.8).
        public static let priority = Kinds(rawValue: 1 << 10)
        /// MP_FAIL (section 3.7).
        public static let fail = Kinds(rawValue: 1 << 11)
        /// MP_FASTCLOSE (section 3.5).
        public static let fastClose = Kinds(rawValue: 1 << 12)
        /// MP_TCPRST (section 3.6).
        public static let reset = Kinds(rawValue: 1 << 13)
    }

    /// Which of the following count.
    public var present: Kinds = []
    /// RFC 9293 section 3.7.1; bytes of payload.
    public var maximumSegmentSize: UInt16 = 0
    /// RFC 7323 section 2; a shift of 0 to 14.
    public var windowScale: UInt8 = 0
    /// RFC 7323 section 3.
    public var timestamps = Timestamps()
    /// Counts where `present` has it, as does each below.
    public var sack = SACKBlocks()
    /// MP_CAPABLE (RFC 8684 section 3.1).
    public var multipathCapable = MPCapable()
    /// MP_JOIN (RFC 8684 section 3.2).
    public var join = MPJoin()
    /// DSS (RFC 8684 section 3.3).
    public var dss = DSS()
    /// ADD_ADDR (RFC 8684 section 3.4.1).
    public var addAddress = AddAddress()
    /// REMOVE_ADDR (RFC 8684 section 3.4.2).
    public var removeAddress = RemoveAddress()
    /// MP_PRIO (RFC 8684 section 3.3.8).
    public var priority = MPPriority()
    /// MP_FAIL (RFC 8684 section 3.7).
    public var fail = MPFail()
    /// MP_FASTCLOSE (RFC 8684 section 3.5).
    public var fastClose = MPFastClose()
    /// MP_TCPRST (RFC 8684 section 3.6).
    public var reset = MPReset()

    /// A segment without flags and options.
    public init() {}
}

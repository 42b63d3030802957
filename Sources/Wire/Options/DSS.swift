import Measures

/// DSS (RFC 8684 section 3.3): a data acknowledgement, a mapping, or both.
public struct DSS: Hashable, Sendable {
    /// How many octets a data sequence number takes on the wire. In the 4-octet form only the low 32
    /// bits of the value are meaningful; the connection widens them.
    public enum Width: UInt8, Hashable, Sendable { case four = 4, eight = 8 }
    public struct Mapping: Hashable, Sendable {
        public var dataSequence = DataSequence(0)
        public var width = Width.eight
        /// Relative to the subflow's initial sequence number; the first data byte has 1.
        public var subflowSequence: UInt32 = 0
        /// Bytes mapped, with 1 for a DATA_FIN; 0 says "to infinity" (section 3.7).
        public var length: UInt16 = 0
        public var checksum: UInt16?
        public init() {}
    }
    public var dataFin = false
    public var acknowledgement: DataSequence?
    public var acknowledgementWidth = Width.eight
    public var mapping: Mapping?
    public init() {}
}

/// A TCP sequence number of one subflow: 32 bits that wrap (RFC 9293 section 3.4).
///
/// Not `Comparable`: order is only known within half the space, through `distance(to:)`.
public struct SubflowSequence: Hashable, Sendable {
    /// The number as it is on the wire.
    public var value: UInt32
    /// From the number on the wire.
    @inlinable public init(_ value: UInt32) { self.value = value }

    /// `n` numbers on, modulo 2^32.
    @inlinable public static func + (a: SubflowSequence, n: Int) -> SubflowSequence {
        SubflowSequence(a.value &+ UInt32(truncatingIfNeeded: n))
    }
    /// `n` numbers back, modulo 2^32.
    @inlinable public static func - (a: SubflowSequence, n: Int) -> SubflowSequence {
        SubflowSequence(a.value &- UInt32(truncatingIfNeeded: n))
    }
    /// Moves `n` numbers on, modulo 2^32.
    @inlinable public static func += (a: inout SubflowSequence, n: Int) { a = a + n }

    /// How far `other` lies ahead; negative where it lies behind. Right within ±2^31.
    @inlinable public func distance(to other: SubflowSequence) -> Int {
        Int(Int32(bitPattern: other.value &- value))
    }
    /// Whether `other` lies ahead, within half of the space.
    @inlinable public func isBefore(_ other: SubflowSequence) -> Bool { distance(to: other) > 0 }
    /// Whether `other` is the same or lies ahead, within half of the space.
    @inlinable public func isAtOrBefore(_ other: SubflowSequence) -> Bool {
        distance(to: other) >= 0
    }
}

/// A data sequence number of one MPTCP connection: 64 bits that wrap (RFC 8684 section 3.3.1).
public struct DataSequence: Hashable, Sendable {
    /// All 64 bits of the number.
    public var value: UInt64
    /// From all 64 bits.
    @inlinable public init(_ value: UInt64) { self.value = value }

    /// `n` numbers on, modulo 2^64.
    @inlinable public static func + (a: DataSequence, n: Int) -> DataSequence {
        DataSequence(a.value &+ UInt64(bitPattern: Int64(n)))
    }
    /// `n` numbers back, modulo 2^64.
    @inlinable public static func - (a: DataSequence, n: Int) -> DataSequence {
        DataSequence(a.value &- UInt64(bitPattern: Int64(n)))
    }
    /// Moves `n` numbers on, modulo 2^64.
    @inlinable public static func += (a: inout DataSequence, n: Int) { a = a + n }

    /// How far `other` lies ahead; negative where it lies behind. Right within ±2^63.
    @inlinable public func distance(to other: DataSequence) -> Int {
        Int(Int64(bitPattern: other.value &- value))
    }
    /// What the 4-octet forms carry.
    @inlinable public var low32: UInt32 { UInt32(truncatingIfNeeded: value) }

    /// The number nearest to this one whose low 32 bits are `low` (RFC 8684 section 3.3.1: 4-octet
    /// forms).
    @inlinable public func nearest(low: UInt32) -> DataSequence {
        self + Int(Int32(bitPattern: low &- low32))
    }
}

/// The identifier of an address within a session or connection (RFC 8684 section 3.4.1); 0 is the
/// address of the initial subflow.
public struct AddressID: Hashable, Sendable {
    /// 0 to 255.
    public var value: UInt8
    /// From the octet on the wire.
    @inlinable public init(_ value: UInt8) { self.value = value }
    /// The address of the initial subflow.
    public static let initial = AddressID(0)
}

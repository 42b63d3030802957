/// A TCP sequence number of one subflow: 32 bits that wrap (RFC 9293 section 3.4).
///
/// Not `Comparable`: order is only known within half the space, through `distance(to:)`.
public struct SubflowSequence: Hashable, Sendable {
    public var value: UInt32
    @inlinable public init(_ value: UInt32) { self.value = value }

    @inlinable public static func + (a: SubflowSequence, n: Int) -> SubflowSequence {
        SubflowSequence(a.value &+ UInt32(truncatingIfNeeded: n))
    }
    @inlinable public static func - (a: SubflowSequence, n: Int) -> SubflowSequence {
        SubflowSequence(a.value &- UInt32(truncatingIfNeeded: n))
    }
    @inlinable public static func += (a: inout SubflowSequence, n: Int) { a = a + n }

    /// How far `other` lies ahead; negative where it lies behind. Right within ±2^31.
    @inlinable public func distance(to other: SubflowSequence) -> Int {
        Int(Int32(bitPattern: other.value &- value))
    }
    @inlinable public func isBefore(_ other: SubflowSequence) -> Bool { distance(to: other) > 0 }
    @inlinable public func isAtOrBefore(_ other: SubflowSequence) -> Bool {
        distance(to: other) >= 0
    }
}

/// A data sequence number of one MPTCP connection: 64 bits that wrap (RFC 8684 section 3.3.1).
public struct DataSequence: Hashable, Sendable {
    public var value: UInt64
    @inlinable public init(_ value: UInt64) { self.value = value }

    @inlinable public static func + (a: DataSequence, n: Int) -> DataSequence {
        DataSequence(a.value &+ UInt64(bitPattern: Int64(n)))
    }
    @inlinable public static func - (a: DataSequence, n: Int) -> DataSequence {
        DataSequence(a.value &- UInt64(bitPattern: Int64(n)))
    }
    @inlinable public static func += (a: inout DataSequence, n: Int) { a = a + n }

    /// How far `other` lies ahead; negative where it lies behind. Right within ±2^63.
    @inlinable public func distance(to other: DataSequence) -> Int {
        Int(Int64(bitPattern: other.value &- value))
    }
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
    public var value: UInt8
    @inlinable public init(_ value: UInt8) { self.value = value }
    public static let initial = AddressID(0)
}

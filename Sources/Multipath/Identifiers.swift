/// A path between the two ends, by the number that the owner of a connection gives it: in a session
/// its path ID, 0 to 15.
public struct PathID: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral,
    CustomStringConvertible
{
    /// From 0 on.
    public let number: Int

    /// The path with this number, from 0 on.
    @inlinable public init(_ number: Int) { self.number = number }
    /// The path that a header or a frame names.
    @inlinable public init(_ octet: UInt8) { number = Int(octet) }
    /// The path with this number, from 0 on.
    @inlinable public init(integerLiteral number: Int) { self.number = number }

    /// The number, as headers and frames have it.
    @inlinable public var octet: UInt8 { UInt8(truncatingIfNeeded: number) }
    /// The number.
    public var description: String { "\(number)" }
    /// By their numbers.
    @inlinable public static func < (a: PathID, b: PathID) -> Bool { a.number < b.number }
}

/// A subflow's place among those of its connection, given to another one after its end.
public struct SubflowIndex: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral,
    CustomStringConvertible
{
    /// From 0 on, without holes.
    public let value: Int

    /// The place with this number, from 0 on.
    @inlinable public init(_ value: Int) { self.value = value }
    /// The place with this number, from 0 on.
    @inlinable public init(integerLiteral value: Int) { self.value = value }

    /// The number.
    public var description: String { "\(value)" }
    /// By their numbers.
    @inlinable public static func < (a: SubflowIndex, b: SubflowIndex) -> Bool { a.value < b.value }
}

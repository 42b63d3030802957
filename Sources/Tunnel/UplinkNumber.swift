/// An uplink, by the number that the owner of an endpoint gives it: from 0 on, the preferred first.
public struct UplinkNumber: Hashable, Sendable, ExpressibleByIntegerLiteral,
    CustomStringConvertible
{
    /// From 0 on.
    public let value: Int

    /// The uplink with this number, from 0 on.
    public init(_ value: Int) { self.value = value }
    /// The uplink with this number, from 0 on.
    public init(integerLiteral value: Int) { self.value = value }

    /// The number.
    public var description: String { "\(value)" }
}

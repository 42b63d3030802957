/// An uplink, by the number that the owner of an endpoint gives it: from 0 on, the preferred first.
/// At a concentrator: the socket by which datagrams come.
public struct UplinkNumber: Hashable, Sendable, ExpressibleByIntegerLiteral,
    CustomStringConvertible
{
    /// From 0 on.
    public let value: Int

    /// The uplink with this number, from 0 on.
    @inlinable public init(_ value: Int) { self.value = value }
    /// The uplink with this number, from 0 on.
    @inlinable public init(integerLiteral value: Int) { self.value = value }

    /// The number.
    public var description: String { "\(value)" }
}

/// What belongs to each of some uplinks, by their numbers, which are small.
public struct UplinkTable<Value> {
    @usableFromInline var places: [Value?]

    /// Nothing belongs to any; `count`: how many numbers there are at least.
    @inlinable public init(count: Int = 0) { places = Array(repeating: nil, count: count) }

    /// Every number up to the greatest that was ever set, in order.
    @inlinable public var indices: LazyMapSequence<Range<Int>, UplinkNumber> {
        (0..<places.count).lazy.map { UplinkNumber($0) }
    }

    /// The smallest number to which nothing belongs.
    @inlinable public var unused: UplinkNumber {
        UplinkNumber(places.firstIndex { $0 == nil } ?? places.count)
    }

    /// Nil where nothing belongs to the number. Set for numbers from 0 on only: the table grows to
    /// the greatest.
    @inlinable public subscript(number: UplinkNumber) -> Value? {
        get { places.indices.contains(number.value) ? places[number.value] : nil }
        set {
            if newValue == nil, number.value >= places.count { return }
            while places.count <= number.value { places.append(nil) }
            places[number.value] = newValue
        }
    }
}

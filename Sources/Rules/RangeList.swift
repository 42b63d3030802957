import Measures

/// Ranges of addresses, sorted and merged, so that a look-up is a binary search.
public struct RangeList: Equatable, Sendable {
    private var v4: [ClosedRange<UInt32>] = []
    private var v6: [ClosedRange<UInt128>] = []
    private var isSorted = true

    /// Without a range.
    public init() {}

    /// Whether there is none.
    public var isEmpty: Bool { v4.isEmpty && v6.isEmpty }
    /// Ranges, of which those that touch count as one once they are sorted.
    public var count: Int { v4.count + v6.count }

    /// Adds a range; `sort()` must follow before anything is asked.
    public mutating func insert(_ subnet: Subnet) {
        isSorted = false
        if subnet.address.isIPv4 {
            let mask = subnet.prefix == 0 ? 0 : UInt32.max << UInt32(32 - subnet.prefix)
            let first = subnet.address.v4 & mask
            v4.append(first...(first | ~mask))
        } else {
            let mask = subnet.prefix == 0 ? 0 : UInt128.max << UInt128(128 - subnet.prefix)
            let first = Self.number(subnet.address) & mask
            v6.append(first...(first | ~mask))
        }
    }

    /// Puts the ranges in order and makes one of those that touch.
    public mutating func sort() {
        isSorted = true
        v4 = Self.merged(v4)
        v6 = Self.merged(v6)
    }

    private static func merged<N: FixedWidthInteger>(
        _ ranges: [ClosedRange<N>]
    ) -> [ClosedRange<N>] {
        var out: [ClosedRange<N>] = []
        out.reserveCapacity(ranges.count)
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard let last = out.last,
                last.upperBound == .max || range.lowerBound <= last.upperBound + 1
            else { out.append(range); continue }
            out[out.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
        }
        return out
    }

    /// Whether one of them has the address; an IPv4-mapped one is asked for as IPv4.
    public func contains(_ address: IPAddress) -> Bool { match(address) != nil }

    /// The first and last address of the range that has it.
    func match(_ address: IPAddress) -> ClosedRange<UInt128>? {
        assert(isSorted, "ranges are sorted before they are asked")
        let address = address.unmapped
        if address.isIPv4 {
            return Self.find(address.v4, in: v4).map {
                UInt128($0.lowerBound)...UInt128($0.upperBound)
            }
        }
        return Self.find(Self.number(address), in: v6)
    }

    private static func find<N: FixedWidthInteger>(
        _ number: N, in ranges: [ClosedRange<N>]
    ) -> ClosedRange<N>? {
        var low = 0, high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < number { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].lowerBound <= number ? ranges[low] : nil
    }

    private static func number(_ a: IPAddress) -> UInt128 {
        UInt128(a.high) << 64 | UInt128(a.low)
    }

    /// `10.0.0.0-10.255.255.255`, of the family of `address`.
    static func text(_ range: ClosedRange<UInt128>, like address: IPAddress) -> String {
        let ends = [range.lowerBound, range.upperBound].map { number in
            address.unmapped.isIPv4
                ? IPAddress(v4: UInt32(truncatingIfNeeded: number))
                : IPAddress(
                    v6High: UInt64(truncatingIfNeeded: number >> 64),
                    low: UInt64(truncatingIfNeeded: number))
        }
        return ends[0] == ends[1] ? "\(ends[0])" : "\(ends[0])-\(ends[1])"
    }
}

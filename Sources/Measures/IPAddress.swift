/// An IPv4 or IPv6 address in network byte order, without a port.
public struct IPAddress: Hashable, Sendable {
    /// The 16 bytes of an IPv6 address, big-endian, or an IPv4 address in the low 32 bits of `low`.
    public var high: UInt64
    /// The other eight bytes of an IPv6 address, or an IPv4 address in the low 32 bits.
    public var low: UInt64
    /// The family; an IPv4-mapped IPv6 address is IPv6.
    public var isIPv4: Bool

    /// An IPv4 address, its first octet in the highest bits.
    @inlinable public init(v4: UInt32) { high = 0; low = UInt64(v4); isIPv4 = true }
    /// An IPv6 address, its first octet in the highest bits of `v6High`.
    @inlinable public init(v6High: UInt64, low: UInt64) {
        high = v6High; self.low = low; isIPv4 = false
    }
    /// The address of an IPv4 one; of an IPv6 address its last four bytes.
    @inlinable public var v4: UInt32 { UInt32(truncatingIfNeeded: low) }

    /// The IPv4 address in an IPv4-mapped IPv6 one (RFC 4291 section 2.5.5.2), else itself.
    public var unmapped: IPAddress {
        !isIPv4 && high == 0 && low >> 32 == 0xffff
            ? IPAddress(v4: UInt32(truncatingIfNeeded: low)) : self
    }

    /// 0.0.0.0
    public static let unspecifiedV4 = IPAddress(v4: 0)
    /// `::`
    public static let unspecifiedV6 = IPAddress(v6High: 0, low: 0)
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad, or RFC 5952 form (longest run of zero groups shortened, lower case).
    public var description: String {
        if isIPv4 {
            return (0..<4).map { String((v4 >> (24 - 8 * UInt32($0))) & 255) }
                .joined(separator: ".")
        }
        let groups = (0..<8).map { i in
            UInt16(truncatingIfNeeded: (i < 4 ? high : low) >> UInt64(48 - 16 * (i & 3)))
        }
        var best = 0..<0, i = 0
        while i < 8 {
            var j = i
            while j < 8, groups[j] == 0 { j += 1 }
            if j - i > max(best.count, 1) { best = i..<j }
            i = max(j, i + 1)
        }
        let hex = { (s: Range<Int>) in
            s.map { String(groups[$0], radix: 16) }.joined(separator: ":")
        }
        return best.isEmpty
            ? hex(0..<8) : hex(0..<best.lowerBound) + "::" + hex(best.upperBound..<8)
    }

    /// Reads a dotted quad or an IPv6 address (with `::`, with a trailing dotted quad); nil for
    /// anything else.
    public init?(_ text: some StringProtocol) {
        if text.contains(":") {
            guard let v6 = IPAddress.readV6(String(text)) else { return nil }
            self = v6
        } else {
            guard let v4 = IPAddress.readV4(text) else { return nil }
            self.init(v4: v4)
        }
    }

    private static func readV4(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard !part.isEmpty, part.count <= 3, part.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
                let byte = UInt8(part), part.count == 1 || part.first != "0"
            else { return nil }
            value = value << 8 | UInt32(byte)
        }
        return value
    }

    private static func readV6(_ text: String) -> IPAddress? {
        // A dotted quad may stand only at the very end of the address.
        func groups(_ s: Substring, last: Bool) -> [UInt16]? {
            if s.isEmpty { return [] }
            var out: [UInt16] = []
            let parts = s.split(separator: ":", omittingEmptySubsequences: false)
            for (i, part) in parts.enumerated() {
                if last, i == parts.count - 1, part.contains(".") {
                    guard let v4 = readV4(part) else { return nil }
                    out += [UInt16(v4 >> 16), UInt16(v4 & 0xffff)]
                } else {
                    guard (1...4).contains(part.count), let g = UInt16(part, radix: 16),
                        part.first != "+", part.first != "-"
                    else { return nil }
                    out.append(g)
                }
            }
            return out
        }
        var all: [UInt16]
        if let gap = text.firstRange(of: "::") {
            guard let head = groups(text[..<gap.lowerBound], last: false),
                let tail = groups(text[gap.upperBound...], last: true),
                head.count + tail.count <= 7
            else { return nil }
            all = head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
        } else {
            guard let g = groups(text[...], last: true), g.count == 8 else { return nil }
            all = g
        }
        let word = { (s: ArraySlice<UInt16>) in s.reduce(UInt64(0)) { $0 << 16 | UInt64($1) } }
        return IPAddress(v6High: word(all[0..<4]), low: word(all[4..<8]))
    }
}

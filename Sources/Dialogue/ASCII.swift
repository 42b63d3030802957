/// Bytes as HTTP sees them.
enum ASCII {
    static let cr: UInt8 = 13, lf: UInt8 = 10, tab: UInt8 = 9, space: UInt8 = 32

    static func isSpace(_ b: UInt8) -> Bool { b == space || b == tab }
    /// But for the tab.
    static func isControl(_ b: UInt8) -> Bool { b < 0x20 && b != tab || b == 0x7f }
    static func isDigit(_ b: UInt8) -> Bool { b >= 0x30 && b <= 0x39 }

    /// `tchar` of RFC 9110 section 5.6.2.
    static func isToken(_ b: UInt8) -> Bool {
        switch b {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case 0x21, 0x23...0x27, 0x2a, 0x2b, 0x2d, 0x2e, 0x5e, 0x5f, 0x60, 0x7c, 0x7e: true
        default: false
        }
    }

    static func lower(_ b: UInt8) -> UInt8 { b >= 0x41 && b <= 0x5a ? b | 0x20 : b }

    static func lowercased(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.lazy.map(lower), as: UTF8.self)
    }

    /// Whether `bytes` are `text` (in lower case) but for the case of letters.
    static func equals(_ bytes: ArraySlice<UInt8>, _ text: String) -> Bool {
        bytes.count == text.utf8.count && zip(bytes, text.utf8).allSatisfy { lower($0) == $1 }
    }

    static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var out = bytes
        while let first = out.first, isSpace(first) { out.removeFirst() }
        while let last = out.last, isSpace(last) { out.removeLast() }
        return out
    }

    /// A decimal number of 1 to 18 digits and nothing else.
    static func decimal(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        guard (1...18).contains(bytes.count), bytes.allSatisfy(isDigit) else { return nil }
        return bytes.reduce(0) { $0 * 10 + UInt64($1 - 0x30) }
    }
}

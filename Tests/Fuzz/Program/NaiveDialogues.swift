import Measures
import Wire

// What applications say, read from all bytes at once and without a thought of memory or of cuts.

/// Bytes from the front on; nil where there are too few.
private struct Cursor {
    var left: ArraySlice<UInt8>

    mutating func take(_ n: Int) -> [UInt8]? {
        guard left.count >= n else { return nil }
        defer { left = left.dropFirst(n) }
        return Array(left.prefix(n))
    }
    mutating func byte() -> UInt8? { take(1)?[0] }
    mutating func port() -> UInt16? { take(2).map { UInt16($0[0]) << 8 | UInt16($0[1]) } }
    /// As many bytes as the next one says.
    mutating func string() -> [UInt8]? { byte().flatMap { take(Int($0)) } }
    /// At most 255 bytes and the zero behind them.
    mutating func text() -> [UInt8]? {
        guard let end = left.prefix(256).firstIndex(of: 0) else { return nil }
        return take(end - left.startIndex + 1).map { Array($0.dropLast()) }
    }
}

enum NaiveSocks {
    /// The replies and the target of a dialogue that comes to one, in `SocksTarget`'s words; else
    /// nil.
    static func read(_ bytes: [UInt8], wantsPassword: Bool) -> [String]? {
        var cursor = Cursor(left: bytes[...]), said: [String] = []
        let target =
            bytes.first == 4
            ? wantsPassword ? nil : version4(&cursor) : version5(&cursor, wantsPassword, &said)
        guard let target, target.port != 0 else { return nil }
        return said + ["open \(target), \(cursor.left.count) left"]
    }

    /// RFC 1928 sections 3 to 5, RFC 1929.
    private static func version5(
        _ c: inout Cursor, _ wantsPassword: Bool, _ said: inout [String]
    ) -> Target? {
        guard c.byte() == 5, let methods = c.string() else { return nil }
        let method: UInt8 = methods.contains(0) && !wantsPassword ? 0 : 2
        guard methods.contains(method) else { return nil }
        said.append("reply \([5, method] as [UInt8])")
        if method == 2 {
            guard c.byte() == 1, let user = c.string(), let password = c.string() else {
                return nil
            }
            if wantsPassword, user != Array("user".utf8) || password != Array("secret".utf8) {
                return nil
            }
            said.append("reply \([1, 0] as [UInt8])")
        }
        guard c.byte() == 5, c.byte() == 1, c.byte() != nil, let type = c.byte() else { return nil }
        let host: Target.Host? =
            switch type {
            case 1: c.take(4).map { .address(IPAddress(v4: UInt32(number($0)))) }
            case 3: c.string().flatMap(name)
            case 4: c.take(16).map(version6)
            default: nil
            }
        guard let host, let port = c.port() else { return nil }
        return Target(host: host, port: port)
    }

    /// "SOCKS: A protocol for TCP proxy across firewalls", and 4A.
    private static func version4(_ c: inout Cursor) -> Target? {
        guard c.byte() == 4, c.byte() == 1, let port = c.port(),
            let address = c.take(4).map(number),
            c.text() != nil
        else { return nil }
        guard address > 0, address < 256 else {
            return Target(host: .address(IPAddress(v4: UInt32(address))), port: port)
        }
        return c.text().flatMap(name).map { Target(host: $0, port: port) }
    }

    /// An IPv4-mapped address (RFC 4291 section 2.5.5.2) is the IPv4 one.
    private static func version6(_ bytes: [UInt8]) -> Target.Host {
        let isMapped = bytes.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
        return .address(
            isMapped
                ? IPAddress(v4: UInt32(number(bytes[12...])))
                : IPAddress(v6High: number(bytes[..<8]), low: number(bytes[8...])))
    }
    /// A name or an address in text, which has a colon where it stands in brackets.
    private static func name(_ bytes: [UInt8]) -> Target.Host? {
        let isBracketed = bytes.count > 2 && bytes.first == 91 && bytes.last == 93
        let bare = isBracketed ? Array(bytes[1..<(bytes.count - 1)]) : bytes
        if isBracketed, !bare.contains(58) { return nil }
        return bare.withUnsafeBytes { Target.Host(nameBytes: $0) }
    }
    private static func number(_ bytes: some Collection<UInt8>) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}

enum NaiveChunks {
    /// How long a chunked body at the front of `b` is, with its trailers (RFC 9112 section 7.1);
    /// nil where its end is not there or something is wrong before it.
    static func length(_ b: [UInt8]) -> Int? {
        var at = 0
        while let line = line(b, at) {
            let digits = line.prefix {
                String(decoding: [$0], as: UTF8.self).first!.isHexDigit && $0 < 128
            }
            // Behind the size nothing, white space, or an extension, which white space may stand
            // before.
            let rest = line[digits.endIndex...].drop { $0 == 9 || $0 == 32 }
            guard digits.count < 16,
                let size = Int(String(decoding: digits, as: UTF8.self), radix: 16),
                rest.isEmpty || rest.first == 59
            else { return nil }
            at = line.endIndex + 2
            if size == 0 {
                while let trailer = self.line(b, at) {
                    at = trailer.endIndex + 2
                    if trailer.isEmpty { return at }
                }
                return nil
            }
            guard size < b.count - at - 1, b[at + size] == 13, b[at + size + 1] == 10 else {
                return nil
            }
            at += size + 2
        }
        return nil
    }

    /// The line that begins at `at`, with neither half of a line's end nor a zero inside.
    private static func line(_ b: [UInt8], _ at: Int) -> ArraySlice<UInt8>? {
        guard let end = b[at...].firstIndex(where: { $0 == 13 || $0 == 10 || $0 == 0 }),
            end + 1 < b.count,
            b[end] == 13, b[end + 1] == 10
        else { return nil }
        return b[at..<end]
    }
}

import Crypto
import Measures
import Shell
import Wire

extension Target {
    /// `text` as an IPv6 address, where it may also be an IPv6 address with a port behind it:
    /// `2001:db8::7:443`. Without brackets nobody can tell.
    static func isAmbiguous(_ text: String) -> Bool {
        guard IPAddress(text)?.isIPv4 == false, let colon = text.lastIndex(of: ":") else {
            return false
        }
        let port = text[text.index(after: colon)...]
        return port.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt16(port) != nil
            && IPAddress(text[..<colon]) != nil
    }

    /// Reads `192.0.2.1:443`, `[2001:db8::1]:443`, `name.example:443`, and each without a port
    /// where
    /// `defaultPort` is given; nil for anything else.
    public init?(hostAndPort text: String, defaultPort: UInt16? = nil) {
        var hostText = text[...], port = defaultPort
        guard !Self.isAmbiguous(text) else { return nil }
        let isBareIPv6 = IPAddress(text).map { !$0.isIPv4 } ?? false
        if !isBareIPv6, !text.hasSuffix("]"), let colon = text.lastIndex(of: ":") {
            guard let number = UInt16(text[text.index(after: colon)...]), number > 0 else {
                return nil
            }
            port = number
            hostText = text[..<colon]
        }
        if hostText.hasPrefix("["), hostText.hasSuffix("]") {
            hostText = hostText.dropFirst().dropLast()
        }
        guard let port, let host = Host(hostText) else { return nil }
        // Digits and dots alone are a broken address.
        if case .name(let name) = host, !name.contains(where: \.isLetter) { return nil }
        self.init(host: host, port: port)
    }
}

/// Yes or no, as YAML writes them.
enum Truth: String, CaseIterable { case `true`, `false` }

// What a field can hold. Each returns nil after saying what is wrong.
extension Field {
    func text() -> String? {
        if case .text(let text) = item.content { return text }
        return wrong("must be one value, not a list or a table")
    }

    /// One of the cases of `Choice`.
    func choice<Choice: RawRepresentable & CaseIterable>(_: Choice.Type) -> Choice?
    where Choice.RawValue == String {
        guard let text = text() else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let names = Choice.allCases.map(\.rawValue)
        let hint = nearestName(to: text, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
        return wrong("\"\(text)\" is none of \(names.joined(separator: ", "))\(hint)")
    }

    /// A whole number inside `range`.
    func number(in range: ClosedRange<Int>) -> Int? {
        guard let text = text() else { return nil }
        guard let number = Int(text.replacing("_", with: "")) else {
            return wrong(
                "\"\(text)\" is not a whole number; give one from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        guard range.contains(number) else {
            return wrong("\(number) is outside of \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Bytes with an optional unit (KiB, MiB, GiB, kB, MB, GB) inside `range`.
    func bytes(in range: ClosedRange<ByteCount>) -> ByteCount? {
        guard let text = text() else { return nil }
        let units = [
            ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000),
            ("GB", 1_000_000_000), ("B", 1), ("", 1)
        ]
        let limits =
            "give it from \(range.lowerBound.bytes >> 10) KiB to \(range.upperBound.bytes >> 20) MiB"
        guard let count = quantity(text, units: units) else {
            return wrong("\"\(text)\" is not a size such as 8 MiB; \(limits)")
        }
        guard range.contains(ByteCount(count)) else {
            return wrong(
                "\(text) is too \(count < range.lowerBound.bytes ? "small" : "large"); \(limits)")
        }
        return ByteCount(count)
    }

    /// A host with a port, such as 203.0.113.7:443.
    func hostAndPort(defaultPort: UInt16) -> Target? {
        guard let text = text() else { return nil }
        if let found = Target(hostAndPort: text, defaultPort: defaultPort) { return found }
        if Target.isAmbiguous(text), let colon = text.lastIndex(of: ":") {
            return wrong(
                """
                \(text) may end in a port or not; write [\(text[..<colon])]\(text[colon...]) or [\(text)]:\(defaultPort)
                """)
        }
        return wrong("\"\(text)\" is not HOST:PORT, such as 203.0.113.7:443")
    }

    /// A time with a unit (ms, s, m, h, d) inside `range`.
    func interval(in range: ClosedRange<Interval>) -> Interval? {
        guard let text = text() else { return nil }
        let limits =
            "give it from \(words(range.lowerBound)) to \(words(range.upperBound))"
        guard
            let count = quantity(
                text,
                units: [
                    ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
                    ("h", 3_600_000_000_000), ("d", 86_400_000_000_000)
                ])
        else {
            return wrong("\"\(text)\" is not a time such as 30s; \(limits)")
        }
        let interval = Interval.nanoseconds(Int64(count))
        guard range.contains(interval) else {
            return wrong(
                "\(text) is too \(interval < range.lowerBound ? "short" : "long"); \(limits)")
        }
        return interval
    }

    /// As a person writes it: whole seconds, or milliseconds.
    private func words(_ interval: Interval) -> String {
        let milliseconds = interval.nanoseconds / 1_000_000
        return milliseconds % 1_000 == 0 ? "\(milliseconds / 1_000) s" : "\(milliseconds) ms"
    }

    /// A whole number and one of `units`, with or without a space between them; nil where it is
    /// neither.
    private func quantity(_ text: String, units: [(String, Int)]) -> Int? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        guard let number = Int(digits),
            let factor = units.first(where: { $0.0 == unit })?.1
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }

    /// An IP address with a port, for listening.
    func socketAddress(example: String) -> SocketAddress? {
        guard let text = text() else { return nil }
        if let address = SocketAddress(text) { return address }
        return wrong("\"\(text)\" is not an address with a port, such as \(example)")
    }

    /// A public key as `braid keygen` prints it.
    func publicKey() -> Key32? {
        guard let text = text() else { return nil }
        guard let key = Key32(base64: text), key != .zero else {
            return wrong(
                "\"\(text)\" is not a key; it is the 44 characters that braid keygen prints")
        }
        return key
    }

    /// A file, relative to `folder`, which is empty or ends with a slash.
    func path(relativeTo folder: String) -> String? {
        guard let text = text() else { return nil }
        guard !text.isEmpty else { return wrong("is empty; give the path of a file") }
        return text.hasPrefix("/") ? text : folder + text
    }

    /// The members of a list, or the one value standing for a list of one; each named after its
    /// position.
    func list() -> [Field]? {
        switch item.content {
        case .list(let items):
            return items.enumerated().map { index, item in
                Field(name: "\(name)[\(index)]", item: item, place: item.place, report: report)
            }
        case .text, .table: return [self]
        case .nothing: return wrong("has no value; give it one or leave the key out")
        }
    }
}

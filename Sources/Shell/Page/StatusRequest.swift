import Measures

/// A request to the status page: everything that a decision about it goes by.
public struct StatusRequest: Equatable {
    /// As it came: `GET`, `HEAD`, `POST` or something else.
    public var method: String
    /// Without its query.
    public var path: String
    /// What stands behind the question mark, decoded; of each name the first.
    public var query: [String: String] = [:]
    /// Where the client believes itself to be: `HOST` or `HOST:PORT`, or nothing at all.
    public var host: String?
    /// The page that asks (RFC 6454), which a browser adds by itself and no page can forge.
    public var origin: String?
    /// `Sec-Fetch-Site`, which newer browsers add likewise; nil: another client.
    public var fetchSite: String?
    /// `Sec-Fetch-Mode`.
    public var fetchMode: String?
    /// The `Authorization` field.
    public var authorization: String?
    /// What follows the head; of a POST only.
    public internal(set) var body: [UInt8] = []
    /// Bytes that follow the head.
    private(set) var bodyLength = 0

    /// Fields of a query or a form; more are left out.
    static let maximumFields = 16

    /// The fields of a form's body (`application/x-www-form-urlencoded`).
    public var form: [String: String] { Self.fields(body[...]) }

    /// Nil where `head`, up to its empty line, is no request of HTTP/1 that is served here: one
    /// field of each name, a Host that is one, a body by its length only.
    init?(head: [UInt8]) {
        var lines = head.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)[...]
        guard let first = lines.popFirst() else { return nil }
        let words = Self.text(first).split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("HTTP/1."), words[1].hasPrefix("/") else {
            return nil
        }
        method = String(words[0])
        let target = words[1].prefix { $0 != "#" }
        path = String(target.prefix { $0 != "?" })
        query = Self.fields(Array(target.dropFirst(path.count + 1).utf8)[...])
        var length: String?
        for line in lines {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let value = Self.text(line[line.index(after: colon)...])
            let isOnly =
                switch Self.text(line[..<colon]).lowercased() {
                case "host": Self.isHost(value) && Self.take(value, &host)
                case "origin": Self.take(value, &origin)
                case "sec-fetch-site": Self.take(value, &fetchSite)
                case "sec-fetch-mode": Self.take(value, &fetchMode)
                case "authorization": Self.take(value, &authorization)
                case "content-length": Self.take(value, &length)
                case "transfer-encoding": false
                default: true
                }
            guard isOnly else { return nil }
        }
        guard let length else { return }
        guard !length.isEmpty, length.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let count = Int(length)
        else { return nil }
        bodyLength = count
    }

    /// `uri-host [ ":" port ]` (RFC 9110 section 7.2), or nothing; user information is no part of
    /// it, and its colon would be taken for the port's.
    private static func isHost(_ value: String) -> Bool {
        var rest = value.utf8[...]
        if rest.first == UInt8(ascii: "["), let end = rest.firstIndex(of: UInt8(ascii: "]")) {
            let address = value[value.index(after: rest.startIndex)..<end]
            guard address.contains(":"), IPAddress(String(address)) != nil else { return false }
            rest = rest[value.utf8.index(after: end)...]
        } else {
            rest = rest.drop { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
                case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"): true
                default: false
                }
            }
        }
        guard let colon = rest.popFirst() else { return true }
        return colon == UInt8(ascii: ":") && rest.allSatisfy { (0x30...0x39).contains($0) }
    }

    /// False where the field was there already: one too many for a browser, and nobody else cares.
    private static func take(_ value: String, _ field: inout String?) -> Bool {
        guard field == nil else { return false }
        field = value
        return true
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        var bytes = bytes
        func isSpace(_ byte: UInt8?) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
        while isSpace(bytes.first) { bytes.removeFirst() }
        while isSpace(bytes.last) { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `name=value&name=value`, percent-decoded.
    static func fields(_ bytes: ArraySlice<UInt8>) -> [String: String] {
        var fields: [String: String] = [:]
        for pair in bytes.split(separator: UInt8(ascii: "&"), maxSplits: maximumFields)
            .prefix(maximumFields)
        {
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            let key = decoded(name)
            if fields[key] == nil { fields[key] = decoded(pair.dropFirst(name.count + 1)) }
        }
        return fields
    }

    private static func decoded(_ bytes: ArraySlice<UInt8>) -> String {
        var out: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            {
                out.append(value)
                rest.removeFirst(2)
            } else {
                out.append(byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

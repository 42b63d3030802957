/// JSON that is written as it goes, into bytes: the page's messages, a few kilobytes a second.
struct JSONText {
    private(set) var bytes: [UInt8] = []
    private var needsComma = false

    /// An object, of what `body` writes with keys.
    static func object(_ body: (inout JSONText) -> Void) -> [UInt8] {
        var json = JSONText()
        json.object(body)
        return json.bytes
    }

    mutating func object(_ body: (inout JSONText) -> Void) { enclose("{", "}", body) }

    mutating func object(_ key: StaticString, _ body: (inout JSONText) -> Void) {
        write(key)
        enclose("{", "}", body)
    }

    mutating func array(_ body: (inout JSONText) -> Void) { enclose("[", "]", body) }

    mutating func array(_ key: StaticString, _ body: (inout JSONText) -> Void) {
        write(key)
        enclose("[", "]", body)
    }

    mutating func field(_ key: StaticString, _ value: String) { write(key); self.value(value) }
    mutating func field(_ key: StaticString, _ value: Int) { write(key); self.value(value) }
    mutating func field(_ key: StaticString, _ value: Bool) { write(key); self.value(value) }
    mutating func field(_ key: StaticString, thousandths value: Double) {
        write(key)
        self.value(thousandths: value)
    }

    mutating func value(_ value: Int) { separate(); bytes += String(value).utf8 }
    mutating func value(_ value: Bool) { separate(); bytes += (value ? "true" : "false").utf8 }
    mutating func null() { separate(); bytes += "null".utf8 }

    /// With three digits behind the point, without needless ones; what is no number is null.
    mutating func value(thousandths value: Double) {
        guard value.isFinite, abs(value) < 1e12 else { null(); return }
        separate()
        let all = Int((value * 1000).rounded()), part = abs(all) % 1000
        if all < 0 { bytes.append(UInt8(ascii: "-")) }
        bytes += String(abs(all) / 1000).utf8
        guard part > 0 else { return }
        bytes.append(UInt8(ascii: "."))
        var digits = [UInt8(part / 100), UInt8(part / 10 % 10), UInt8(part % 10)]
        while digits.last == 0 { digits.removeLast() }
        bytes += digits.map { $0 + UInt8(ascii: "0") }
    }

    mutating func value(_ text: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0..<0x20:
                bytes += "\\u00".utf8
                bytes += [Self.digits[Int(byte >> 4)], Self.digits[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private mutating func write(_ key: StaticString) {
        value("\(key)")
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func enclose(
        _ opening: Unicode.Scalar, _ closing: Unicode.Scalar, _ body: (inout JSONText) -> Void
    ) {
        separate()
        bytes.append(UInt8(ascii: opening))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: closing))
        needsComma = true
    }
}

extension JSONText {
    /// An event of a stream (Server-Sent Events); `json` has no line's end.
    static func event(_ name: StaticString, _ json: [UInt8]) -> [UInt8] {
        Array("event: \(name)\ndata: ".utf8) + json + Array("\n\n".utf8)
    }
}

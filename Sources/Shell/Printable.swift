/// Text from outside as a terminal may be given it: nothing in it moves the cursor, changes colours
/// or the direction of writing, or begins a line of its own.
public enum Printable {
    /// Control characters as `\n`, `\xNN` and `\u{NNNN}`.
    public static func text(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        var out = ""
        for c in text.unicodeScalars { append(c, to: &out) }
        return out
    }

    /// The same for a JSON document: line ends stay, others become `\uNNNN`, which inside of
    /// strings, where alone JSON may have them, means the same.
    public static func json(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { isControl($0) && $0 != "\n" }) else {
            return text
        }
        var out = ""
        for c in text.unicodeScalars {
            if isControl(c), c != "\n" {
                let digits = String(c.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            } else {
                out.unicodeScalars.append(c)
            }
        }
        return out
    }

    /// C0, DEL, C1, and what makes a terminal or viewer break or reorder lines.
    static func isControl(_ c: Unicode.Scalar) -> Bool {
        switch c {
        case _ where c.value < 0x20 || (0x7f...0x9f).contains(c.value): true
        case "\u{61c}", "\u{200e}", "\u{200f}", "\u{2028}", "\u{2029}", "\u{202a}"..."\u{202e}",
            "\u{2066}"..."\u{2069}":
            true
        default: false
        }
    }

    static func append(_ c: Unicode.Scalar, to out: inout String) {
        switch c {
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case _ where isControl(c) && c.value < 0x100:
            out += "\\x" + (c.value < 16 ? "0" : "") + String(c.value, radix: 16)
        case _ where isControl(c): out += "\\u{" + String(c.value, radix: 16) + "}"
        default: out.unicodeScalars.append(c)
        }
    }
}

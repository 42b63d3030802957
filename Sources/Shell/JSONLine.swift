import Logging

/// A record of the log as one JSON object on a line of its own (RFC 8259, RFC 3339): `time`,
/// `level`, `part`, `message`, then what belongs to it by its own names.
enum JSONLine {
    /// Names that a record has by itself; a detail of that name gets a `_` behind it.
    private static let own: Set = ["time", "level", "part", "message"]

    static func line(
        level: Logger.Level, label: String, message: String, metadata: Logger.Metadata,
        at time: UInt64
    ) -> String {
        var out = "{"
        func add(_ key: String, _ value: String) {
            if out.utf8.count > 1 { out += "," }
            append(key, to: &out)
            out += ":"
            append(value, to: &out)
        }
        add("time", LineLog.timestamp(time))
        add("level", level.rawValue)
        add("part", label)
        add("message", message)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            add(own.contains(key) ? key + "_" : key, "\(value)")
        }
        return out + "}\n"
    }

    private static func append(_ text: String, to out: inout String) {
        out += "\""
        for c in text.unicodeScalars {
            switch c {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where Printable.isControl(c):
                // None of them is beyond 16 bits.
                let digits = String(c.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            default: out.unicodeScalars.append(c)
            }
        }
        out += "\""
    }
}

import Glibc
import Logging
import Synchronization

/// One line a record on standard error: time (RFC 3339, UTC, milliseconds), level, label, message,
/// metadata.
public enum LogSetup {
    /// Call once, before the first `Logger` is made.
    /// `isJSON`: one JSON object a line in place of text.
    public static func bootstrap(level: Logger.Level, isJSON: Bool = false) {
        self.level = level
        LoggingSystem.bootstrap { label in LineLog(label: label, isJSON: isJSON) }
    }

    private static let number = Atomic<Int>(Logger.Level.allCases.firstIndex(of: .info) ?? 0)

    /// Records below it are not written: of every logger, also of those that were made before.
    public static var level: Logger.Level {
        get { Logger.Level.allCases[number.load(ordering: .relaxed)] }
        set {
            number.store(Logger.Level.allCases.firstIndex(of: newValue) ?? 0, ordering: .relaxed)
        }
    }
}

/// The handler; lines are escaped, so that no peer's bytes begin a line of their own.
struct LineLog: LogHandler {
    let label: String
    var metadata: Logger.Metadata = [:]
    private let isJSON: Bool
    /// Of this logger alone; nil: that of all.
    private var ownLevel: Logger.Level?

    init(label: String, isJSON: Bool = false) {
        self.label = label
        self.isJSON = isJSON
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? LogSetup.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let more = event.metadata { all.merge(more) { $1 } }
        let write = isJSON ? JSONLine.line : Self.line
        let line = write(
            event.level, label, event.message.description, all, EventLoop.wallClock())
        // One write: records of several processes on one terminal don't mix.
        line.utf8CString.withUnsafeBytes { _ = Glibc.write(2, $0.baseAddress, $0.count - 1) }
    }

    static func line(
        level: Logger.Level, label: String, message: String, metadata: Logger.Metadata,
        at time: UInt64
    ) -> String {
        var out = "\(timestamp(time)) \(name(level)) \(label): "
        append(message, to: &out, quoting: false)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            out += " "
            append(key, to: &out, quoting: false)
            out += "="
            append("\(value)", to: &out, quoting: true)
        }
        return out + "\n"
    }

    private static func name(_ level: Logger.Level) -> String {
        switch level {
        case .trace: "trace"
        case .debug: "debug"
        case .info: "info"
        case .notice: "note"
        case .warning: "warn"
        case .error: "error"
        case .critical: "fatal"
        }
    }

    /// `2026-01-31T09:05:07.042Z`, from nanoseconds since 1970.
    static func timestamp(_ nanoseconds: UInt64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000), t = tm()
        gmtime_r(&seconds, &t)
        func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
        let milliseconds = String(nanoseconds / 1_000_000 % 1_000)
        let fraction = String(repeating: "0", count: 3 - milliseconds.count) + milliseconds
        return "\(t.tm_year + 1900)-\(two(t.tm_mon + 1))-\(two(t.tm_mday))"
            + "T\(two(t.tm_hour)):\(two(t.tm_min)):\(two(t.tm_sec)).\(fraction)Z"
    }

    /// Control characters as `\n`, `\xNN`; quotes around values with spaces or quotes in them.
    private static func append(_ text: String, to out: inout String, quoting: Bool) {
        let special: Set<Unicode.Scalar> = [" ", "\"", "="]
        let quotes =
            quoting && (text.isEmpty || text.unicodeScalars.contains(where: special.contains))
        if quotes { out += "\"" }
        for c in text.unicodeScalars {
            switch c {
            case "\"" where quotes: out += "\\\""
            case "\\" where quotes: out += "\\\\"
            default: Printable.append(c, to: &out)
            }
        }
        if quotes { out += "\"" }
    }
}

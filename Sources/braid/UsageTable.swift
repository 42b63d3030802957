import Foundation
import History

/// Usage as lines for a person, and as it travels.
enum UsageTable {
    /// A row as JSON has it.
    struct Row: Codable {
        /// `2026-01`, `2026-01-31`, `2026-01-31 14:00` in local time; `earlier`: before all days
        /// that are kept.
        var period: String
        var user: String?
        var uplink: String
        /// Bytes of IP packets.
        var sentBytes: Int
        var receivedBytes: Int
    }

    static func lines(_ rows: [Row], _ span: UsageLedger.Span) -> [String] {
        guard !rows.isEmpty else { return ["nothing was counted yet"] }
        let hasUsers = rows.contains { $0.user != nil }
        var heads = [span.rawValue, hasUsers ? "path" : "uplink", "up", "down", "total"]
        if hasUsers { heads.insert("user", at: 1) }
        let cells = rows.map { row in
            [row.period] + (hasUsers ? [row.user ?? "-"] : []) + [row.uplink]
                + [row.sentBytes, row.receivedBytes, row.sentBytes &+ row.receivedBytes].map(
                    StatusTable.bytes)
        }
        let all = [heads] + cells
        let widths = heads.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        let firstNumber = heads.count - 3
        return all.map { row in
            row.indices.map { column in
                let pad = String(repeating: " ", count: widths[column] - row[column].count)
                return column >= firstNumber ? pad + row[column] : row[column] + pad
            }.joined(separator: "  ")
        }
    }

    /// `2026-01-31 14:03:07.412`, local time.
    static func time(_ milliseconds: Int64) -> String {
        let t = local(milliseconds / 1_000)
        return String(
            format: "%04d-%02d-%02d %02d:%02d:%02d.%03d", t.tm_year + 1_900, t.tm_mon + 1,
            t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, Int32(milliseconds % 1_000))
    }

    /// The clock alone.
    static func clock(_ milliseconds: Int64) -> String { String(time(milliseconds).dropFirst(11)) }

    private static func local(_ seconds: Int64) -> tm {
        // Of a file that somebody wrote: what is no time is shown as some.
        var seconds = time_t(min(max(seconds, 0), 1 << 40)), t = tm()
        localtime_r(&seconds, &t)
        return t
    }
}

extension UsageTable.Row {
    init(_ row: UsageLedger.Row, _ span: UsageLedger.Span) {
        self.init(
            period: Self.name(row.period, span), user: row.source.user, uplink: row.source.uplink,
            sentBytes: row.volume.sent, receivedBytes: row.volume.received)
    }

    private static func name(_ period: Int, _ span: UsageLedger.Span) -> String {
        switch span {
        case .hour:
            let hour = Int64(min(max(period, 0), 1 << 30))
            return String(UsageTable.time(hour * 3_600_000).prefix(16))
        case _ where period <= 0: return "earlier"
        case .day:
            return String(
                format: "%04d-%02d-%02d", period / 10_000, period / 100 % 100, period % 100)
        case .month: return String(format: "%04d-%02d", period / 100, period % 100)
        }
    }
}

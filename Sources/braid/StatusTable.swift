import Foundation

/// `StatusReport` as lines for a person.
enum StatusTable {
    static func lines(_ report: StatusReport) -> [String] {
        var lines = [
            "\(report.role) \(report.version), pid \(report.pid), up \(duration(report.upSeconds)): "
                + "\(counted(report.sessions.count, "session")), \(counted(report.connections, "connection"))"
                + (report.datagramsDropped > 0 ? ", \(counted(report.datagramsDropped, "datagram")) dropped" : ""),
        ]
        if report.sessions.isEmpty {
            lines.append(report.role == "proxy" ? "not connected to the concentrator" : "no proxy is connected")
        }
        for session in report.sessions {
            let who = session.user.isEmpty ? "session \(session.number)" : session.user
            lines.append("")
            lines.append("\(who), mode \(session.mode), since \(duration(session.ageSeconds)), "
                + counted(session.connections, "connection"))
            lines += table(session.paths.map(row))
        }
        return lines
    }

    private static let heads = ["path", "uplink", "state", "rtt", "least", "loss", "sending", "receiving", "sent", "received", "from", "to"]
    /// Columns of numbers stand right.
    private static let right: Set = ["rtt", "least", "loss", "sending", "receiving", "sent", "received"]

    private static func row(_ path: StatusReport.Path) -> [String] {
        [
            "\(path.number)", path.uplink, path.health + (path.backup ? ", backup" : ""), milliseconds(path.rttMilliseconds),
            milliseconds(path.minimumRTTMilliseconds), String(format: "%.1f %%", path.loss * 100),
            rate(path.sendBitsPerSecond), rate(path.receiveBitsPerSecond), bytes(path.bytesSent), bytes(path.bytesReceived),
            path.local, path.remote,
        ]
    }

    private static func table(_ rows: [[String]]) -> [String] {
        guard !rows.isEmpty else { return ["  no paths"] }
        let all = [heads] + rows
        let widths = heads.indices.map { column in all.map { $0[column].count }.max()! }
        return all.map { row in
            let cells = row.indices.map { column in
                let pad = String(repeating: " ", count: widths[column] - row[column].count)
                return right.contains(heads[column]) ? pad + row[column] : row[column] + pad
            }
            let line = "  " + cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }

    static func counted(_ n: Int, _ noun: String) -> String { n == 1 ? "1 \(noun)" : "\(n) \(noun)s" }

    private static func milliseconds(_ value: Double?) -> String {
        value.map { String(format: $0 < 10 ? "%.1f ms" : "%.0f ms", $0) } ?? "-"
    }

    private static func rate(_ bits: Int64) -> String { bits == 0 ? "-" : scaled(Double(bits), ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]) }

    private static func bytes(_ n: Int) -> String { scaled(Double(n), ["B", "kB", "MB", "GB", "TB"]) }

    private static func scaled(_ value: Double, _ units: [String]) -> String {
        var value = value, unit = 0
        while value >= 1000, unit < units.count - 1 { value /= 1000; unit += 1 }
        return String(format: unit == 0 || value >= 100 ? "%.0f %@" : "%.1f %@", value, units[unit])
    }

    static func duration(_ seconds: Double) -> String {
        let s = Int(seconds)
        return switch s {
        case ..<60: "\(s) s"
        case ..<3600: "\(s / 60) min \(s % 60) s"
        case ..<86400: "\(s / 3600) h \(s % 3600 / 60) min"
        default: "\(s / 86400) d \(s % 86400 / 3600) h"
        }
    }
}

import Foundation
import Shell

/// A status as lines for a person.
enum StatusTable {
    static func lines(_ document: StatusDocument) -> [String] {
        let status = document.status
        var lines = [
            "\(status.role) \(document.version), pid \(document.pid), up \(duration(status.uptimeSeconds)), "
                + "on \(status.listen.joined(separator: " "))",
            "\(counted(status.sessions.count, "session")), \(counted(status.connections, "connection"))"
                + (status.datagramsDropped > 0
                    ? ", \(counted(status.datagramsDropped, "datagram")) dropped" : "")
        ]
        if !status.uplinks.isEmpty {
            let all = status.uplinks.map { uplink in
                uplink.name + (uplink.isOff ? " (off)" : uplink.isBackup ? " (backup)" : "")
                    + (uplink.isPresent ? "" : " (not there)") + money(uplink)
            }
            lines.append("uplinks: " + all.joined(separator: ", "))
            for uplink in status.uplinks {
                if let problem = uplink.problem {
                    lines.append("  \(uplink.name): nothing was ever heard; \(problem)")
                }
            }
        }
        if status.sessions.isEmpty {
            lines.append(
                status.role == "proxy"
                    ? "not connected to the concentrator" : "no proxy is connected")
        }
        for key in status.strangers {
            lines.append(
                "an unknown key was refused \(duration(key.secondsAgo)) ago, from \(key.remote);"
                    + " to let it in: braid user add NAME \(key.publicKey)")
        }
        for session in status.sessions {
            let who = session.user.isEmpty ? "session \(session.number)" : session.user
            lines += [
                "",
                "\(who): mode \(session.mode)\(reason(session)), for \(duration(session.ageSeconds)), "
                    + counted(session.connections, "connection") + datagrams(session)
                    + version(session, of: status.role)
            ]
            lines += table(rows(session))
        }
        return lines
    }

    /// What of an allowance is used, and what that cost.
    private static func money(_ uplink: ServerStatus.UplinkState) -> String {
        guard let used = uplink.usedBytes else { return "" }
        var text = ", " + bytes(used) + (uplink.allowanceBytes.map { " of \(bytes($0))" } ?? "")
        if let spent = uplink.spent, let currency = uplink.currency {
            text += String(format: " for %.2f ", spent) + currency
        }
        return text + " used"
    }

    /// Why the mode is what it is, where it follows from use.
    static func reason(_ session: ServerStatus.Session) -> String {
        session.modeReason.map { " (auto: \($0))" } ?? ""
    }

    /// What the other end runs.
    private static func version(_ session: ServerStatus.Session, of role: String) -> String {
        let peer = role == "proxy" ? "concentrator" : "proxy"
        return session.peerVersion.isEmpty
            ? ", the \(peer) does not say its version" : ", \(peer) \(session.peerVersion)"
    }

    /// What the session has of associations; nothing where there is none.
    private static func datagrams(_ session: ServerStatus.Session) -> String {
        guard session.associations > 0 else { return "" }
        var text = ", " + counted(session.associations, "UDP association")
        text += " with " + counted(session.flows, "flow")
        if session.redundantFlows > 0 { text += ", \(session.redundantFlows) redundant" }
        if session.spreadFlows > 0 { text += ", \(session.spreadFlows) spread" }
        return text
    }

    static let heads = [
        "path", "uplink", "state", "rtt", "min", "loss", "mtu", "sending", "receiving", "sent",
        "received", "from", "to"
    ]
    /// Columns of numbers stand right.
    private static let right: Set = [
        "rtt", "min", "loss", "mtu", "sending", "receiving", "sent", "received"
    ]

    static func rows(_ session: ServerStatus.Session) -> [[String]] {
        session.paths.map { path in
            [
                "\(path.number)", path.uplink, path.health + (path.isBackup ? ", backup" : ""),
                milliseconds(path.rttMilliseconds), milliseconds(path.minimumRTTMilliseconds),
                String(format: "%.1f %%", path.loss * 100),
                path.packetSize > 0 ? "\(path.packetSize)" : "-", rate(path.sendBitsPerSecond),
                rate(path.receiveBitsPerSecond),
                bytes(path.bytesSent), bytes(path.bytesReceived), path.local, path.remote
            ]
        }
    }

    private static func table(_ rows: [[String]]) -> [String] {
        guard !rows.isEmpty else { return ["  no path"] }
        let all = [heads] + rows
        let widths = heads.indices.map { column in all.map { $0[column].count }.max()! }
        return all.map { row in
            let cells = row.indices.map { column in
                let pad = String(repeating: " ", count: widths[column] - row[column].count)
                return right.contains(heads[column]) ? pad + row[column] : row[column] + pad
            }
            var line = "  " + cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    static func counted(_ n: Int, _ noun: String) -> String {
        n == 1 ? "1 \(noun)" : "\(n) \(noun)s"
    }

    /// Before the first answer there is no round trip to tell.
    static func milliseconds(_ value: Double) -> String {
        value > 0 && value < 1e9 ? String(format: value < 10 ? "%.1f ms" : "%.0f ms", value) : "-"
    }

    static func rate(_ bits: Int64) -> String {
        bits == 0 ? "-" : scaled(Double(bits), ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"])
    }

    static func bytes(_ n: Int) -> String {
        scaled(Double(n), ["B", "kB", "MB", "GB", "TB"])
    }

    private static func scaled(_ value: Double, _ units: [String]) -> String {
        var value = value, unit = 0
        while value >= 1000, unit < units.count - 1 { value /= 1000; unit += 1 }
        return String(format: unit == 0 || value >= 100 ? "%.0f " : "%.1f ", value) + units[unit]
    }

    static func duration(_ seconds: Double) -> String {
        // From another process: what is no time is shown as some.
        let s = Int(min(max(seconds, 0), 1e12))
        return switch s {
        case ..<60: "\(s) s"
        case ..<3600: "\(s / 60) min \(s % 60) s"
        case ..<86400: "\(s / 3600) h \(s % 3600 / 60) min"
        default: "\(s / 86400) d \(s % 86400 / 3600) h"
        }
    }
}

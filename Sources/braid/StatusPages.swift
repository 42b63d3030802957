import Shell

/// The status page and the metrics.
enum StatusPages {
    /// A page that shows what `braid status` shows and loads itself anew every two seconds.
    static func html(_ document: StatusDocument) -> String {
        let status = document.status
        var out = """
            <!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
            <meta name="viewport" content="width=device-width"><title>braid \(escaped(status.role))</title>
            <style>
            body { font: 15px/1.5 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
            table { border-collapse: collapse; margin: .5em 0 1.5em } th, td { padding: .2em .8em; text-align: left }
            th { border-bottom: 1px solid #999; font-weight: 600 } .usable { color: #176b2c } .suspect { color: #9a5b00 }
            .lost { color: #a31515 }
            @media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } .usable { color: #6fd08c }
              .suspect { color: #f0b25a } .lost { color: #ff8a8a } }
            </style>
            <h1>braid \(escaped(status.role))</h1>

            """
        let lines = StatusTable.lines(document)
        out += "<p>\(escaped(lines[0]))<br>\(escaped(lines[1]))</p>\n"
        for session in status.sessions {
            let who = session.user.isEmpty ? "session \(session.number)" : session.user
            out +=
                "<h2>\(escaped(who))</h2><p>mode \(escaped(session.mode)), "
                + "\(StatusTable.counted(session.connections, "connection"))</p>\n<table><tr>"
                + StatusTable.heads.map { "<th>\($0)</th>" }.joined() + "</tr>\n"
            for (path, row) in zip(session.paths, StatusTable.rows(session)) {
                out +=
                    "<tr class=\"\(escaped(path.health))\">"
                    + row.map { "<td>\(escaped($0))</td>" }.joined() + "</tr>\n"
            }
            out += "</table>\n"
        }
        return out + "<p><a href=\"/status\">JSON</a> <a href=\"/metrics\">metrics</a></p></html>\n"
    }

    /// The text format of Prometheus.
    static func metrics(_ document: StatusDocument) -> String {
        let status = document.status
        var out = ""
        func gauge(_ name: String, _ values: [(labels: String, value: String)]) {
            guard !values.isEmpty else { return }
            out += "# TYPE braid_\(name) \(name.hasSuffix("_total") ? "counter" : "gauge")\n"
            for (labels, value) in values {
                out += "braid_\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(value)\n"
            }
        }
        gauge("up_seconds", [("", "\(status.uptimeSeconds)")])
        gauge("sessions", [("", "\(status.sessions.count)")])
        gauge("connections", [("", "\(status.connections)")])
        gauge("datagrams_dropped_total", [("", "\(status.datagramsDropped)")])
        gauge(
            "uplink_present",
            status.uplinks.map { ("uplink=\"\(label($0.name))\"", $0.isPresent ? "1" : "0") })
        let paths = status.sessions.flatMap { session in
            session.paths.map { path in
                (
                    labels: "session=\"\(session.number)\",user=\"\(label(session.user))\","
                        + "path=\"\(path.number)\","
                        + "uplink=\"\(label(path.uplink))\"", path: path
                )
            }
        }
        gauge("path_usable", paths.map { ($0.labels, $0.path.health == "usable" ? "1" : "0") })
        gauge("path_rtt_seconds", paths.map { ($0.labels, "\($0.path.rttMilliseconds / 1000)") })
        gauge("path_loss_ratio", paths.map { ($0.labels, "\($0.path.loss)") })
        gauge("path_sent_bytes_total", paths.map { ($0.labels, "\($0.path.bytesSent)") })
        gauge("path_received_bytes_total", paths.map { ($0.labels, "\($0.path.bytesReceived)") })
        var typed: Set<Substring> = []
        for counter in status.counters {
            // A counter's name may carry labels already; the type is said once for all of them.
            let name = counter.name.prefix { $0 != "{" }
            if typed.insert(name).inserted {
                out += "# TYPE braid_\(name) \(name.hasSuffix("_total") ? "counter" : "gauge")\n"
            }
            out += "braid_\(counter.name) \(counter.value)\n"
        }
        return out
    }

    private static func label(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing(
            "\n", with: "\\n")
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}

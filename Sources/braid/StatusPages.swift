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

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}

import Foundation
import History
import Shell

/// What `braid status --watch` shows, as lines of a screen of any size.
struct StatusScreen {
    /// A line with what makes it stand out.
    struct Line: Equatable {
        enum Style: Equatable { case plain, title, good, doubtful, bad, faint }
        var text: String
        var style = Style.plain
    }

    /// What one uplink (at a concentrator: one user) did in the last seconds.
    private struct Trace {
        var down: [Int64] = []
        var up: [Int64] = []
        /// When it was last there.
        var seen = 0
    }

    /// An uplink, or a user.
    private struct Entry {
        var name: String
        var state: String
        var style: Line.Style
        var rtt = 0.0
        var loss = 0.0
        var down: Int64 = 0
        var up: Int64 = 0
        var note = ""
    }

    /// Seconds that the small lines look back on.
    private static let seconds = 60
    /// Names that are remembered after they went.
    private static let maximumTraces = 256
    private static let barWidth = 16
    /// Whether blocks can be shown, or letters have to do.
    private let hasBlocks: Bool
    private var traces: [String: Trace] = [:]
    private var turn = 0
    private var document: StatusDocument?
    /// Bytes by uplink, today and this month.
    private var today: [String: Int] = [:], month: [String: Int] = [:]
    private var events: [EventJournal.Entry] = []
    /// Why nobody answers; nil while somebody does.
    var trouble: String?

    init(hasBlocks: Bool) { self.hasBlocks = hasBlocks }

    // MARK: What is known

    /// A second has passed.
    mutating func note(_ document: StatusDocument) {
        self.document = document
        trouble = nil
        turn += 1
        for entry in entries(document) {
            guard traces[entry.name] != nil || traces.count < Self.maximumTraces else { continue }
            var trace = traces[entry.name] ?? Trace()
            trace.down = Array((trace.down + [entry.down]).suffix(Self.seconds))
            trace.up = Array((trace.up + [entry.up]).suffix(Self.seconds))
            trace.seen = turn
            traces[entry.name] = trace
        }
        traces = traces.filter { turn - $0.value.seen < Self.seconds }
    }

    /// Events that were appended or amended.
    mutating func note(_ news: [EventJournal.Entry]) {
        for entry in news {
            events.removeAll { $0.sequence == entry.sequence }
            events.append(entry)
        }
        events.sort { $0.sequence < $1.sequence }
        events = events.suffix(EventJournal.capacity)
    }

    /// The process is another one: its events count from the beginning.
    mutating func forgetEvents() { events = [] }

    /// Bytes of today and of this month.
    mutating func note(days: [UsageTable.Row], months: [UsageTable.Row], now: Int64) {
        let date = UsageTable.time(now)
        func sums(_ rows: [UsageTable.Row], _ period: Substring) -> [String: Int] {
            rows.reduce(into: [:]) { sums, row in
                guard row.period == period else { return }
                sums[row.user ?? row.uplink, default: 0] &+= row.sentBytes &+ row.receivedBytes
            }
        }
        today = sums(days, date.prefix(10))
        month = sums(months, date.prefix(7))
    }

    // MARK: Lines

    /// At most `rows` lines of at most `columns` letters. `now`: ms since 1970 UTC.
    func lines(columns: Int, rows: Int, now: Int64) -> [Line] {
        guard let document else { return [Line(text: "waits for an answer")] }
        var out = head(document, columns: columns, now: now)
        if let trouble { out.append(Line(text: trouble, style: .bad)) }
        out.append(Line(text: ""))
        let entries = entries(document)
        let most = traces.values.flatMap { $0.down + $0.up }.max() ?? 0
        // The events want four lines, if that can be.
        let space = max(4, rows - out.count - 5)
        var shown = 0
        for (number, entry) in entries.enumerated() {
            let more = lines(entry, most: most, columns: columns)
            guard shown + more.count <= space else {
                out.append(Line(text: "and \(entries.count - number) more", style: .faint))
                break
            }
            shown += more.count
            out += more
        }
        if entries.isEmpty {
            out.append(
                Line(
                    text: document.status.role == "proxy"
                        ? "no uplink" : "no proxy is connected", style: .doubtful))
        }
        let free = rows - out.count - 2
        if free > 0, !events.isEmpty {
            out += [Line(text: ""), Line(text: "events", style: .title)]
            out += events.suffix(free).map {
                Line(text: "\(UsageTable.clock($0.event.time)) \($0.event.sentence)")
            }
        }
        return out.prefix(max(0, rows)).map {
            Line(text: Self.cut(Printable.text($0.text), columns), style: $0.style)
        }
    }

    private func head(_ document: StatusDocument, columns: Int, now: Int64) -> [Line] {
        let status = document.status
        let name =
            "braid \(status.role) \(document.version), up \(StatusTable.duration(status.uptimeSeconds))"
        let clock = String(UsageTable.clock(now).prefix(8))
        let pad = max(1, columns - name.count - clock.count)
        var what = ""
        if status.role == "proxy" {
            what +=
                status.sessions.first.map {
                    "connected for \(StatusTable.duration($0.ageSeconds)), "
                        + "mode \($0.mode)\(StatusTable.reason($0)), "
                } ?? "not connected to the concentrator, "
        } else {
            what += StatusTable.counted(status.sessions.count, "session") + ", "
        }
        what += StatusTable.counted(status.connections, "connection")
        let flows = status.sessions.reduce(0) { $0 + $1.flows }
        if flows > 0 { what += ", \(StatusTable.counted(flows, "flow")) of datagrams" }
        return [
            Line(text: name + String(repeating: " ", count: pad) + clock, style: .title),
            Line(
                text: what,
                style: status.role == "proxy" && status.sessions.isEmpty ? .bad : .plain)
        ]
    }

    private func lines(_ entry: Entry, most: Int64, columns: Int) -> [Line] {
        let trace = traces[entry.name] ?? Trace()
        var first = Self.padded(entry.name, 16) + Self.padded(entry.state, 14)
        first += Self.left(StatusTable.milliseconds(entry.rtt), 8) + " rtt"
        first += Self.left(String(format: "%.1f %%", entry.loss * 100), 9) + " lost"
        if let bytes = today[entry.name] {
            first += "  " + StatusTable.bytes(bytes) + " today"
        }
        if let bytes = month[entry.name], columns >= 100 {
            first += ", " + StatusTable.bytes(bytes) + " this month"
        }
        let width = max(0, min(Self.seconds, columns - 6 - Self.barWidth - 14 - 2))
        func line(_ name: String, _ rate: Int64, _ past: [Int64]) -> Line {
            Line(
                text: "  " + Self.padded(name, 5) + bar(rate, most)
                    + Self.left(StatusTable.rate(rate), 12) + "  " + spark(past, most, width))
        }
        var out = [
            Line(text: first, style: entry.style), line("down", entry.down, trace.down),
            line("up", entry.up, trace.up)
        ]
        if !entry.note.isEmpty { out.append(Line(text: "  " + entry.note, style: .faint)) }
        return out
    }

    // MARK: Uplinks and users

    private func entries(_ document: StatusDocument) -> [Entry] {
        let status = document.status
        if status.role == "proxy" {
            let paths = status.sessions.flatMap(\.paths)
            return status.uplinks.map { uplink in
                var entry = entry(uplink.name, paths.filter { $0.uplink == uplink.name })
                if !uplink.isPresent { (entry.state, entry.style) = ("not there", .bad) }
                if uplink.isOff { (entry.state, entry.style) = ("off", .faint) }
                if uplink.isBackup { entry.state += ", backup" }
                entry.note = uplink.problem.map { "nothing was ever heard; \($0)" } ?? ""
                return entry
            }
        }
        let users = Dictionary(grouping: status.sessions, by: \.user)
        return users.map { entry($0.key, $0.value.flatMap(\.paths)) }
            .sorted { ($1.down + $1.up, $0.name) < ($0.down + $0.up, $1.name) }
    }

    /// The best of its paths speaks for it.
    private func entry(_ name: String, _ paths: [ServerStatus.Path]) -> Entry {
        let usable = paths.filter { $0.health == "usable" }
        var entry = Entry(name: name, state: "no path", style: .bad)
        if let best = usable.min(by: { $0.rttMilliseconds < $1.rttMilliseconds }) {
            (entry.state, entry.style) = ("works", .good)
            entry.rtt = best.rttMilliseconds
            entry.loss = best.loss
        } else if paths.contains(where: { $0.health == "suspect" }) {
            (entry.state, entry.style) = ("silent", .doubtful)
        } else if let other = paths.first {
            (entry.state, entry.style) = (other.health, .bad)
        }
        entry.down = paths.reduce(0) { $0 &+ $1.receiveBitsPerSecond }
        entry.up = paths.reduce(0) { $0 &+ $1.sendBitsPerSecond }
        return entry
    }

    // MARK: Drawing

    private func bar(_ value: Int64, _ most: Int64) -> String {
        let share = most > 0 ? min(1, max(0, Double(value) / Double(most))) : 0
        let full = Int((share * Double(Self.barWidth)).rounded())
        let (dark, light) = hasBlocks ? ("█", "░") : ("#", ".")
        return String(repeating: dark, count: full)
            + String(repeating: light, count: Self.barWidth - full)
    }

    /// The latest on the right.
    private func spark(_ values: [Int64], _ most: Int64, _ width: Int) -> String {
        let marks = Array(hasBlocks ? " ▁▂▃▄▅▆▇█" : " .:-=+*#@")
        let line = values.suffix(width).map { value -> Character in
            guard most > 0, value > 0 else { return marks[0] }
            let share = min(1, Double(value) / Double(most))
            return marks[max(1, Int((share * Double(marks.count - 1)).rounded()))]
        }
        return String(repeating: " ", count: max(0, width - line.count)) + String(line)
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        let text = Printable.text(text)
        if text.count >= width { return cut(text, width - 1) + " " }
        return text + String(repeating: " ", count: width - text.count)
    }

    private static func left(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    /// At most `width` letters; where some are left out, a `~` says so.
    private static func cut(_ text: String, _ width: Int) -> String {
        guard text.count > width else { return text }
        return width > 1 ? text.prefix(width - 1) + "~" : String(text.prefix(max(0, width)))
    }
}

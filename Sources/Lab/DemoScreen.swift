import Glibc
import Measures

/// The demo's picture: two uplinks' throughput over time and the download's progress, redrawn in
/// place on a terminal, one line a second anywhere else.
final class DemoScreen {
    /// Ten pictures a second.
    static let tick = Interval.milliseconds(100)

    private let options: Demo.Options
    private let isLive: Bool
    private let style: TerminalStyle
    private let chartWidth: Int
    /// How long one column of the charts lasts; doubled when the picture is full.
    private var column: Interval
    /// Rates of finished columns, by uplink.
    private var columns: [[Double]] = [[], []]
    private var columnEnd = Interval.zero
    private var columnStart = Interval.zero  // as measured: ticks may come late
    private var columnCounters: [Int] = []
    /// Counters of the last half second, for the figure at the right.
    private var recent: [(at: Interval, counters: [Int])] = []
    private var notes: [(at: Interval, text: String, isLoss: Bool)] = []
    private var drawnLines = 0
    private var nextLine = Interval.seconds(1)

    init(_ options: Demo.Options) {
        self.options = options
        let terminal = getenv("TERM").map { String(cString: $0) }
        var size = winsize()
        let width = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 ? Int(size.ws_col) : 0
        isLive = isatty(STDOUT_FILENO) != 0 && terminal != nil && terminal != "dumb" && width >= 70
        style = TerminalStyle(isColoured: isLive && getenv("NO_COLOR") == nil)
        chartWidth = min(60, max(20, width - 48))
        let expected = DemoScreen.expectedDuration(options)
        // Whole ticks, or neighbouring columns would hold different numbers of them.
        let ticks = expected.nanoseconds / (Self.tick.nanoseconds * Int64(chartWidth - 4)) + 1
        column = Self.tick * ticks
    }

    /// Roughly, so that the picture is about full at the end.
    private static func expectedDuration(_ options: Demo.Options) -> Interval {
        let share = 0.93,
            both = Double((options.wifi.rate + options.cellular.rate).bytesPerSecond) * share
        let alone = Double(options.cellular.rate.bytesPerSecond) * share,
            size = Double(options.size)
        let until = options.loss == .none ? .infinity : options.lossAt.seconds
        let first = options.mode == "full" ? both : Double(options.wifi.rate.bytesPerSecond) * share
        if first * until >= size { return Interval(seconds: size / first) }
        let left = size - first * until, away = options.returnAfter?.seconds ?? .infinity
        if alone * away >= left { return Interval(seconds: until + left / alone) }
        return Interval(seconds: until + away + (left - alone * away) / first)
    }

    func begin(counters: [Int]) {
        columnCounters = counters
        recent = [(.zero, counters)]
        columnEnd = column
        let size = "\(trimmed(Double(options.size) / 1e6)) MB", demo = Demo(options)
        emit([
            "",
            style.bold("  Braid demo")
                + "  One curl downloads \(size) over two uplinks, \(options.mode) mode."
        ])
        if options.loss != .none {
            emit(["              After \(options.lossAt.label) \(demo.lossText)\(back)."])
        }
        emit([""])
        if isLive { put("\u{1b}[?25l") }  // no cursor jumping about
    }

    private var back: String { options.returnAfter.map { "; \($0.label) later it is back" } ?? "" }

    func note(_ at: Interval, _ text: String, isLoss: Bool) {
        notes.append((at, text, isLoss))
        if !isLive { emit(["  \(seconds(at))  \(text)"]) }
    }

    func draw(elapsed: Interval, counters: [Int], bytes: Int) {
        if recent.count > 5 { recent.removeFirst() }
        recent.append((elapsed, counters))
        if elapsed + Self.tick / 2 >= columnEnd { closeColumn(elapsed, counters) }
        if isLive {
            redraw(picture(elapsed, counters, bytes))
        } else if elapsed >= nextLine {
            nextLine += .seconds(1)
            emit([
                "  \(seconds(elapsed))  WiFi \(rateNow(0)), cellular \(rateNow(1)), \(progress(bytes))"
            ])
        }
    }

    /// The last picture stays; the lines come below it.
    func finish(_ lines: [String]) {
        leave()
        emit(lines.map(style.apply))
    }

    func leave() {
        if isLive { put("\u{1b}[?25h") }
        drawnLines = 0
    }

    // MARK: The picture

    private func closeColumn(_ elapsed: Interval, _ counters: [Int]) {
        let lasted = max((elapsed - columnStart).seconds, 1e-3)
        for uplink in 0..<2 {
            let rate = Double(counters[uplink] - columnCounters[uplink]) / lasted
            // A late tick closes several.
            repeat {
                columns[uplink].append(rate)
            } while elapsed >= column * Int64(columns[uplink].count + 1)
        }
        columnStart = elapsed
        columnCounters = counters
        columnEnd = column * Int64(columns[0].count + 1)
        guard columns[0].count >= chartWidth else { return }
        column = column * 2
        for uplink in 0..<2 {
            let old = columns[uplink]
            columns[uplink] = stride(from: 0, to: old.count - 1, by: 2).map {
                (old[$0] + old[$0 + 1]) / 2
            }
        }
        columnEnd = column * Int64(columns[0].count + 1)
    }

    private func picture(_ elapsed: Interval, _ counters: [Int], _ bytes: Int) -> [String] {
        var lines: [String] = []
        for (uplink, name) in ["WiFi", "cellular"].enumerated() {
            let link = uplink == 0 ? options.wifi : options.cellular
            let label = [
                pad(name, 10) + link.rate.label, pad("", 10) + "\(link.roundTrip.label) round trip"
            ]
            let chart = chart(uplink, full: Double(link.rate.bytesPerSecond))
            lines.append("  \(pad(label[0], 28))▕\(chart[0])▏")
            lines.append(
                "  \(style.dim(pad(label[1], 28)))▕\(chart[1])▏"
                    + " \(style.paint(.uplink(uplink), rateNow(uplink)))")
            lines.append("")
        }
        lines[5] = "  " + pad("", 29) + style.dim(axis())
        lines.append("")
        let done = Double(bytes) / Double(max(options.size, 1)),
            filled = Int(done * Double(chartWidth))
        let bar = String(repeating: "━", count: filled),
            rest = String(repeating: "─", count: chartWidth - filled)
        lines.append(
            "  \(pad("download", 28)) \(style.green(bar))\(style.dim(rest))  \(progress(bytes))")
        lines.append("")
        for note in notes {
            let mark = note.isLoss ? style.red("●") : style.green("●")
            lines.append("  \(mark) \(seconds(note.at))  \(note.text)")
        }
        if notes.isEmpty { lines.append(style.dim("    \(seconds(elapsed))")) }
        return lines
    }

    /// Two rows of blocks, sixteen steps high; full height is the link's rate. What happened to
    /// WiFi is marked in its chart where that is empty.
    private func chart(_ uplink: Int, full: Double) -> [String] {
        let blocks = Array(" ▁▂▃▄▅▆▇█")
        let steps = (0..<chartWidth).map { i in
            i < columns[uplink].count ? min(16, Int((columns[uplink][i] / full * 16).rounded())) : 0
        }
        var marks: [Int: Bool] = [:]
        for note in notes where uplink == 0 {
            let place = Int(note.at.nanoseconds / column.nanoseconds)
            let free = (place...(place + 2)).first {
                $0 < chartWidth && steps[$0] <= 1 && marks[$0] == nil
            }
            if let free, note.isLoss || free < columns[0].count { marks[free] = note.isLoss }
        }
        var rows = [StyledRow(style), StyledRow(style)]
        for i in 0..<chartWidth {
            let tint = marks[i].map { $0 ? TerminalStyle.Tint.red : .green } ?? .uplink(uplink)
            rows[0].add(marks[i] == nil ? blocks[max(0, steps[i] - 8)] : "╎", tint)
            rows[1].add(marks[i] == nil ? blocks[min(8, steps[i])] : "╎", tint)
        }
        return rows.map { $0.finished }
    }

    /// Seconds below the charts, where there is room for them.
    private func axis() -> String {
        let total = column.seconds * Double(chartWidth)
        let step = [1.0, 2, 5, 10, 20, 50, 100, 200, 500].first { total / $0 <= 8 } ?? 1_000
        var text = Array(repeating: Character(" "), count: chartWidth + 4), at = 0.0
        while at < total {
            let label = at == 0 ? "0 s" : "\(Int(at))", place = Int(at / column.seconds)
            for (i, c) in label.enumerated() where place + i < text.count { text[place + i] = c }
            at += step
        }
        return String(text)
    }

    private func rateNow(_ uplink: Int) -> String {
        guard let first = recent.first,
            let last = recent.last,
            last.at > first.at
        else { return "0.0 Mbit/s" }
        let bits =
            Double(last.counters[uplink] - first.counters[uplink]) * 8
            / (last.at - first.at).seconds
        return "\(oneDigit(bits / 1e6)) Mbit/s"
    }

    private func progress(_ bytes: Int) -> String {
        "\(oneDigit(Double(bytes) / 1e6)) of \(oneDigit(Double(options.size) / 1e6)) MB"
    }

    // MARK: Writing

    private func redraw(_ lines: [String]) {
        var out = drawnLines > 0 ? "\u{1b}[\(drawnLines)A" : ""
        for line in lines { out += "\r\u{1b}[2K\(line)\n" }
        drawnLines = lines.count
        put(out)
    }

    private func emit(_ lines: [String]) { put(lines.map { $0 + "\n" }.joined()) }
    private func put(_ text: String) { writeAll(STDOUT_FILENO, text) }
}

/// `5.0 s`, at least six wide.
func seconds(_ interval: Interval) -> String {
    let text = "\(oneDigit(interval.seconds)) s"
    return String(repeating: " ", count: max(0, 6 - text.count)) + text
}

func oneDigit(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(abs(tenths) % 10)"
}

func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

/// Colours where the terminal has them: blue and orange, which everybody tells apart.
struct TerminalStyle {
    enum Tint: Equatable { case uplink(Int), red, green, bold, dim }
    var isColoured: Bool

    func bold(_ text: String) -> String { paint(.bold, text) }
    func dim(_ text: String) -> String { paint(.dim, text) }
    func red(_ text: String) -> String { paint(.red, text) }
    func green(_ text: String) -> String { paint(.green, text) }

    /// Paints a line's marks: ✓ green, ✗ red.
    func apply(_ line: String) -> String {
        var out = ""
        for c in line { out += c == "✓" ? green("✓") : c == "✗" ? red("✗") : String(c) }
        return out
    }

    func paint(_ tint: Tint, _ text: String) -> String {
        guard isColoured, !text.isEmpty else { return text }
        let code =
            switch tint {
            case .uplink(0): "38;5;75"
            case .uplink: "38;5;215"
            case .red: "31"
            case .green: "32"
            case .bold: "1"
            case .dim: "2"
            }
        return "\u{1b}[\(code)m\(text)\u{1b}[0m"
    }
}

/// A row of characters, painted run by run.
private struct StyledRow {
    private let style: TerminalStyle
    private var done = ""
    private var run = ""
    private var tint = TerminalStyle.Tint.dim

    init(_ style: TerminalStyle) { self.style = style }

    mutating func add(_ character: Character, _ next: TerminalStyle.Tint) {
        if next != tint {
            done += style.paint(tint, run)
            run = ""
            tint = next
        }
        run.append(character)
    }

    var finished: String { done + style.paint(tint, run) }
}

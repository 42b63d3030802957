import Glibc
import Measures

/// The demo's picture: two uplinks' throughput over time and the download's progress, redrawn in place on a
/// terminal, one line a second anywhere else.
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
    private var columnStart = Interval.zero
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
        chartWidth = min(60, max(20, width - 46))
        let expected = DemoScreen.expectedDuration(options)
        column = max(Self.tick, expected / Int64(max(chartWidth - 4, 1)))
    }

    /// Roughly, so that the picture is about full at the end.
    private static func expectedDuration(_ options: Demo.Options) -> Interval {
        let share = 0.93, both = Double((options.wifi.rate + options.cellular.rate).bytesPerSecond) * share
        let alone = Double(options.cellular.rate.bytesPerSecond) * share, size = Double(options.size)
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
        let size = "\(trimmed(Double(options.size) / 1e6)) MB", demo = Demo(options)
        let plan = options.loss == .none ? "" : " At \(options.lossAt.text) \(demo.lossText)\(back)."
        emit(["", style.bold("  Braid demo") + "  \(size) over two uplinks with one curl, \(options.mode) mode.\(plan)", ""])
        if isLive { put("\u{1b}[?25l") }   // no cursor jumping about
    }

    private var back: String { options.returnAfter.map { ", \($0.text) later it is back" } ?? "" }

    func note(_ at: Interval, _ text: String, isLoss: Bool) {
        notes.append((at, text, isLoss))
        if !isLive { emit(["  \(seconds(at))  \(text)"]) }
    }

    func draw(elapsed: Interval, counters: [Int], bytes: Int) {
        if recent.count > 5 { recent.removeFirst() }
        recent.append((elapsed, counters))
        while elapsed - columnStart >= column { closeColumn(counters) }
        if isLive { redraw(picture(elapsed, counters, bytes)) }
        else if elapsed >= nextLine {
            nextLine += .seconds(1)
            emit(["  \(seconds(elapsed))  WiFi \(rateNow(0)), cellular \(rateNow(1)), \(progress(bytes))"])
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

    private func closeColumn(_ counters: [Int]) {
        for uplink in 0..<2 {
            columns[uplink].append(Double(counters[uplink] - columnCounters[uplink]) / column.seconds)
        }
        columnStart += column
        columnCounters = counters
        guard columns[0].count >= chartWidth else { return }
        column = column * 2
        for uplink in 0..<2 {
            let old = columns[uplink]
            columns[uplink] = stride(from: 0, to: old.count - 1, by: 2).map { (old[$0] + old[$0 + 1]) / 2 }
        }
        columnStart = column * Int64(columns[0].count)
    }

    private func picture(_ elapsed: Interval, _ counters: [Int], _ bytes: Int) -> [String] {
        var lines: [String] = []
        for (uplink, name) in ["WiFi", "cellular"].enumerated() {
            let link = uplink == 0 ? options.wifi : options.cellular
            let label = [pad(name, 10) + link.rate.label, pad("", 10) + "\(link.roundTrip.text) round trip"]
            let chart = chart(uplink, full: Double(link.rate.bytesPerSecond))
            lines.append("  \(pad(label[0], 26))▕\(chart[0])▏")
            lines.append("  \(style.dim(pad(label[1], 26)))▕\(chart[1])▏ \(style.colour(uplink, rateNow(uplink)))")
            lines.append("")
        }
        lines[5] = "  " + pad("", 27) + style.dim(axis())
        let done = Double(bytes) / Double(max(options.size, 1)), filled = Int(done * Double(chartWidth))
        let bar = String(repeating: "━", count: filled), rest = String(repeating: "─", count: chartWidth - filled)
        lines.append("  \(pad("download", 26)) \(style.green(bar))\(style.dim(rest))  \(progress(bytes))")
        lines.append("")
        for note in notes {
            let mark = note.isLoss ? style.red("●") : style.green("●")
            lines.append("  \(mark) \(seconds(note.at))  \(note.text)")
        }
        if notes.isEmpty { lines.append(style.dim("    \(seconds(elapsed))")) }
        return lines
    }

    /// Two rows of blocks, sixteen steps high; full height is the link's rate.
    private func chart(_ uplink: Int, full: Double) -> [String] {
        let blocks = Array(" ▁▂▃▄▅▆▇█")
        var rows = ["", ""]
        let marks = Dictionary(notes.map { (Int($0.at.nanoseconds / column.nanoseconds), $0.isLoss) }, uniquingKeysWith: { a, _ in a })
        for i in 0..<chartWidth {
            let rate = i < columns[uplink].count ? columns[uplink][i] : 0
            let steps = min(16, Int((rate / full * 16).rounded()))
            if uplink == 0, steps <= 1, let isLoss = marks[i], i <= columns[0].count {
                let mark = isLoss ? style.red("╎") : style.green("╎")
                rows[0] += mark
                rows[1] += mark
            } else {
                rows[0] += style.colour(uplink, String(blocks[max(0, steps - 8)]))
                rows[1] += style.colour(uplink, String(blocks[min(8, steps)]))
            }
        }
        return rows
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
        guard let first = recent.first, let last = recent.last, last.at > first.at else { return "0.0 Mbit/s" }
        let bits = Double(last.counters[uplink] - first.counters[uplink]) * 8 / (last.at - first.at).seconds
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

func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }

/// Colours where the terminal has them: blue and orange, which everybody tells apart.
struct TerminalStyle {
    var isColoured: Bool

    func colour(_ uplink: Int, _ text: String) -> String { paint(uplink == 0 ? "38;5;75" : "38;5;215", text) }
    func bold(_ text: String) -> String { paint("1", text) }
    func dim(_ text: String) -> String { paint("2", text) }
    func red(_ text: String) -> String { paint("31", text) }
    func green(_ text: String) -> String { paint("32", text) }

    /// Paints a line's marks: ✓ green, ✗ red.
    func apply(_ line: String) -> String {
        var out = ""
        for c in line { out += c == "✓" ? green("✓") : c == "✗" ? red("✗") : String(c) }
        return out
    }

    private func paint(_ code: String, _ text: String) -> String { isColoured && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text }
}

import Glibc
import History
import Shell

/// `braid status --watch` on a terminal: asks every second and draws, until somebody leaves.
enum StatusWatch {
    private static let interval = 1_000
    /// More than a screen shows.
    private static let latestEvents = 100
    /// The sums of days and months are asked for more rarely.
    private static let usageInterval = 10

    /// Returns when it is over; the first answer must come.
    static func run(control: String?) throws {
        var screen = StatusScreen(hasBlocks: Terminal.hasUnicode)
        screen.note(try StatusDocument(json: Control.ask("status", at: control)))
        var events = HistoryQueries.Events(process: 0, revision: 0, events: [])
        let terminal = Terminal()
        var second = 0
        defer { terminal.close() }
        while true {
            if second > 0 { ask(&screen, control) }
            update(&screen, &events, control)
            if second % usageInterval == 0 { askUsage(&screen, control) }
            second += 1
            var rest = interval
            repeat {
                let size = terminal.size
                let lines = screen.lines(
                    columns: size.columns, rows: size.rows, now: WallClock.milliseconds())
                guard terminal.draw(lines) else { return }
                switch terminal.wait(rest) {
                case .nothing: rest = 0
                // Drawn anew at once, then asked anew.
                case .draw: rest = 200
                case .leave(let signal):
                    terminal.close()
                    if let signal { Glibc.exit(128 + signal) }
                    return
                }
            } while rest > 0
        }
    }

    private static func ask(_ screen: inout StatusScreen, _ control: String?) {
        do {
            screen.note(try StatusDocument(json: Control.ask("status", at: control)))
        } catch let complaint as Complaint {
            screen.trouble = complaint.sentences.first ?? "nobody answers"
        } catch {
            screen.trouble = "nobody answers"
        }
    }

    private static func update(
        _ screen: inout StatusScreen, _ events: inout HistoryQueries.Events, _ control: String?
    ) {
        func read(_ revision: UInt64) -> HistoryQueries.Events? {
            (try? Control.ask("events \(revision) \(latestEvents)", at: control)).flatMap {
                HistoryQueries.decode(HistoryQueries.Events.self, $0)
            }
        }
        guard var news = read(events.revision) else { return }
        if news.process != events.process {
            screen.forgetEvents()
            if events.revision > 0 { news = read(0) ?? news }
        }
        screen.note(news.events)
        events = news
    }

    private static func askUsage(_ screen: inout StatusScreen, _ control: String?) {
        func read(_ span: UsageLedger.Span) -> [UsageTable.Row] {
            (try? Control.ask("usage \(span.rawValue) 1", at: control)).flatMap {
                HistoryQueries.decode([UsageTable.Row].self, $0)
            } ?? []
        }
        screen.note(days: read(.day), months: read(.month), now: WallClock.milliseconds())
    }
}

import Configuration
import Foundation
import History
import Logging
import Shell

/// What a process tells of its past over its control socket.
enum HistoryQueries {
    /// Events in one answer, and rows of usage.
    static let maximumEvents = EventJournal.capacity
    private static let maximumRows = 10_000
    /// Of the earlier processes' events, so many are shown on.
    private static let earlierEvents = EventJournal.capacity / 2

    /// An answer of events: those appended or amended after the revision that was asked for.
    struct Events: Codable {
        /// Tells one process from the next at the same place: when it began, ms since 1970 UTC.
        var process: Int64
        /// To ask for what comes later.
        var revision: UInt64
        var events: [EventJournal.Entry]
    }

    /// Nil where `line` is not about the past: `events [REVISION [LIMIT]]` and `usage SPAN
    /// [PERIODS]` are.
    static func text(_ line: String, _ service: Service) -> SideWork.Text? {
        let words = line.split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("events", 1...3):
            let revision = words.count > 1 ? UInt64(words[1]) : 0
            let limit = words.count > 2 ? Int(words[2]) : maximumEvents
            guard let revision, let limit else { return nil }
            let journal = service.recorder.events
            let found = Events(
                process: began, revision: journal.revision,
                events: journal.entries(after: revision, limit: min(limit, maximumEvents)))
            return { json(found) }
        case ("usage", 2...3):
            let count = words.count > 2 ? Int(words[2]) : .max
            guard let span = UsageLedger.Span(rawValue: words[1]), let count else { return nil }
            // What was moved until now is counted with the status.
            _ = service.status()
            let usage = service.recorder.usage
            return {
                let rows = usage.rows(span, latest: count).suffix(maximumRows)
                return json(rows.map { UsageTable.Row($0, span) })
            }
        default: return nil
        }
    }

    private static let began = WallClock.milliseconds()

    static func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    static func decode<Value: Decodable>(_: Value.Type, _ text: String) -> Value? {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try? decoder.decode(Value.self, from: Data(text.utf8))
    }

    // MARK: Writing down

    /// Where a program of this kind writes its past; nil: nowhere.
    static func place(
        _ role: ConfigurationKind, _ program: ProgramConfiguration, keepsUsage: Bool
    ) -> HistoryWriter.Place? {
        if let history = program.history {
            return .history(history.settings(standard: StatePath.standard(role.rawValue)))
        }
        return keepsUsage
            ? .usageFile(StatePath.standard(role.rawValue, extension: "-usage.json")) : nil
    }

    /// For a process of this kind: with what earlier ones have noted, where that was written down.
    /// Read before the process gives up root; what can't be read is said when it can't be written.
    static func recorder(_ role: ConfigurationKind, _ program: ProgramConfiguration) -> Recorder {
        guard case .history(let settings)? = place(role, program, keepsUsage: false),
            let reader = try? HistoryReader(path: settings.path),
            let earlier = try? reader.events(limit: earlierEvents)
        else { return Recorder() }
        return Recorder(events: EventJournal(earlier: earlier))
    }

    /// Reads what is there and begins to write; once the process runs as the user that it stays.
    static func open(_ place: HistoryWriter.Place?, _ recorder: Recorder) {
        guard let place else { return }
        let log = Logger(label: "history")
        let path = place.path
        let writer = HistoryWriter(place, ledger: &recorder.usage) { news in
            switch news {
            case .failed(let error):
                log.warning(
                    "history is not stored: \(error); it is tried again now and then",
                    metadata: ["path": "\(path)"])
            case .works: log.notice("history is stored again", metadata: ["path": "\(path)"])
            }
        }
        guard let writer else {
            log.warning(
                "history is not stored: no thread could be started", metadata: ["path": "\(path)"])
            return
        }
        recorder.keep(by: writer)
    }
}

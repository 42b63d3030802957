import ArgumentParser
import Configuration
import Foundation
import Glibc
import History
import Shell

/// How `usage` and `events` find the past.
struct PastOptions: ParsableArguments {
    @OptionGroup var control: ControlOptions
    @Option(help: "The history's file; left out: the running process is asked, else its file.")
    var file: String?

    /// Asks the running process, where there is one and no file is named; else reads the file.
    func find<Value>(
        _ request: String, living: (String) throws -> Value,
        written: (HistoryReader) throws(StoreError) -> Value
    ) throws -> Value {
        if let file { return try read(file, written) }
        do {
            return try living(try Control.ask(request, at: control.control))
        } catch let complaint as Complaint where complaint.exitCode == 1 {
            guard control.control == nil else { throw complaint }
            let files = [ConfigurationKind.proxy, .concentrator].flatMap {
                StatePath.places($0.rawValue)
            }.filter { access($0, F_OK) == 0 }
            switch files.count {
            case 1: return try read(files[0], written)
            case 0: throw complaint
            default:
                throw Complaint.input(
                    "nothing runs here, and there are several histories; choose one with --file: "
                        + files.joined(separator: " or "))
            }
        }
    }

    private func read<Value>(
        _ path: String, _ body: (HistoryReader) throws(StoreError) -> Value
    ) throws -> Value {
        do throws(StoreError) {
            return try body(HistoryReader(path: path))
        } catch {
            throw Complaint.failure("can't read the history in \(path): \(error)")
        }
    }
}

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage",
        abstract: "Shows bytes by uplink (at a concentrator by user and path), by day.",
        discussion: """
            Bytes are those of IP packets, as a provider counts them. A running process is asked; \
            with --file, or where none runs, the history's file is read.
            """,
        subcommands: [UsageSetCommand.self])

    @Flag(help: "By month.") var month = false
    @Flag(help: "By hour.") var hour = false
    @Option(name: [.customShort("n"), .long], help: "How many days, months or hours, the latest.")
    var periods = 31
    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var past: PastOptions

    func validate() throws {
        guard periods >= 0 else { throw ValidationError("--periods is a number from 0 on") }
        if month, hour { throw ValidationError("--month or --hour, not both") }
    }

    func run() throws {
        let span: UsageLedger.Span = month ? .month : hour ? .hour : .day
        let rows: [UsageTable.Row] = try past.find(
            "usage \(span.rawValue) \(periods)",
            living: { answer in
                guard let rows = HistoryQueries.decode([UsageTable.Row].self, answer) else {
                    throw Complaint.failure(
                        "the answer is no usage that braid \(Braid.version) knows; is another version running?"
                    )
                }
                return rows
            },
            written: { (reader) throws(StoreError) in
                try reader.usage(span, latest: periods).map { UsageTable.Row($0, span) }
            })
        if json {
            Output.write(Printable.json(HistoryQueries.json(rows)) + "\n")
        } else {
            let lines = UsageTable.lines(rows, span).map(Printable.text)
            Output.write(lines.joined(separator: "\n") + "\n")
        }
    }
}

struct EventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "Shows what happened: uplinks that fell silent or came back, sessions, modes.",
        discussion: """
            A running process is asked for what it remembers; with --file, or where none runs, the \
            history's file is read. With --follow further events are shown as they happen, one \
            again when more is known of it.
            """)

    @Flag(help: "Go on, until interrupted.") var follow = false
    @Flag(help: "Print a JSON object a line.") var json = false
    @Option(name: [.customShort("n"), .long], help: "How many, the latest.") var lines = 50
    @OptionGroup var past: PastOptions

    private static let interval: UInt32 = 250_000

    func validate() throws {
        guard lines >= 0 else { throw ValidationError("--lines is a number from 0 on") }
        if follow, past.file != nil {
            throw ValidationError("a file is not followed; leave --file out to follow the process")
        }
    }

    func run() throws {
        if follow { return try goOn() }
        let events: [Event] = try past.find(
            "events 0 \(lines)", living: { try parse($0).events.map(\.event) },
            written: { (reader) throws(StoreError) in try reader.events(limit: lines) })
        for event in events { show(event) }
    }

    /// Also across a restart of the process.
    private func goOn() throws {
        var latest = try parse(
            Control.ask("events 0 \(lines)", at: past.control.control))
        latest.events.forEach { show($0.event) }
        while true {
            usleep(Self.interval)
            guard
                let answer = try? Control.ask(
                    "events \(latest.revision)", at: past.control.control)
            else { continue }
            var next = try parse(answer)
            if next.process != latest.process {
                next = try parse(Control.ask("events 0", at: past.control.control))
            }
            next.events.forEach { show($0.event) }
            latest = next
        }
    }

    private func parse(_ answer: String) throws -> HistoryQueries.Events {
        guard let events = HistoryQueries.decode(HistoryQueries.Events.self, answer) else {
            throw Complaint.failure(
                "the answer holds no events that braid \(Braid.version) knows; is another version running?"
            )
        }
        return events
    }

    /// A closed pipe ends it.
    private func show(_ event: Event) {
        let line =
            json
            ? Printable.json(HistoryQueries.json(event))
            : "\(UsageTable.time(event.time)) \(Printable.text(event.sentence))"
        if !Output.write(line + "\n") { Output.end() }
    }
}

import Foundation
import Glibc
import Shell

@testable import History
@testable import Proxy

/// The history's file as somebody else may have left it: rows that hold anything, pages that were
/// written over, tables that are none. It is read, or refused with a sentence, in bounded time; and
/// what was read can be said, counted on and written again.
enum HistoryTarget {
    private static let folder: String = {
        // Of memory, where there is such a folder.
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(parent)/braid-fuzz-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { fail("no folder for the file") }
        atexit { HistoryTarget.remove() }
        return String(
            decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()
    private static var path: String { folder + "/it.sqlite" }
    private static var usagePath: String { folder + "/it-usage.json" }
    private static var allowancePath: String { folder + "/it.usage" }
    private static let now: Int64 = 1_790_000_000_000

    private static func remove() {
        removeFiles()
        rmdir(folder)
    }
    private static func removeFiles() {
        for end in ["", "-wal", "-shm", "-journal"] { unlink(path + end) }
        unlink(usagePath)
        unlink(allowancePath)
    }

    /// An empty history, byte for byte.
    private static let empty: [UInt8] = {
        removeFiles()
        do {
            _ = try HistoryStore(HistorySettings(path: path), now: now)
        } catch { fail("no store: \(error)") }
        guard let bytes = FileManager.default.contents(atPath: path) else { fail("no file") }
        return Array(bytes)
    }()

    static func run(_ input: inout Input) {
        let form = input.byte()
        var file = empty
        removeFiles()
        if form & 7 == 7 { return allowances(&input) }
        if form & 3 == 3 { return usageFile(input.rest()) }
        if form & 3 == 2 {
            while !input.isEmpty {
                let at = input.below(min(file.count, 65_536))
                file[at] = input.byte()
            }
        }
        write(file, to: path)
        if form & 3 < 2 { fill(&input, alters: form & 3 == 1) }
        read()
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
            fail("can't write \(path)")
        }
        close(file)
    }

    // MARK: What somebody wrote

    private static func fill(_ input: inout Input, alters: Bool) {
        do {
            let database = try Database(path: path, readOnly: false)
            if alters {
                try? database.execute(
                    String(decoding: input.string().filter { $0 != 0 }, as: UTF8.self))
            }
            while !input.isEmpty {
                switch input.byte() % 4 {
                case 0: row(&input, "usage", 6, database)
                case 1: row(&input, "usage_day", 5, database)
                default: row(&input, "event", 8, database)
                }
            }
        } catch { fail("no database: \(error)") }
    }

    private static func row(
        _ input: inout Input, _ table: String, _ columns: Int, _ database: Database
    ) {
        let values = (0..<columns).map { _ in value(&input) }.joined(separator: ", ")
        try? database.execute("INSERT INTO \(table) VALUES (\(values))")
    }

    private static func value(_ input: inout Input) -> String {
        switch input.byte() % 8 {
        case 0: return "\(Int64(bitPattern: input.word(UInt64.self)))"
        case 1: return "\(now / 3_600_000 + Int64(Int8(bitPattern: input.byte())))"
        case 2: return "\(20_260_101 + Int(input.byte()))"
        case 3: return "NULL"
        case 4: return "\(Double(bitPattern: input.word(UInt64.self)))"
        case 5: return "x'" + input.string().map { hex($0) }.joined() + "'"
        case 6:
            return "'-9223372036854775808"
                + String(decoding: input.string().filter { $0 != 0 && $0 != 39 }, as: UTF8.self)
                + "'"
        default:
            return "'"
                + String(decoding: input.string().filter { $0 != 0 && $0 != 39 }, as: UTF8.self)
                + "'"
        }
    }

    private static func hex(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }

    // MARK: What is made of it

    private static func read() {
        do throws(StoreError) {
            let reader = try HistoryReader(path: path)
            let events = try reader.events(limit: 100)
            for event in events {
                _ = event.sentence
                _ = try? JSONEncoder().encode(event)
            }
            let journal = EventJournal(earlier: events)
            check(journal.entries().count == min(events.count, EventJournal.capacity), "entries")
            for span in UsageLedger.Span.allCases { _ = try reader.usage(span, latest: 31) }
        } catch { sentence(error) }
        var ledger = UsageLedger()
        do throws(StoreError) {
            let store = try HistoryStore(HistorySettings(path: path), now: now)
            do { try store.restore(&ledger, now: now) } catch { sentence(error) }
            for row in UsageLedger.Span.allCases.flatMap({ ledger.rows($0) }) {
                check(row.period >= 0, "a period before all time")
                check(row.source.uplink.utf8.count <= 256, "a name of any length")
            }
            ledger.add(
                .init(sent: 1, received: 2), of: .init(uplink: "a"),
                in: UsageHour(milliseconds: now))
            var batch = HistoryBatch()
            batch.usage = ledger.takeUnsaved()
            try store.write(batch)
            for _ in 0..<4 where try store.trim(now: now) {}
        } catch { sentence(error) }
    }

    private static func usageFile(_ bytes: [UInt8]) {
        write(bytes, to: usagePath)
        var ledger = UsageLedger()
        do throws(StoreError) {
            let file = try History.UsageFile(path: usagePath)
            file.restore(&ledger, now: now)
            ledger.add(
                .init(sent: 1, received: 2), of: .init(uplink: "a"),
                in: UsageHour(milliseconds: now))
            var batch = HistoryBatch()
            batch.usage = ledger.takeUnsaved()
            try file.write(batch, now: now)
        } catch { sentence(error) }
    }

    /// The small file of what is used of allowances: its lines are read, changed and read again.
    private static func allowances(_ input: inout Input) {
        let name = input.bit() ? "wlan0" : "a" + String(input.byte())
        let bytes = Int(input.word(UInt32.self))
        write(input.rest(), to: allowancePath)
        do throws(SystemError) {
            let file = try Proxy.UsageFile(path: allowancePath)
            for known in [name, "before", ""] {
                guard let record = file.read(known) else { continue }
                let amounts = [record.bytes, record.before?.bytes ?? 0]
                check(
                    amounts.allSatisfy { (0...Proxy.UsageFile.maximumBytes).contains($0) },
                    "\(amounts) bytes used")
            }
            let written = file.change(name) { $0 = .init(bytes: bytes, period: 20_000, told: 80) }
            if let written {
                check(file.read(name) == written, "not what was written")
                check(written.bytes == bytes, "\(bytes) were used, \(written.bytes) are known")
            }
        } catch { check("\(error)".utf8.count > 3, "no sentence: \(error)") }
    }

    private static func sentence(_ error: StoreError) {
        check("\(error)".utf8.count > 3, "no sentence: \(error)")
    }
}

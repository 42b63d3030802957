import Foundation
import Glibc

/// How much of the past is kept, and where.
public struct HistorySettings: Equatable, Sendable {
    /// The SQLite file.
    public var path: String
    /// Bytes that it may have at most; the oldest makes room.
    public var maximumBytes = 64 << 20
    /// Events older than so many days go.
    public var eventDays = 90
    /// Hours older than so many days become part of their day.
    public var hourDays = 60
    /// Days older than so many days become part of what was before.
    public var dayDays = 1_100
    /// With the defaults.
    public init(path: String) { self.path = path }
}

/// What is to be written at once.
public struct HistoryBatch: Sendable {
    /// In their order; one that was amended comes again.
    public var events: [EventJournal.Entry] = []
    /// What was moved since the last batch.
    public var usage: [UsageHour: [UsageLedger.Source: UsageLedger.Volume]] = [:]
    /// Nothing.
    public init() {}
    /// Nothing to do.
    public var isEmpty: Bool { events.isEmpty && usage.isEmpty }

    /// What came later.
    mutating func add(_ more: HistoryBatch, maximumEvents: Int) {
        events += more.events
        if events.count > maximumEvents { events.removeFirst(events.count - maximumEvents) }
        usage.merge(more.usage) { $0.merging($1) { a, b in a + b } }
    }
}

/// The SQLite file of a process's past: events, and usage by hour and by day.
///
/// An hour's row says its local day, too, so that days and months are sums. Day 0 holds what is
/// older than the days that are kept, so that totals never shrink.
final class HistoryStore {
    /// "Brai", in the file's header.
    static let application = 0x4272_6169
    static let version = 1
    private static let pageBytes = 4_096
    /// Kept free for what one transaction may add at most, bytes.
    private static let reserve = 4 << 20
    /// Rows deleted in one transaction.
    private static let trimRows = 2_000
    private static let hoursPerDay = 24

    private let database: Database
    private let settings: HistorySettings
    /// The file that was opened, and its log.
    private let file: FileName
    private var log: FileName?
    /// What stands at a path.
    private struct FileName: Equatable {
        var device: dev_t, inode: ino_t

        init?(_ path: String) {
            var about = stat()
            guard stat(path, &about) == 0 else { return nil }
            (device, inode) = (about.st_dev, about.st_ino)
        }
    }
    /// Tells this process's events from those of others in the same file: when it opened it, ms.
    private let process: Int64

    private static let schema = """
        CREATE TABLE event (
            process INTEGER NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL,
            kind TEXT NOT NULL, uplink TEXT, user TEXT, json TEXT NOT NULL, sentence TEXT NOT NULL,
            UNIQUE (process, sequence));
        CREATE TABLE usage (
            hour INTEGER NOT NULL, day INTEGER NOT NULL, user TEXT NOT NULL, uplink TEXT NOT NULL,
            sent INTEGER NOT NULL, received INTEGER NOT NULL,
            PRIMARY KEY (hour, day, user, uplink)) WITHOUT ROWID;
        CREATE TABLE usage_day (
            day INTEGER NOT NULL, user TEXT NOT NULL, uplink TEXT NOT NULL,
            sent INTEGER NOT NULL, received INTEGER NOT NULL,
            PRIMARY KEY (day, user, uplink)) WITHOUT ROWID;
        """

    /// Opens the file or makes it. `now`: ms since 1970 UTC.
    init(_ settings: HistorySettings, now: Int64) throws(StoreError) {
        self.settings = settings
        process = now
        database = try Database(path: settings.path, readOnly: false)
        guard let file = FileName(settings.path) else { throw .failed("it is gone again") }
        self.file = file
        if try database.number("PRAGMA page_count") == 0 {
            try database.execute(
                "PRAGMA page_size = \(Self.pageBytes); PRAGMA auto_vacuum = INCREMENTAL;")
        }
        try Self.check(database, makes: true)
        // A file that others read meanwhile, and one small write a second: a log of its own, whose
        // writing nobody waits for. Where the file system has no shared memory, SQLite stays with a
        // journal.
        try database.execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"
                + "PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 1048576;")
        let pages = max(64, settings.maximumBytes / Self.pageBytes)
        try database.execute("PRAGMA max_page_count = \(pages)")
    }

    /// Whether the file is ours; an empty one becomes it, where `makes` says so.
    static func check(_ database: Database, makes: Bool) throws(StoreError) {
        let application = try database.number("PRAGMA application_id")
        let version = try database.number("PRAGMA user_version")
        let objects = try database.number("SELECT count(*) FROM sqlite_schema")
        if makes, application == 0, version == 0, objects == 0 {
            return try database.transaction { () throws(StoreError) in
                try database.execute(
                    "PRAGMA application_id = \(Self.application);"
                        + "PRAGMA user_version = \(Self.version);" + schema)
            }
        }
        guard application == Int64(Self.application) else {
            throw .foreign("it is another program's database; give a path of its own")
        }
        guard version == Int64(Self.version) else {
            throw .foreign("it was made by another version; move it away, and a new one is made")
        }
        // Whoever could write the file may have put a view in a table's place, which may be without
        // end, or a trigger, which runs with what is written.
        guard try Self.words(of: database) == words(of: schema) else {
            throw .foreign("its tables are not Braid's; move it away, and a new one is made")
        }
    }

    /// What the file's tables are said to be made by, and anything else that is in it.
    private static func words(of database: Database) throws(StoreError) -> Set<String> {
        var found = Set<String>(), isMore = false
        try database.prepare("SELECT substr(sql, 1, 4096) FROM sqlite_schema WHERE sql NOT NULL")
            .each([]) { row in
                guard found.count < 16, let text = row.text(0) else { isMore = true; return }
                found.formUnion(words(of: text))
            }
        return isMore ? [] : found
    }

    private static func words(of statements: String) -> Set<String> {
        Set(
            statements.split(separator: ";").map { statement in
                statement.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            }.filter { !$0.isEmpty })
    }

    // MARK: Writing

    /// Somebody has moved the file away, or put another one in its place.
    var isReplaced: Bool { FileName(settings.path) != file }

    /// The log of a file that was replaced goes with this object: SQLite would take it for that of
    /// the file that stands there now, and write the one into the other.
    func abandon() {
        guard log != nil, FileName(settings.path + "-wal") == log else { return }
        unlink(settings.path + "-wal")
        unlink(settings.path + "-shm")
    }

    /// When the latest of what is written happened, ms since 1970 UTC; nil: nothing is.
    func latest() throws(StoreError) -> Int64? {
        let event = try database.number(
            "SELECT coalesce((SELECT time FROM event ORDER BY rowid DESC LIMIT 1), 0)")
        let hour = try database.number("SELECT coalesce(max(hour), 0) FROM usage")
        let found = max(event, hour > Int64(1 << 30) ? 0 : hour * 3_600_000)
        return found > 0 ? found : nil
    }

    /// In one transaction.
    func write(_ batch: HistoryBatch) throws(StoreError) {
        defer { log = FileName(settings.path + "-wal") }
        try database.transaction { () throws(StoreError) in
            if !batch.events.isEmpty { try write(events: batch.events) }
            guard !batch.usage.isEmpty else { return }
            let statement = try database.prepare(
                """
                INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
                SET sent = sent + excluded.sent, received = received + excluded.received
                """)
            for (hour, sources) in batch.usage {
                for (source, volume) in sources {
                    try statement.each([
                        .integer(Int64(hour.hour)), .integer(Int64(hour.day)),
                        .text(source.user ?? ""), .text(source.uplink),
                        .integer(Int64(volume.sent)), .integer(Int64(volume.received))
                    ])
                }
            }
        }
    }

    private func write(events: [EventJournal.Entry]) throws(StoreError) {
        let statement = try database.prepare(
            """
            INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET json = excluded.json, sentence = excluded.sentence
            """)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        for entry in events {
            let event = entry.event
            guard let json = try? encoder.encode(event) else { continue }
            try statement.each([
                .integer(process), .integer(Int64(clamping: entry.sequence)),
                .integer(event.time), .text(event.kind.rawValue),
                event.uplink.map { .text($0) } ?? .null, event.user.map { .text($0) } ?? .null,
                .text(String(decoding: json, as: UTF8.self)), .text(event.sentence)
            ])
        }
    }

    /// Takes away what is too old, and what the size has no space for; in small steps. `now`: ms
    /// since 1970 UTC. Whether there is more to do.
    func trim(now: Int64) throws(StoreError) -> Bool {
        let dayMilliseconds: Int64 = 86_400_000
        let hour = UsageHour(milliseconds: now).hour - settings.hourDays * Self.hoursPerDay
        let day = UsageHour(milliseconds: now - Int64(settings.dayDays) * dayMilliseconds).day
        var isMore = false
        try database.transaction { () throws(StoreError) in
            try delete(
                "time < ?", [.integer(now - Int64(settings.eventDays) * dayMilliseconds)],
                maximum: Self.trimRows)
            try foldHours(before: hour)
            try foldDays(before: day)
            isMore = try makeSpace()
        }
        try database.execute("PRAGMA incremental_vacuum(256)")
        return isMore
    }

    /// The oldest `maximum` events for which `condition` holds.
    private func delete(
        _ condition: String, _ values: [Database.Value], maximum: Int
    ) throws(StoreError) {
        try database.prepare(
            """
            DELETE FROM event WHERE rowid IN
            (SELECT rowid FROM event WHERE \(condition) ORDER BY rowid LIMIT \(maximum))
            """
        ).each(values)
    }

    private func foldHours(before hour: Int) throws(StoreError) {
        try database.prepare(
            """
            INSERT INTO usage_day SELECT day, user, uplink, sum(sent), sum(received) FROM usage
            WHERE hour < ? GROUP BY day, user, uplink ON CONFLICT DO UPDATE
            SET sent = sent + excluded.sent, received = received + excluded.received
            """
        ).each([.integer(Int64(hour))])
        try database.prepare("DELETE FROM usage WHERE hour < ?").each([.integer(Int64(hour))])
    }

    private func foldDays(before day: Int) throws(StoreError) {
        try database.prepare(
            """
            INSERT INTO usage_day SELECT 0, user, uplink, sum(sent), sum(received) FROM usage_day
            WHERE day > 0 AND day < ? GROUP BY user, uplink ON CONFLICT DO UPDATE
            SET sent = sent + excluded.sent, received = received + excluded.received
            """
        ).each([.integer(Int64(day))])
        try database.prepare("DELETE FROM usage_day WHERE day > 0 AND day < ?")
            .each([.integer(Int64(day))])
    }

    /// Nearly all of the size is in use: the oldest events go, then the oldest hours become
    /// days, then the oldest days what was before.
    private func makeSpace() throws(StoreError) -> Bool {
        let used =
            try database.number("PRAGMA page_count") - database.number("PRAGMA freelist_count")
        let free = max(settings.maximumBytes / 10, Self.reserve)
        guard used > Int64((settings.maximumBytes - free) / Self.pageBytes) else { return false }
        let events = try Int(database.number("SELECT count(*) FROM event"))
        if events > 0 {
            // A tenth of them, so that the rest outlives many such steps.
            try delete("1", [], maximum: min(max(events / 10, 1), Self.trimRows))
        } else if try database.number("SELECT count(DISTINCT hour) FROM usage") > 1 {
            try foldHours(before: Int(database.number("SELECT max(hour) FROM usage")))
        } else if try database.number("SELECT count(DISTINCT day) FROM usage_day") > 2 {
            try foldDays(before: Int(database.number("SELECT max(day) FROM usage_day")))
        } else {
            return false
        }
        return true
    }

    // MARK: Reading

    /// What has been counted in earlier processes. `now`: ms since 1970 UTC.
    func restore(_ ledger: inout UsageLedger, now: Int64) throws(StoreError) {
        try Self.restore(&ledger, from: database, now: now)
    }

    static func restore(
        _ ledger: inout UsageLedger, from database: Database, now: Int64
    ) throws(StoreError) {
        let first = UsageHour(milliseconds: now).hour - UsageLedger.keptHours
        var found = ledger
        try database.prepare(
            "SELECT hour, day, user, uplink, sent, received FROM usage WHERE hour >= ?"
        )
        .each([.integer(Int64(first))]) { row in
            let hour = Int(row.integer(0)), day = Int(row.integer(1))
            guard hours.contains(hour), days.contains(day), let used = used(row, at: 2) else {
                return
            }
            found.restore(used.volume, of: used.source, in: UsageHour(hour: hour, day: day))
        }
        let firstDay = UsageHour(
            milliseconds: now - Int64(UsageLedger.keptDays) * 86_400_000
        ).day
        try database.prepare(
            """
            SELECT day, user, uplink, sum(sent), sum(received) FROM
            (SELECT day, user, uplink, sent, received FROM usage WHERE hour < ?
             UNION ALL SELECT day, user, uplink, sent, received FROM usage_day)
            GROUP BY day, user, uplink ORDER BY day DESC
            """
        ).each([.integer(Int64(first))]) { row in
            let day = Int(row.integer(0))
            guard days.contains(day), let used = used(row, at: 1) else { return }
            found.restore(used.volume, of: used.source, day: day, keptFrom: firstDay)
        }
        ledger = found
    }

    /// What a row may say of time, whoever wrote it: hours since 1970, and local days.
    private static let hours = 0...(1 << 30), days = 0...99_991_231
    /// Bytes of a user's or an uplink's name.
    private static let maximumName = 256

    /// User, uplink, and bytes sent and received, from `column` on; nil where these are none.
    private static func used(
        _ row: Statement, at column: Int32
    ) -> (source: UsageLedger.Source, volume: UsageLedger.Volume)? {
        let sent = Int(row.integer(column + 2)), received = Int(row.integer(column + 3))
        guard sent >= 0, received >= 0, let user = row.text(column),
            let uplink = row.text(column + 1),
            user.utf8.count <= maximumName, uplink.utf8.count <= maximumName
        else { return nil }
        return (
            UsageLedger.Source(user: user.isEmpty ? nil : user, uplink: uplink),
            UsageLedger.Volume(sent: sent, received: received)
        )
    }
}

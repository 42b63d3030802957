import CSQLite
import Foundation
import Synchronization
import Testing

@testable import History

/// A folder of its own for a test.
private final class Folder {
    let path: String
    init() {
        path = NSTemporaryDirectory() + "braid-history-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    func file(_ name: String) -> String { path + "/" + name }
}

private final class Told: Sendable {
    let news = Mutex<[String]>([])
    func note(_ item: HistoryWriter.News) {
        news.withLock {
            switch item {
            case .failed(let error): $0.append("\(error)")
            case .works: $0.append("works")
            }
        }
    }
    var all: [String] { news.withLock { $0 } }
}

@Suite(.serialized) struct StoreTests {
    private typealias Volume = UsageLedger.Volume
    private typealias Source = UsageLedger.Source
    private let wlan = Source(uplink: "wlan0"), alice = Source(user: "alice", uplink: "1")
    private let now: Int64 = 1_790_000_000_000

    private func entry(_ sequence: UInt64, _ text: String, at time: Int64) -> EventJournal.Entry {
        EventJournal.Entry(
            sequence: sequence, revision: sequence, event: Event(time: time, .note, detail: text))
    }

    private func batch(
        _ source: Source, sent: Int, received: Int = 0, at time: Int64
    ) -> HistoryBatch {
        var batch = HistoryBatch()
        batch.usage[UsageHour(milliseconds: time)] = [
            source: Volume(sent: sent, received: received)
        ]
        return batch
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db"))
        do {
            let store = try HistoryStore(settings, now: now)
            var first = batch(wlan, sent: 5, received: 7, at: now)
            first.events = [entry(1, "one", at: now), entry(2, "two", at: now + 1)]
            try store.write(first)
            var second = batch(wlan, sent: 50, at: now)
            second.usage[UsageHour(milliseconds: now)]?[alice] = Volume(sent: 1, received: 2)
            second.events = [entry(1, "one and more", at: now)]
            try store.write(second)
            try store.write(batch(wlan, sent: 100, at: now - 10 * 86_400_000))
        }
        let reader = try HistoryReader(path: settings.path)
        #expect(try reader.events(limit: 10).map(\.sentence) == ["one and more", "two"])
        #expect(try reader.events(limit: 1).map(\.sentence) == ["two"])
        let months = try reader.usage(.month)
        #expect(months.reduce(0) { $0 + $1.volume.sent } == 156)
        // Another process of the same file does not overwrite the first one's events.
        let again = try HistoryStore(settings, now: now + 5)
        var third = HistoryBatch()
        third.events = [entry(1, "three", at: now + 5)]
        try again.write(third)
        #expect(
            try reader.events(limit: 10).map(\.sentence) == ["one and more", "two", "three"])
        var ledger = UsageLedger()
        try again.restore(&ledger, now: now)
        #expect(ledger.total(of: wlan) == Volume(sent: 155, received: 7))
        #expect(ledger.total(of: alice) == Volume(sent: 1, received: 2))
        #expect(
            ledger.volume(uplink: "wlan0", day: UsageHour(milliseconds: now).day).sent == 55)
        #expect(!ledger.hasUnsaved)
        var about = stat()
        stat(settings.path, &about)
        #expect(about.st_mode & 0o777 == 0o600)
    }

    @Test func oldHoursBecomeDaysAndNothingIsLost() throws {
        let folder = Folder()
        var settings = HistorySettings(path: folder.file("h.db"))
        settings.hourDays = 2
        settings.dayDays = 10
        settings.eventDays = 1
        let store = try HistoryStore(settings, now: now)
        for hour in 0..<500 {
            try store.write(batch(wlan, sent: 1, received: 2, at: now - Int64(hour) * 3_600_000))
        }
        var events = HistoryBatch()
        events.events = (1...10).map {
            entry(UInt64($0), "\($0)", at: now - Int64($0) * 20_000_000)
        }
        try store.write(events)
        #expect(try store.trim(now: now) == false)
        let reader = try HistoryReader(path: settings.path)
        #expect(try reader.usage(.hour).count == 49)
        let days = try reader.usage(.day)
        #expect(days.reduce(0) { $0 + $1.volume.sent } == 500)
        #expect(try reader.usage(.day, latest: 2) == Array(days.suffix(2)))
        #expect(days.first?.period == 0 && (11...12).contains(days.count))
        #expect(try reader.events(limit: 100).count == 4)
        var ledger = UsageLedger()
        try store.restore(&ledger, now: now)
        #expect(ledger.total(of: wlan) == Volume(sent: 500, received: 1_000))
    }

    @Test func theFileDoesNotGrowBeyondItsSize() throws {
        let folder = Folder()
        var settings = HistorySettings(path: folder.file("h.db"))
        settings.maximumBytes = 8 << 20
        let store = try HistoryStore(settings, now: now)
        var sequence: UInt64 = 0
        for _ in 0..<60 {
            var more = HistoryBatch()
            for _ in 0..<200 {
                sequence += 1
                more.events.append(
                    entry(sequence, String(repeating: "x", count: 2_000), at: now))
            }
            try store.write(more)
            for _ in 0..<50 where try !store.trim(now: now) { break }
        }
        let size = try #require(
            FileManager.default.attributesOfItem(atPath: settings.path)[.size] as? Int)
        #expect(size <= 8 << 20)
        let reader = try HistoryReader(path: settings.path)
        #expect(try reader.events(limit: 1_000).count > 500)
    }

    /// A history whose file somebody else wrote: what its rows say of no time and no name, and of
    /// less than nothing, is not counted.
    @Test func rowsOfSomebodyElse() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db"))
        let store = try HistoryStore(settings, now: now)
        try store.write(batch(wlan, sent: 5, at: now))
        let hour = now / 3_600_000, long = String(repeating: "n", count: 300)
        let database = try Database(path: settings.path, readOnly: false)
        for (i, row) in [
            "'-9223372036854775808x', 20260101, '', 'a', 1, 1",
            "9223372036854775807, 20260101, '', 'a', 1, 1",
            "\(hour), -9223372036854775807, '', 'a', 1, 1", "\(hour), 20260101, '', 'a', -1, 1",
            "\(hour), 20260101, '', '\(long)', 1, 1"
        ].enumerated() {
            try database.execute("INSERT INTO usage VALUES (\(row))")
            try database.execute(
                "INSERT OR REPLACE INTO usage_day SELECT day, user, uplink || \(i), sent, received FROM usage"
                    + " WHERE uplink <> 'wlan0'")
        }
        var ledger = UsageLedger()
        try store.restore(&ledger, now: now)
        #expect(ledger.rows(.hour).allSatisfy { $0.source == wlan })
        #expect(ledger.rows(.day).allSatisfy { $0.period >= 20_260_101 })
        #expect(ledger.total(of: wlan).sent == 5)
    }

    /// A view in a table's place may be without end, and a trigger runs with what is written.
    @Test(arguments: [
        "DROP TABLE usage; CREATE VIEW usage AS SELECT 1 AS hour",
        "CREATE TRIGGER t AFTER INSERT ON usage BEGIN DELETE FROM event; END",
        "ALTER TABLE usage ADD COLUMN more", "CREATE TABLE other (a)"
    ])
    func otherTables(_ change: String) throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db"))
        _ = try HistoryStore(settings, now: now)
        try Database(path: settings.path, readOnly: false).execute(change)
        #expect(throws: StoreError.self) { try HistoryStore(settings, now: now) }
        #expect(throws: StoreError.self) { try HistoryReader(path: settings.path) }
    }

    @Test func whatIsNotOursIsLeftAlone() throws {
        let folder = Folder()
        let text = folder.file("text")
        try Data(repeating: 0x41, count: 5_000).write(to: URL(fileURLWithPath: text))
        #expect(throws: StoreError.self) { try HistoryStore(HistorySettings(path: text), now: now) }
        #expect(try Data(contentsOf: URL(fileURLWithPath: text)).count == 5_000)
        let other = folder.file("other.db")
        var handle: OpaquePointer?
        sqlite3_open(other, &handle)
        sqlite3_exec(handle, "CREATE TABLE t (a); INSERT INTO t VALUES (1)", nil, nil, nil)
        sqlite3_close(handle)
        #expect(throws: StoreError.self) {
            try HistoryStore(HistorySettings(path: other), now: now)
        }
        #expect(throws: StoreError.self) { try HistoryReader(path: other) }
        #expect(throws: StoreError.self) { try HistoryReader(path: folder.file("none")) }
        // What may keep its reader waiting is not even opened.
        mkfifo(folder.file("pipe"), 0o600)
        #expect(throws: StoreError.failed("it is no plain file")) {
            try HistoryStore(HistorySettings(path: folder.file("pipe")), now: now)
        }
        #expect(throws: StoreError.failed("it is no plain file")) {
            try UsageFile(path: folder.file("pipe"))
        }
        #expect(throws: StoreError.failed("it is no plain file")) {
            try HistoryReader(path: "/dev/null")
        }
        #expect(throws: StoreError.self) {
            try HistoryStore(HistorySettings(path: folder.file("no/such/folder")), now: now)
        }
    }

    @Test func damagedFilesNeverTrap() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db"))
        do {
            let store = try HistoryStore(settings, now: now)
            for hour in 0..<200 {
                var more = batch(wlan, sent: 1, at: now - Int64(hour) * 3_600_000)
                more.events = [entry(UInt64(hour), "event \(hour)", at: now)]
                try store.write(more)
            }
        }
        let whole = try Data(contentsOf: URL(fileURLWithPath: settings.path))
        var random = SystemRandomNumberGenerator()
        for round in 0..<40 {
            var bytes = whole
            if round % 4 == 0 { bytes = bytes.prefix(Int(random.next() % UInt64(bytes.count))) }
            for _ in 0..<50 where !bytes.isEmpty {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(random.next() % 256)
            }
            let path = folder.file("damaged\(round).db")
            try bytes.write(to: URL(fileURLWithPath: path))
            var ledger = UsageLedger()
            do throws(StoreError) {
                let store = try HistoryStore(HistorySettings(path: path), now: now)
                try store.restore(&ledger, now: now)
                try store.write(batch(wlan, sent: 1, at: now))
                _ = try store.trim(now: now)
                _ = try HistoryReader(path: path).events(limit: 1_000)
            } catch {
                #expect(!error.description.isEmpty)
            }
        }
    }

    @Test func theThreadWritesWithinASecondAndAtTheEnd() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db")), told = Told()
        var ledger = UsageLedger()
        let writer = try #require(
            HistoryWriter(.history(settings), ledger: &ledger) { told.note($0) })
        let recorder = Recorder()
        recorder.note(.started)
        recorder.keep(by: writer)
        let number = recorder.note(.uplinkSilent, uplink: "wlan0")
        recorder.count(Volume(sent: 10, received: 20), of: wlan)
        recorder.save()
        var isWritten = false
        for _ in 0..<100 where !isWritten {
            usleep(50_000)
            isWritten = (try? HistoryReader(path: settings.path).events(limit: 5).count) == 2
        }
        #expect(isWritten)
        recorder.events.amend(number) {
            $0.numbers.longestPause = 84; $0.numbers.connections = 1
        }
        recorder.count(Volume(sent: 1), of: wlan)
        recorder.close()
        let reader = try HistoryReader(path: settings.path)
        #expect(try reader.events(limit: 5).last?.numbers.longestPause == 84)
        #expect(try reader.usage(.month).first?.volume == Volume(sent: 11, received: 20))
        #expect(told.all == [])
        var next = UsageLedger()
        _ = HistoryWriter(.history(settings), ledger: &next) { told.note($0) }
        #expect(next.total(of: wlan) == Volume(sent: 11, received: 20))
    }

    @Test func aLockedFileIsOneWarningAndLosesNothing() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db")), told = Told()
        _ = try HistoryStore(settings, now: now)
        var ledger = UsageLedger()
        let writer = try #require(
            HistoryWriter(.history(settings), ledger: &ledger) { told.note($0) })
        var other: OpaquePointer?
        sqlite3_open(settings.path, &other)
        sqlite3_exec(other, "BEGIN IMMEDIATE", nil, nil, nil)
        for _ in 0..<20 {
            let before = Date()
            writer.add(batch(wlan, sent: 1, at: now))
            #expect(-before.timeIntervalSinceNow < 0.1)
            usleep(20_000)
        }
        for _ in 0..<100 where told.all.isEmpty { usleep(50_000) }
        #expect(told.all == ["another program has locked it"])
        #expect(writer.isFailing)
        sqlite3_exec(other, "COMMIT", nil, nil, nil)
        sqlite3_close(other)
        writer.close()
        #expect(told.all == ["another program has locked it", "works"])
        #expect(try HistoryReader(path: settings.path).usage(.day).first?.volume.sent == 20)
    }

    @Test func aFileThatIsMovedAwayIsFollowedByAnother() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db")), told = Told()
        var ledger = UsageLedger()
        let writer = try #require(
            HistoryWriter(.history(settings), ledger: &ledger) { told.note($0) })
        func isWritten(_ bytes: Int) -> Bool {
            for _ in 0..<100 {
                usleep(50_000)
                let rows = (try? HistoryReader(path: settings.path).usage(.day)) ?? []
                if rows.first?.volume.sent == bytes { return true }
            }
            return false
        }
        writer.add(batch(wlan, sent: 1, at: now))
        #expect(isWritten(1))
        try FileManager.default.moveItem(atPath: settings.path, toPath: folder.file("old.db"))
        writer.add(batch(wlan, sent: 2, at: now))
        #expect(isWritten(2))
        // Another program's in its place is one warning, and stays as it is.
        try FileManager.default.removeItem(atPath: settings.path)
        try Data(repeating: 0x41, count: 5_000).write(to: URL(fileURLWithPath: settings.path))
        writer.add(batch(wlan, sent: 4, at: now))
        for _ in 0..<100 where told.all.isEmpty { usleep(50_000) }
        #expect(told.all.count == 1 && writer.isFailing)
        writer.close()
        #expect(try Data(contentsOf: URL(fileURLWithPath: settings.path)).count == 5_000)
        #expect(!FileManager.default.fileExists(atPath: settings.path + "-wal"))
    }

    @Test func aClockThatIsAheadForADayMakesNothingOld() {
        let day: Int64 = 86_400_000, month = 30 * day
        var clock = AgeClock()
        func at(_ wall: Int64, _ monotonic: Int64) -> Int64 {
            clock.now(wall: wall, monotonic: monotonic) { nil }
        }
        #expect(at(now, 0) == now)
        #expect(at(now + 4 * month, 1_000) == now + 1_000)
        #expect(at(now + 9 * month, day) == now + day)
        // It is that other one's day that counts.
        #expect(at(now + 9 * month + 2_000, day + 2_000) == now + day + 2_000)
        // Back, and by months too far.
        #expect(at(now + 2 * day, 2 * day) == now + 2 * day)
        #expect(at(now - 3 * month, 2 * day + 1) == now - 3 * month)
        #expect(at(now + 2 * day, 2 * day + 2) == now - 3 * month + 1)
        // What it says for a day is believed.
        #expect(at(now + 3 * day, 3 * day) == now - 2 * day - 3 * month + day - 1 + 2 * day)
        #expect(at(now + 3 * day + 3, 3 * day + 3) == now + 3 * day + 3)
        // A machine that was off, or whose clock is wrong from the beginning.
        var late = AgeClock()
        #expect(late.now(wall: now + month, monotonic: 5) { now } == now)
        #expect(late.now(wall: now + month + day, monotonic: day + 5) { nil } == now + month + day)
    }

    @Test func theLatestIsKnown() throws {
        let folder = Folder(), settings = HistorySettings(path: folder.file("h.db"))
        let store = try HistoryStore(settings, now: now)
        #expect(try store.latest() == nil)
        try store.write(batch(wlan, sent: 5, at: now))
        #expect(try store.latest() == now / 3_600_000 * 3_600_000)
        var more = HistoryBatch()
        more.events = [entry(1, "x", at: now + 5)]
        try store.write(more)
        #expect(try store.latest() == now + 5)
    }

    @Test func aSmallFileKeepsDays() throws {
        let folder = Folder(), path = folder.file("usage"), told = Told()
        var ledger = UsageLedger()
        let time = WallClock.milliseconds()
        let writer = try #require(
            HistoryWriter(.usageFile(path), ledger: &ledger) { told.note($0) })
        writer.add(batch(wlan, sent: 3, received: 4, at: time))
        writer.close()
        var again = UsageLedger()
        let next = try #require(
            HistoryWriter(.usageFile(path), ledger: &again) { told.note($0) })
        #expect(again.total(of: wlan) == Volume(sent: 3, received: 4))
        next.add(batch(wlan, sent: 1, at: time))
        next.close()
        var third = UsageLedger()
        _ = HistoryWriter(.usageFile(path), ledger: &third) { told.note($0) }
        #expect(third.total(of: wlan) == Volume(sent: 4, received: 4))
        #expect(told.all == [])
        try Data("[{\"day\":".utf8).write(to: URL(fileURLWithPath: path))
        var damaged = UsageLedger()
        _ = HistoryWriter(.usageFile(path), ledger: &damaged) { told.note($0) }
        #expect(told.all == ["it is no file of usage; move it away, and a new one is made"])
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)).count == 8)
    }
}

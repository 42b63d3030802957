import Foundation
import Measures
import Testing

@testable import Proxy

/// What uplinks use and cost: the calendar, the count, the file.
@Suite struct MoneyTests {
    private func day(_ year: Int, _ month: Int, _ day: Int) -> Int {
        CalendarDate(year, month, day).day
    }

    @Test func theCalendarIsTheCalendar() {
        #expect(day(1970, 1, 1) == 0 && day(2026, 11, 29) == 20_786)
        for number in stride(from: -200_000, to: 200_000, by: 17) {
            #expect(CalendarDate(day: number).day == number)
        }
    }

    @Test func periodsBeginWhenTheyAreToldTo() {
        let sunday = day(2026, 11, 29)
        #expect(AllowancePeriod.day.start(of: sunday) == sunday)
        #expect(AllowancePeriod.week(from: 1).start(of: sunday) == sunday - 6)
        #expect(AllowancePeriod.week(from: 7).start(of: sunday) == sunday)
        #expect(AllowancePeriod.week(from: 7).end(of: sunday) == sunday + 7)
        #expect(AllowancePeriod.month(from: 1).start(of: sunday) == day(2026, 11, 1))
        #expect(AllowancePeriod.month(from: 30).start(of: sunday) == day(2026, 10, 30))
        #expect(AllowancePeriod.month(from: 30).end(of: sunday) == day(2026, 11, 30))
        // A month without that day begins on its last one.
        let march = day(2026, 3, 1)
        #expect(AllowancePeriod.month(from: 31).start(of: march) == day(2026, 2, 28))
        #expect(AllowancePeriod.month(from: 31).end(of: march) == day(2026, 3, 31))
        for first in 1...31 {
            for n in 0..<1_500 {
                let start = AllowancePeriod.month(from: first).start(of: sunday + n)
                let end = AllowancePeriod.month(from: first).end(of: sunday + n)
                #expect(start <= sunday + n && sunday + n < end && (28...31).contains(end - start))
            }
        }
    }

    private func tariff(_ bytes: Int, _ price: Double? = nil) -> Tariff {
        var tariff = Tariff()
        tariff.allowance = .init(bytes: bytes, period: .month(from: 1))
        tariff.price = price.map { .init(amount: $0, currency: "EUR") }
        return tariff
    }

    @Test func stagesAndMoney() {
        var meter = UplinkMeter(tariff(1_000_000_000, 2.5), .init())
        meter.count(799_999_999)
        #expect(meter.stage == .free && meter.isWorthSaving)
        meter.count(1)
        #expect(meter.stage == .nearEnd)
        meter.count(200_000_000)
        #expect(meter.stage == .empty && meter.spent == 2.5)
        #expect(meter.isAhead(of: 0.5) && !meter.isAhead(of: 0.96))
    }

    /// What is lost with the process is less than 0.1 %, or than 100 kB.
    @Test func whatIsUnsavedIsLittle() {
        for used in [0, 10_000, 1_000_000, 1_000_000_000, 1_000_000_000_000] {
            var meter = UplinkMeter(tariff(1), .init(bytes: used, period: 1, told: 0))
            while !meter.isWorthSaving { meter.count(max(1_500, used / 100_000)) }
            #expect(meter.unsaved <= max(100_000, used / 1_000), "\(used)")
        }
    }

    @Test func clocksThatAreWrong() {
        var meter = UplinkMeter(tariff(1), .init())
        meter.count(5)
        var record = UsageFile.Record(bytes: 100, period: 20_758, told: 80)
        // The same period; one that went back a month; one that was never set.
        for period in [20_758, 20_727, 0] {
            var same = record
            meter.save(into: &same, period: period, by: .set)
            #expect(same == UsageFile.Record(bytes: 105, period: 20_758, told: 80))
        }
        // A month or a year ahead, and back, and on when it is time: nothing of a period is lost.
        for ahead in [21_123, 20_788] {
            var there = record
            meter.save(into: &there, period: ahead, by: .set)
            #expect(there.bytes == 5 && there.period == ahead)
            #expect(there.before == .init(bytes: 100, start: 20_758, since: 5, isAway: true))
            meter.save(into: &there, period: 20_758, by: .set)
            #expect(there.bytes == 110 && there.period == 20_758)
            #expect(there.before == .init(bytes: 5, start: ahead, since: 5))
            meter.save(into: &there, period: ahead, by: .passed)
            #expect(there.bytes == 10 && there.period == ahead)
            #expect(there.before == .init(bytes: 110, start: 20_758))
        }
        // A year back, as a machine without a battery may be for its first minute.
        meter.save(into: &record, period: 20_393, by: .unknown)
        #expect(record.bytes == 105 && record.period == 20_393)
        meter.save(into: &record, period: 20_758, by: .set)
        #expect(record.bytes == 110 && record.period == 20_758)
    }

    /// Wherever somebody sets the clock to meanwhile, what was used counts when it is right again.
    @Test(arguments: [AllowancePeriod.day, .week(from: 3), .month(from: 1), .month(from: 31)])
    func clocksThatAreSetAtRandom(_ kind: AllowancePeriod) {
        var random = SeededRandom(seed: 29)
        let today = day(2028, 2, 29)
        for round in 0..<300 {
            var record = UsageFile.Record(), counted = 0
            var meter = UplinkMeter(tariff(1), record)
            var seen: Set<Int> = [], last = today
            func count(on day: Int, _ change: ClockChange) {
                seen.insert(kind.start(of: day))
                last = day
                let bytes = Int(random.next() % 1_000)
                meter.count(bytes)
                counted += bytes
                meter.save(into: &record, period: kind.start(of: day), by: change)
                meter.saved(as: record)
            }
            count(on: today, .unknown)
            for _ in 0..<(1 + random.next() % 6) {
                let far = [2, 40, 70, 400, 12_000][Int(random.next() % 5)]
                let wrong = today + Int(random.next() % UInt64(2 * far)) - far
                // Right in between, or wrong in another way.
                let to =
                    random.next() % 4 == 0 || seen.contains(kind.start(of: wrong))
                    ? today : wrong
                // Found so at a start, which looks like time that went by where it leads on.
                count(on: to, to < last && random.next() % 3 == 0 ? .unknown : .set)
            }
            count(on: today, .set)
            #expect(record.bytes >= counted, "\(round): \(record) of \(counted)")
        }
    }

    /// Time that goes by, with and without a process: each period has what was used in it.
    @Test(arguments: [AllowancePeriod.day, .week(from: 7), .month(from: 29), .month(from: 31)])
    func timeGoesBy(_ kind: AllowancePeriod) {
        var record = UsageFile.Record(), counted = 0, random = SeededRandom(seed: 4)
        var meter = UplinkMeter(tariff(1), record)
        for day in day(2027, 12, 20)..<day(2029, 3, 10) {
            if kind.start(of: day) == day { counted = 0 }
            for _ in 0..<3 {
                let isNew = random.next() % 4 == 0
                if isNew { meter = UplinkMeter(tariff(1), record) }
                let bytes = Int(random.next() % 1_000)
                meter.count(bytes)
                counted += bytes
                meter.save(
                    into: &record, period: kind.start(of: day), by: isNew ? .unknown : .passed)
                meter.saved(as: record)
            }
            #expect(record.bytes == counted && record.period == kind.start(of: day))
        }
    }

    /// A file that can't be written does not hold up the calendar, and gets what it lacks.
    @Test func aPeriodBeginsWithoutTheFile() {
        var file = UsageFile.Record(bytes: 100, period: 20_758, told: 80)
        var meter = UplinkMeter(tariff(1), file)
        meter.count(5)
        meter.goOn(in: 20_758, by: .passed)
        #expect(meter.used == 105 && meter.isUnsaved(in: 20_758))
        meter.goOn(in: 20_788, by: .passed)
        #expect(meter.used == 0 && meter.isUnsaved(in: 20_788))
        meter.count(7)
        meter.save(into: &file, period: 20_788, by: .passed)
        meter.saved(as: file)
        #expect(file == .init(bytes: 7, period: 20_788, before: .init(bytes: 105, start: 20_758)))
        #expect(meter.used == 7 && !meter.isUnsaved(in: 20_788))
        meter.note(told: 80)
        meter.save(into: &file, period: 20_788, by: .passed)
        #expect(file.told == 80)
        file.told = 0
        // One that could not even be read until now.
        var late = UplinkMeter(tariff(1), .init())
        late.goOn(in: 20_788, by: .unknown)
        late.count(3)
        late.save(into: &file, period: 20_788, by: .passed)
        #expect(file.bytes == 10 && file.before == .init(bytes: 105, start: 20_758))
    }

    @Test func thePeriodBeforeIsInTheFile() throws {
        try withFile { path in
            let long = String(repeating: "u", count: UsageFile.maximumName)
            for name in ["wwan0", long] {
                let file = try UsageFile(path: path)
                let before = UsageFile.Period(
                    bytes: .max, start: 20_758, since: .max, isAway: name != long)
                _ = file.change(name) { $0 = .init(bytes: .max, period: 20_788, before: before) }
                _ = file.change("next") { $0.bytes = 3 }
                let again = try UsageFile(path: path)
                let record = try #require(again.read(name))
                #expect(record.period == 20_788 && !again.isDamaged)
                // A long name leaves no room for all of it.
                let since = name == long ? nil : UsageFile.maximumBytes
                #expect(
                    record.before
                        == .init(
                            bytes: UsageFile.maximumBytes, start: 20_758, since: since,
                            isAway: name != long))
                #expect(again.read("next")?.bytes == 3)
            }
            // As a version without it writes.
            try "wwan0 5 20788 0  \nnonsense \n".write(
                toFile: path, atomically: false, encoding: .utf8)
            #expect(try UsageFile(path: path).read("wwan0") == .init(bytes: 5, period: 20_788))
        }
    }

    /// A machine without a battery for its clock: what is counted before the time is known counts.
    @Test func aClockThatIsSetLate() {
        var meter = UplinkMeter(tariff(1), .init())
        meter.count(7)
        var record = UsageFile.Record()
        meter.save(into: &record, period: 0, by: .unknown)
        meter.saved(as: record)
        meter.count(2)
        meter.save(into: &record, period: 20_758, by: .set)
        #expect(record == UsageFile.Record(bytes: 9, period: 20_758, told: 0))
    }

    @Test func countsStayInTheirType() throws {
        try withFile { path in
            let line = "wwan0 \(Int.max) \(Int.max) \(Int.max)\n"
            try line.write(toFile: path, atomically: false, encoding: .utf8)
            let file = try UsageFile(path: path)
            let known = try #require(file.read("wwan0"))
            #expect(known.bytes == UsageFile.maximumBytes)
            for tariff in [tariff(1_000, 1e9), tariff(.max, 0)] {
                var meter = UplinkMeter(tariff, known)
                meter.count(1 << 61)
                for period in [Int.min / 2, 0, 20_758] {
                    var record = known
                    meter.save(into: &record, period: period, by: .set)
                    #expect(record.bytes == UsageFile.maximumBytes)
                }
                #expect(meter.used > 0 && meter.spent?.isFinite == true)
                #expect(meter.stage == (tariff.allowance?.bytes == .max ? .free : .empty))
            }
            let low = "wwan0 5 \(Int.min) \(Int.min)\n"
            try low.write(toFile: path, atomically: false, encoding: .utf8)
            var record = try #require(try UsageFile(path: path).read("wwan0"))
            UplinkMeter(tariff(1), record).save(into: &record, period: 20_758, by: .set)
            #expect(record.bytes == 5 && record.period == 20_758)
        }
    }

    // MARK: The file

    private func withFile(_ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "braid-usage-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test func twoProcessesCountTogether() throws {
        try withFile { path in
            let one = try UsageFile(path: path), other = try UsageFile(path: path)
            for _ in 0..<1_000 {
                #expect(one.change("wwan0") { $0.bytes += 3 } != nil)
                #expect(other.change("wwan0") { $0.bytes += 4 } != nil)
                #expect(other.change("wlan0") { $0.bytes += 1 } != nil)
            }
            let third = try UsageFile(path: path)
            #expect(third.read("wwan0")?.bytes == 7_000 && third.read("wlan0")?.bytes == 1_000)
            #expect(third.read("eth0") == nil && !third.isDamaged)
        }
    }

    @Test func aDamagedFileIsNoEnd() throws {
        try withFile { path in
            let long = String(repeating: "x", count: 20_000)
            for text in ["nonsense\n", "wwan0 -5 1 0\n", "wwan0 1", "\0\0\0", long] {
                try text.write(toFile: path, atomically: false, encoding: .utf8)
                let file = try UsageFile(path: path)
                #expect(file.read("wwan0") == nil)
                let changed = file.change("wwan0") { $0.bytes += 9 }
                if text == long {
                    #expect(changed?.bytes == 9)
                } else {
                    #expect(try UsageFile(path: path).read("wwan0")?.bytes == 9, "\(text)")
                }
            }
            let file = try UsageFile(path: path)
            #expect(file.isDamaged)
            // A name that has no place, and one with a space.
            #expect(file.change("a b") { $0.bytes = 1 } == nil)
            for n in 0..<100 { _ = file.change("up\(n)") { $0.bytes = 1 } }
            #expect(file.change("late") { $0.bytes = 1 } == nil)
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)).count <= 20_000)
        }
    }

    @Test func whatIsNoFile() {
        #expect(throws: (any Error).self) { try UsageFile(path: "/dev/null") }
        #expect(throws: (any Error).self) { try UsageFile(path: "/proc/usage") }
        #expect(throws: (any Error).self) { try UsageFile(path: "/nonexistent/usage") }
    }
}

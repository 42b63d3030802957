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
            meter.save(into: &same, period: period)
            #expect(same == UsageFile.Record(bytes: 105, period: 20_758, told: 80))
        }
        // A year ahead, and back.
        meter.save(into: &record, period: 21_123)
        #expect(record == UsageFile.Record(bytes: 5, period: 21_123, told: 0))
        meter.save(into: &record, period: 20_758)
        #expect(record == UsageFile.Record(bytes: 10, period: 20_758, told: 0))
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
        #expect(throws: (any Error).self) { try UsageFile(path: "/nonexistent/usage") }
    }
}

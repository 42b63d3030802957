import Glibc
import Testing

@testable import History

@Suite struct UsageTests {
    private typealias Volume = UsageLedger.Volume
    private typealias Source = UsageLedger.Source
    private let wlan = Source(uplink: "wlan0"), wwan = Source(uplink: "wwan0")

    @Test func countsByHourDayMonth() {
        var ledger = UsageLedger()
        let first = UsageHour(hour: 1_000, day: 2026_01_31)
        let next = UsageHour(hour: 1_001, day: 2026_02_01)
        ledger.add(Volume(sent: 1, received: 10), of: wlan, in: first)
        ledger.add(Volume(sent: 2, received: 20), of: wlan, in: first)
        ledger.add(Volume(sent: 4, received: 40), of: wlan, in: next)
        ledger.add(Volume(sent: 8, received: 80), of: wwan, in: next)
        #expect(ledger.total(of: wlan) == Volume(sent: 7, received: 70))
        #expect(ledger.volume(uplink: "wlan0", month: 2026_01) == Volume(sent: 3, received: 30))
        // On each its own, also where the clock was ahead and is not any more.
        #expect(ledger.volume(uplink: "wlan0", day: 2026_01_31) == Volume(sent: 3, received: 30))
        #expect(ledger.volume(uplink: "wlan0", day: 2026_02_01) == Volume(sent: 4, received: 40))
        #expect(ledger.rows(.day).map(\.period) == [2026_01_31, 2026_02_01, 2026_02_01])
        #expect(ledger.rows(.hour).map(\.volume.sent) == [3, 4, 8])
        #expect(ledger.rows(.day, latest: 1).map(\.volume.sent) == [4, 8])
        #expect(ledger.rows(.day, latest: 0) == [])
        let unsaved = ledger.takeUnsaved()
        #expect(unsaved[next]?[wwan] == Volume(sent: 8, received: 80))
        #expect(!ledger.hasUnsaved)
    }

    @Test func tablesAreBounded() {
        var ledger = UsageLedger()
        let hour = UsageHour(hour: 1, day: 2026_01_01)
        for number in 0..<UsageLedger.maximumSources + 100 {
            ledger.add(
                Volume(sent: 1), of: Source(user: "u\(number)", uplink: "0"), in: hour)
        }
        #expect(ledger.sources.count == UsageLedger.maximumSources + 1)
        #expect(ledger.total(of: Source(user: "other", uplink: "other")).sent == 100)
        ledger = UsageLedger()
        for number in 0..<200 {
            ledger.add(
                Volume(sent: 1), of: wlan,
                in: UsageHour(hour: 24 * number, day: 2026_00_00 + number))
        }
        #expect(ledger.rows(.day).map(\.period).min() == 2026_00_00 + 200 - UsageLedger.keptDays)
        // A clock that jumps to and fro.
        for number in 0..<200 {
            ledger.add(
                Volume(sent: 1), of: wlan,
                in: UsageHour(hour: number % 2 * 1_000_000 + number, day: 1970_01_01 + number))
        }
        #expect(ledger.total(of: wlan).sent == 400)
    }

    @Test func hoursAreTheCalendars() {
        setenv("TZ", "Asia/Kolkata", 1)
        tzset()
        defer { unsetenv("TZ"); tzset() }
        // 2026-01-31 18:29:59 and 18:30:00 UTC; 2026-02-01 begins there between the two.
        let before = UsageHour(milliseconds: 1_769_884_199_000)
        let after = UsageHour(milliseconds: 1_769_884_200_000)
        #expect(before.hour == after.hour)
        #expect(before.day == 2026_01_31 && after.day == 2026_02_01)
        #expect(after.month == 2026_02)
        #expect(UsageHour(milliseconds: -5).hour == 0)
    }

    @Test func histogramCounts() {
        var histogram = Histogram()
        for value in [0.0005, 0.084, 0.0840001, 60, -1, .nan, .infinity] { histogram.add(value) }
        #expect(histogram.count == 4)
        #expect(histogram.counts[0] == 1 && histogram.counts[6] == 2)
        #expect(histogram.counts.last == 1)
        histogram.add(counts: [1, 1], sum: 0.5)
        #expect(histogram.counts[0] == 2 && histogram.counts[1] == 1)
    }
}

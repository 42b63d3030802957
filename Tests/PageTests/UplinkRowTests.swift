import Measures
import Multipath
import Shell
import Testing

@testable import Page
@testable import Tunnel

/// What the page says of an uplink: its state, since when, and why it is unused.
@Suite struct UplinkRowTests {
    private func path(
        _ uplink: String, _ health: PathHealth = .usable, since: Int64 = 1,
        _ change: (inout PathSnapshot) -> Void = { _ in }
    ) -> PathSnapshot {
        var path = PathSnapshot(
            session: 0, user: "", number: 0, uplink: uplink, health: health,
            since: Instant.zero + .seconds(since), isFutile: false, isBackup: false,
            isBaseConfirmed: true, smoothedRTT: .milliseconds(40), minimumRTT: .milliseconds(30),
            loss: 0.01, sendRate: Rate(bytesPerSecond: 1_000),
            receiveRate: Rate(bytesPerSecond: 9_000), bytesSent: 10, bytesReceived: 90)
        change(&path)
        return path
    }

    private func row(
        _ paths: [PathSnapshot], mode: String = "full", hasSession: Bool = true,
        _ change: (inout ServerStatus.UplinkState) -> Void = { _ in }
    ) -> UplinkRow {
        var uplink = ServerStatus.UplinkState(name: "wifi", isBackup: false, isPresent: true)
        change(&uplink)
        return UplinkRows.proxy([uplink], paths: paths, mode: mode, hasSession: hasSession)[0]
    }

    @Test func anUplinkInUse() {
        let row = row([path("wifi", since: 7), path("wifi", since: 3), path("cell", since: 1)])
        #expect(row.state == .usable && row.reason == nil && row.since == .zero + .seconds(3))
        #expect(row.rtt == .milliseconds(40) && row.queue == .milliseconds(10))
        // Of both its paths, and none of others'.
        #expect(row.up == 2_000 && row.down == 18_000 && row.bytesUp == 20 && row.bytesDown == 180)
    }

    @Test func whatCarriesIsInUseThoughItsProofIsMissing() {
        let row = row([
            path("wifi") {
                $0.isBaseConfirmed = false
                $0.receiveRate = Rate(bytesPerSecond: 200_000)
            }
        ])
        #expect(row.state == .usable && row.reason == nil)
    }

    @Test func whyItIsUnused() {
        let cases: [(UplinkRow, UplinkRow.State, String)] = [
            (row([path("wifi")]) { $0.isOff = true }, .off, "switched off"),
            (row([]) { $0.isPresent = false }, .absent, "no interface"),
            (row([path("wifi", .suspect)]) { $0.problem = "rp_filter" }, .unreached, "rp_filter"),
            (row([path("wifi") { $0.isBackup = true }], mode: "backup"), .resting, "backup"),
            (row([path("wifi") { $0.isBaseConfirmed = false }]), .silent, "full packets"),
            (row([], hasSession: false), .waiting, "no session"),
            (
                row([path("wifi", .suspect) { $0.isFutile = true }]), .unreached,
                "never reached from it"
            ),
            (row([path("wifi", .suspect)]), .silent, "nothing is heard"),
            (row([path("wifi", .lost)], mode: "single"), .resting, "mode single"),
            (row([path("wifi", .lost)]), .lost, "no path"),
            (
                row([]) {
                    $0.usedBytes = 11
                    $0.allowanceBytes = 10
                }, .off, "allowance is used up"
            )
        ]
        for (row, state, part) in cases {
            #expect(row.state == state && row.reason?.contains(part) == true, "\(row)")
        }
    }

    @Test func moneyIsShownInHundredths() {
        let row = row([path("wifi")]) {
            $0.usedBytes = 5
            $0.allowanceBytes = 10
            $0.spent = 3.197
            $0.currency = "EUR"
        }
        #expect(row.used == 5 && row.allowance == 10 && row.spent == "3.20 EUR")
    }

    @Test func aConcentratorShowsPathsAndNotTooMany() {
        let many = (0..<500).map { number in
            path("") {
                $0.user = "alice"
                $0.number = PathID(number)
            }
        }
        let rows = UplinkRows.concentrator(many)
        #expect(rows.count == UplinkRows.maximum && rows[1].name == "alice, path 1")
        // Up is what the concentrator receives.
        #expect(rows[0].up == 9_000 && rows[0].down == 1_000)
        let lost = UplinkRows.concentrator([path("", .lost)])
        #expect(lost[0].state == .lost && lost[0].reason != nil)
    }

    @Test func aStateWithoutAPathHasItsTimeAllTheSame() {
        var clock = StateClock()
        let absent = row([]) { $0.isPresent = false }
        let first = Instant.zero + .seconds(10)
        #expect(clock.since(absent, at: first) == first)
        #expect(clock.since(absent, at: first + .seconds(5)) == first)
        #expect(
            clock.since(row([path("wifi", since: 12)]), at: first + .seconds(6)) == .zero
                + .seconds(12))
        #expect(clock.since(absent, at: first + .seconds(9)) == first + .seconds(9))
    }
}

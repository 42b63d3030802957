import Measures
import Testing

@testable import Shell

@Suite struct ShellLimitTests {
    private let start = Instant.zero + .seconds(100)

    @Test func whatIsNotSaidIsCounted() {
        var limit = NoticeLimit(3, in: .seconds(10))
        let said = (0..<50).map { _ in limit.pass(at: start) }
        #expect(said.prefix(3) == [0, 0, 0] && said.dropFirst(3).allSatisfy { $0 == nil })
        let early = limit.pass(at: start + .milliseconds(9_999))
        #expect(early == nil)
        let next = limit.pass(at: start + .seconds(10)),
            after = limit.pass(at: start + .seconds(10))
        #expect(next == 48 && after == 0)
    }

    private func uplinkLimit() -> UplinkLimit {
        UplinkLimit(Rate(bytesPerSecond: 100_000), since: start, carried: 5_000, timer: nil)
    }

    @Test func aDebtIsPaidAtTheRate() {
        var limit = uplinkLimit()
        let free = limit.admits(5_000, at: start), owing = limit.admits(15_000, at: start)
        #expect(free == .now && owing == .later(.milliseconds(100)))
        let early = limit.admits(15_000, at: start + .milliseconds(60))
        #expect(early == .later(.milliseconds(40)))
        let paid = limit.admits(15_000, at: start + .milliseconds(100))
        #expect(paid == .now)
    }

    /// An hour without a byte is good for a tenth of a second's.
    @Test func restGivesAShortBurst() {
        for (bytes, admission) in [
            (10_000, UplinkLimit.Admission.now), (11_000, .later(.milliseconds(10))),
            // Nothing waits for longer than a second.
            (1 << 30, .later(.seconds(1)))
        ] {
            var limit = uplinkLimit()
            let now = start + .seconds(3_600)
            let rested = limit.admits(5_000, at: now), found = limit.admits(5_000 + bytes, at: now)
            #expect(rested == .now && found == admission, "\(bytes)")
        }
    }

    @Test func hostsAreReadLineByLine() {
        let hosts = HostsFile.parse(
            """
            # comment 192.0.2.9 nobody
            192.0.2.1\tAlpha alpha # beta
            2001:db8::1 alpha gamma
            none delta
            192.0.2.2
            """)
        let both = [IPAddress("192.0.2.1")!, IPAddress("2001:db8::1")!]
        #expect(hosts == ["alpha": both, "gamma": [both[1]]])
    }
}

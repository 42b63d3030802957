import History
import Measures
import Multipath
import Testing
import Tunnel

@testable import Proxy

/// One loss is one event, whoever says it first: the kernel, by its message or by refusing to send,
/// or the engine.
@Suite struct ReportTests {
    private final class Clock {
        var now: Int64 = 1_000_000
        /// What the wall clock is ahead by.
        var ahead: Int64 = 0
    }

    private func events(_ body: (ProxyReports, Clock) -> Void) -> [String] {
        let clock = Clock(),
            recorder = Recorder(
                clock: { clock.now + clock.ahead }, steady: { clock.now })
        let reports = ProxyReports(recorder)
        reports.appeared("wifi", at: nil)
        reports.note(path(.usable))
        body(reports, clock)
        return recorder.events.entries().dropFirst(2).map(\.event.sentence)
    }

    private func path(_ health: PathHealth) -> EndpointEvent {
        .pathChanged(
            session: 0, path: 0, uplink: "wifi", remote: SocketAddress("192.0.2.1:443")!,
            health: health)
    }

    @Test func whatFailedAndIsGoneIsGone() {
        let found = events { reports, clock in
            reports.failed("wifi", "no route")
            reports.note(path(.lost))
            clock.now += 60
            reports.vanished("wifi")
            clock.now += 5_000
            reports.appeared("wifi", at: nil)
            reports.note(path(.usable))
        }
        #expect(found == ["wifi is gone", "wifi is there", "wifi carries again, after 5.0 s"])
    }

    /// How long something was away is not the difference of two times of day.
    @Test func aClockThatIsSetMakesNoSilenceLonger() {
        for months in [4, -4] as [Int64] {
            let found = events { reports, clock in
                reports.failed("wifi", "no route")
                clock.ahead = months * 30 * 86_400_000
                clock.now += 60
                reports.vanished("wifi")
                clock.now += 5_000
                reports.appeared("wifi", at: nil)
                reports.note(path(.usable))
            }
            #expect(found == ["wifi is gone", "wifi is there", "wifi carries again, after 5.0 s"])
        }
    }

    @Test func whatIsGoneNeedNotFail() {
        let found = events { reports, clock in
            reports.vanished("wifi")
            reports.note(path(.lost))
            clock.now += 10
            reports.failed("wifi", "no device")
        }
        #expect(found == ["wifi is gone"])
    }

    @Test func whatFailsAndStaysHasFailed() {
        let found = events { reports, clock in
            reports.failed("wifi", "no route")
            reports.note(path(.lost))
            clock.now += 10_000
            reports.vanished("wifi")
        }
        #expect(found == ["can't send through wifi: no route", "wifi is gone"])
    }

    @Test func whatIsClosedInOrderIsClosed() {
        #expect(events { reports, _ in reports.note(path(.lost)) } == ["wifi is closed"])
    }
}

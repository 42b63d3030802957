import Glibc
import Logging
import Measures
import Testing

@testable import Shell

@Suite struct WatchdogTests {
    @Test func itIsFedTwiceInEachIntervalForAsLongAsTheLoopGoesRound() throws {
        let loop = try EventLoop(), fed = Box(0)
        let watchdog = Watchdog(loop: loop, interval: .milliseconds(40)) { fed.value += 1 }
        #expect(loop.run(until: .seconds(10)) { fed.value >= 5 })
        // A loop that stands still says nothing: whoever waits for it sees that.
        let before = fed.value
        usleep(200_000)
        #expect(fed.value == before)
        withExtendedLifetime(watchdog) {}
    }

    @Test(arguments: [
        (["WATCHDOG_USEC": "10000000"], Interval?.some(.seconds(10))),
        (["WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"], nil), ([:], nil),
        (["WATCHDOG_USEC": "0"], nil),
        (["WATCHDOG_USEC": "-5"], nil), (["WATCHDOG_USEC": "soon"], nil),
        (["WATCHDOG_USEC": "9223372036854775807"], nil),
        (["WATCHDOG_USEC": "1"], .microseconds(2_000))
    ])
    func theIntervalIsTheServiceManagers(environment: [String: String], interval: Interval?) {
        #expect(ServiceManager.watchdogInterval { environment[$0] } == interval)
        var mine = environment
        guard mine["WATCHDOG_PID"] == nil else { return }
        mine["WATCHDOG_PID"] = "\(getpid())"
        #expect(ServiceManager.watchdogInterval { mine[$0] } == interval)
    }

    /// A handler that takes its time: the turn is told with what it was made of.
    @Test func aLongTurnIsTold() throws {
        let loop = try EventLoop(), told = Box<[TurnRecord]>([])
        loop.reportTurns(longerThan: .milliseconds(100)) { told.value.append($0) }
        let quick = loop.timer {}, slow = loop.timer { usleep(150_000) }
        quick.arm(after: .zero)
        slow.arm(after: .zero)
        #expect(loop.run(until: .seconds(10)) { !told.value.isEmpty })
        let turn = try #require(told.value.first { $0.longest.part == .timer })
        #expect(turn.timers >= 1 && turn.sockets == 0 && turn.longest.time >= .milliseconds(150))
        #expect(turn.duration >= turn.longest.time)
        // Waiting is not working.
        told.value = []
        _ = loop.run(until: .milliseconds(300)) { false }
        #expect(told.value.filter { $0.longest.time >= .milliseconds(250) }.isEmpty)
    }
}

import Testing

@testable import Measures

struct BackoffTests {
    /// By what happens before each wait: f for a failure, s for a success.
    @Test(arguments: [
        ("", 100), ("f", 200), ("ff", 400), ("fff", 800), ("ffff", 1000), ("ffffffffffff", 1000),
        ("s", 100), ("ffs", 100), ("ffsf", 200), ("ffffffsff", 400)
    ])
    func eachFailureDoublesTheWaitAndASuccessEndsThat(story: String, wait: Int64) {
        var backoff = Backoff()
        for what in story { if what == "f" { backoff.failed() } else { backoff.reset() } }
        #expect(backoff.wait(.milliseconds(100), maximum: .seconds(1)) == .milliseconds(wait))
    }

    /// What it follows from may be another one each time: a round trip was measured.
    @Test func whatIsDoubledMayChange() {
        var backoff = Backoff()
        for _ in 0..<3 { backoff.failed() }
        #expect(backoff.count == 3)
        #expect(backoff.wait(.milliseconds(10)) == .milliseconds(80))
        #expect(backoff.wait(.milliseconds(25)) == .milliseconds(200))
    }

    @Test func noMoreDoublingsThanWereAllowed() {
        var backoff = Backoff(maximumDoublings: 2)
        var waits: [Interval] = []
        for _ in 0..<5 {
            waits.append(backoff.wait(.milliseconds(1)))
            backoff.failed()
        }
        #expect(waits == [1, 2, 4, 4, 4].map { .milliseconds($0) })
        #expect(backoff.count == 5, "they are counted all the same")
    }

    @Test(
        arguments: [
            (1, 0, 100, 1), (1, -3, 100, 1), (200, 0, 100, 100), (1, 6, 100, 64), (1, 7, 100, 100),
            (25, 2, 100, 100), (26, 2, 100, 100), (0, 62, 100, 0), (1, 62, 0, 0),
            (1, 62, .max, 1 << 62), (1, 63, .max, .max), (3, 62, .max, .max), (1, .max, .max, .max)
        ] as [(Int64, Int, Int64, Int64)])
    func doubling(first: Int64, times: Int, maximum: Int64, result: Int64) {
        let doubled = Interval(nanoseconds: first)
            .doubled(times, maximum: Interval(nanoseconds: maximum))
        #expect(doubled.nanoseconds == result)
    }

    /// A `Repeater` keeps to the first wait that it had.
    @Test func theWaitsDoubleUpToTheLongestAndBeginAnew() {
        var repeater = Repeater()
        #expect(!repeater.isRunning)
        var now = Instant.zero, waits: [Int64] = []
        func say() {
            repeater.sent(at: now, first: .milliseconds(50), maximum: .milliseconds(300))
            waits.append((repeater.at - now).nanoseconds / 1_000_000)
            now = repeater.at
        }
        for _ in 0..<5 { say() }
        repeater.renew()
        #expect(repeater.isRunning)
        say()
        #expect(waits == [50, 100, 200, 300, 300, 50])
        repeater.stop()
        #expect(repeater.at == .distantFuture)
        say()
        #expect(waits.last == 50)
    }
}

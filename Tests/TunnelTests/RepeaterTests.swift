import Measures
import Testing
@testable import Tunnel

@Test func theWaitsDoubleUpToTheLongestAndBeginAnew() {
    var repeater = Repeater()
    #expect(!repeater.isRunning)
    var now = Instant.zero, waits: [Int64] = []
    func say() {
        repeater.said(at: now, first: .milliseconds(50), longest: .milliseconds(300))
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

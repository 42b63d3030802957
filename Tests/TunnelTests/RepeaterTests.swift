import Measures
import Testing

@testable import Tunnel

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

/// A process that stood still measures a round trip of minutes.
@Test func noRoundTripMakesAPathsTimeOutLongerThanTenSeconds() {
    var path = PathRoundTrip()
    path.add(.milliseconds(30), at: .zero)
    #expect(path.probeTimeout < .milliseconds(120))
    path.add(.seconds(534), at: .zero)
    #expect(path.probeTimeout == .seconds(10))
}

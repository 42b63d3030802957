import Measures

/// Asks for what was moved to be counted a second after a datagram, and not again before the next
/// one, so that an idle process sleeps.
public final class UsageTimer {
    private static let delay = Interval.seconds(1)
    private let driver: EngineDriver
    private let count: () -> Void
    private var timer: LoopTimer?

    /// `count` is called from the loop, for as long as this is kept.
    public init(_ driver: EngineDriver, count: @escaping () -> Void) {
        self.driver = driver
        self.count = count
        timer = driver.loop.timer(for: self) { $0.fire() }
        awaitTraffic()
    }

    private func awaitTraffic() {
        driver.trafficBegan = { [weak self] in self?.timer?.arm(after: Self.delay) }
    }

    private func fire() {
        count()
        awaitTraffic()
    }
}

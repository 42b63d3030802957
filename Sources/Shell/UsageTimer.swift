import Measures

/// Asks for what was moved to be counted within a second of a datagram, and not again before the
/// next one, so that an idle process sleeps.
public final class UsageTimer {
    private let driver: EngineDriver
    private let delay: () -> Interval
    private let count: () -> Void
    private var timer: LoopTimer?

    /// `count` is called from the loop, for as long as this is kept; so long after a datagram as
    /// `delay` says then.
    public init(
        _ driver: EngineDriver, delay: @escaping () -> Interval, count: @escaping () -> Void
    ) {
        self.driver = driver
        self.delay = delay
        self.count = count
        timer = driver.loop.timer(for: self) { $0.fire() }
        awaitTraffic()
    }

    /// Has it counted as soon as the loop comes to it.
    public func hurry() { timer?.arm(after: .zero) }

    private func awaitTraffic() {
        driver.trafficBegan = { [weak self] in
            guard let self else { return }
            timer?.arm(after: delay())
        }
    }

    private func fire() {
        count()
        awaitTraffic()
    }
}

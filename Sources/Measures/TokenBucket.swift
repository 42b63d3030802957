/// So many per second on average, so many at once: what a peer may ask for.
public struct TokenBucket: Sendable {
    /// Tokens a second.
    public let rate: Double
    /// The most it holds.
    public let burst: Double
    private var level: Double
    private var since = Instant.zero

    /// Full at first. `rate`: tokens a second.
    public init(rate: Double, burst: Double) {
        self.rate = rate
        self.burst = burst
        level = burst
    }

    /// What is in it at `now`; below zero where more was spent than was there.
    public mutating func level(at now: Instant) -> Double {
        if now > since {
            level = min(burst, level + (now - since).seconds * rate)
            since = now
        }
        return level
    }

    /// Takes `n` tokens; false where there are not so many.
    public mutating func take(_ n: Int = 1, at now: Instant) -> Bool {
        guard level(at: now) >= Double(n) else { return false }
        level -= Double(n)
        return true
    }

    /// Takes what was used already, whether or not it is there.
    public mutating func spend(_ n: Int) { level -= Double(n) }

    /// When there will be one again; `now` or earlier where there is.
    public func next(at now: Instant) -> Instant {
        var copy = self
        let lacking = 1 - copy.level(at: now)
        return lacking <= 0 ? now : now + Interval(seconds: lacking / rate) + .microseconds(1)
    }
}

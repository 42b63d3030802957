/// When something that was not answered is said again: each wait is twice the one before it.
public struct Repeater: Sendable {
    /// When it is due next; `.distantFuture` where it is not.
    public private(set) var at = Instant.distantFuture
    private var wait = Interval.zero
    /// It was said, and waits for its answer.
    public var isRunning: Bool { at < .distantFuture }

    /// Nothing was said yet.
    public init() {}

    /// It was said: it is due again after `first`, from then on after twice the last wait,
    /// `maximum` at most.
    public mutating func sent(at now: Instant, first: Interval, maximum: Interval) {
        wait = wait == .zero ? first : min(wait * 2, maximum)
        at = now + wait
    }

    /// There is something new to say: the next wait is the first again.
    public mutating func renew() { wait = .zero }

    /// It was answered, or there is nothing to say.
    public mutating func stop() { self = Repeater() }
}

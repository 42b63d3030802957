import Measures

/// When something that was not answered is said again: each wait is twice the one before it.
struct Repeater {
    /// When it is due next.
    private(set) var at = Instant.distantFuture
    private var wait = Interval.zero
    var isRunning: Bool { at < .distantFuture }

    /// It was said: it is due again after `first`, from then on after twice the last wait,
    /// `maximum` at most.
    mutating func sent(at now: Instant, first: Interval, maximum: Interval) {
        wait = wait == .zero ? first : min(wait * 2, maximum)
        at = now + wait
    }

    /// There is something new to say: the next wait is the first again.
    mutating func renew() { wait = .zero }

    /// It was answered, or there is nothing to say.
    mutating func stop() { self = Repeater() }
}

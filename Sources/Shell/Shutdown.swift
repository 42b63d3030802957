import Measures

/// The orderly end of a server: when nothing is left, when the time is up, or when somebody
/// insists.
public final class Shutdown {
    private var finish: (() -> Void)?
    private let timer: LoopTimer

    /// `finish` is called once, from the loop.
    public init(loop: EventLoop, limit: Interval, finish: @escaping () -> Void) {
        self.finish = finish
        var fire: (() -> Void)?
        timer = loop.timer { fire?() }
        fire = { [weak self] in self?.endNow() }
        timer.arm(after: limit)
    }

    /// How many connections are left.
    public func noteRemaining(_ count: Int) {
        // From the loop, not from within the handler that ended the last connection.
        if count == 0, finish != nil { timer.arm(after: .zero) }
    }

    /// Does not wait any longer; harmless when repeated.
    public func endNow() {
        let finish = self.finish
        self.finish = nil
        timer.cancel()
        finish?()
    }
}

import CLibevent
import Measures

/// A one-shot timer.
public final class LoopTimer {
    private let event: OpaquePointer
    private let action: () -> Void
    /// When it will fire; `.distantFuture` while it is not armed.
    public private(set) var deadline = Instant.distantFuture
    // Keeps the event_base alive as long as the event.
    private let loop: EventLoop

    init(loop: EventLoop, _ action: @escaping () -> Void) {
        self.loop = loop
        self.action = action
        // The event is assigned below, once `self` can be passed.
        event = unassignedEvent()
        event_assign(
            event, loop.base, -1, 0,
            { _, _, context in
                Unmanaged<LoopTimer>.fromOpaque(context!).takeUnretainedValue().fire()
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit {
        event_del(event)
        UnsafeMutableRawPointer(event).deallocate()
    }

    private func fire() {
        deadline = .distantFuture
        // The action may release the timer.
        withExtendedLifetime(self) { loop.perform(.timer, action) }
    }

    /// Fires once after `delay` (at once for one in the past), replacing what was armed.
    public func arm(after delay: Interval) { arm(at: EventLoop.monotonic() + delay) }

    /// Fires once at `instant` of the loop's clock, replacing what was armed. `.distantFuture`
    /// cancels.
    public func arm(at instant: Instant) {
        guard instant != deadline else { return }
        guard instant != .distantFuture else { cancel(); return }
        deadline = instant
        // A century at most: what is later is as good as never, and its sums stay in their type.
        let wait = min(max(0, (instant - EventLoop.monotonic()).nanoseconds), 1 << 61)
        // Rounded up to libevent's microseconds: never early.
        let microseconds = (wait + 999) / 1_000
        var tv = timeval(
            tv_sec: Int(microseconds / 1_000_000), tv_usec: Int(microseconds % 1_000_000))
        event_add(event, &tv)
    }

    /// The handler is not called any more, unless the timer is armed again.
    public func cancel() {
        deadline = .distantFuture
        event_del(event)
    }
}

import CDatagram
import Glibc

/// Notices that the machine's wall clock was set, or that it has slept: the loop's timers stood
/// still meanwhile (libevent's clock is CLOCK_MONOTONIC), and whatever waits for one of them is to
/// be looked at now.
public final class ClockWatch {
    private let watch: FileWatch
    private let changed: () -> Void

    /// Nil where the kernel has no such timer; everything then happens at the next event or timer.
    public init?(loop: EventLoop, changed: @escaping () -> Void) {
        let descriptor = braid_clock_watch()
        guard descriptor >= 0 else { return nil }
        watch = loop.watch(descriptor)
        self.changed = changed
        watch.onReadable(for: self) {
            _ = braid_clock_watch_again($0.watch.descriptor)
            $0.changed()
        }
        watch.wantsRead = true
    }

    deinit {
        let descriptor = watch.descriptor
        watch.cancel()
        close(descriptor)
    }
}

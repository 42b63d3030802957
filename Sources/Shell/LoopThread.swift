import Glibc

/// One piece of work that would hold up the loop, in a thread of its own, and what follows in the
/// loop. What both touch is the thread's until `done`.
final class LoopThread {
    private let work: () -> Void
    private let done: () -> Void
    private var watch: FileWatch?
    /// Of the pipe: what is read from, what is written to. The thread writes behind its work and
    /// the loop reads ahead of `done`, which puts one behind the other.
    private var ends: [Int32] = []

    /// `done` gets what `work` returns, once, from the loop; nil where the system has no thread, or
    /// no pipe, for it.
    convenience init?<Value>(
        loop: EventLoop, work: @escaping () -> Value, done: @escaping (Value) -> Void
    ) {
        var value: Value?
        self.init(
            loop: loop, running: { value = work() }, then: { if let value { done(value) } })
    }

    // A function of C can't be generic.
    private init?(
        loop: EventLoop, running work: @escaping () -> Void, then done: @escaping () -> Void
    ) {
        self.work = work
        self.done = done
        var made: [Int32] = [0, 0]
        guard pipe(&made) == 0 else { return nil }
        ends = made
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let watch = loop.watch(ends[0])
        watch.onReadable(for: self) { $0.finish() }
        watch.wantsRead = true
        self.watch = watch
        // Signals are the loop's.
        var all = sigset_t(), old = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, &old)
        defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        guard
            pthread_create(
                &thread, nil,
                { context in
                    guard let context else { return nil }
                    let own = Unmanaged<LoopThread>.fromOpaque(context).takeRetainedValue()
                    own.work()
                    _ = write(own.ends[1], "x", 1)
                    return nil
                }, context.toOpaque()) == 0
        else {
            context.release()
            return nil
        }
        pthread_detach(thread)
    }

    deinit {
        watch?.cancel()
        for end in ends { close(end) }
    }

    private func finish() {
        watch?.cancel()
        watch = nil
        done()
    }
}

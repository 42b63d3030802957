import Glibc

/// Long texts (a status, metrics, a list of events), made in a thread of their own while the loop
/// goes on: one at a time, in the order in which they were asked for. What they are made of is a
/// value, taken from the loop's things beforehand.
///
/// Who asks is bounded elsewhere: by the connections that the page and the control socket have.
public final class SideWork {
    /// Called in the thread.
    public typealias Text = @Sendable () -> String

    private struct Job {
        var text: Text
        var done: (String) -> Void
    }
    private let loop: EventLoop
    /// The first one is under way.
    private var jobs: [Job] = []
    private var thread: TextThread?

    /// Nothing is under way.
    public init(loop: EventLoop) { self.loop = loop }

    /// `done` is called once, from the loop; at once where the system has no thread for it.
    public func make(_ text: @escaping Text, done: @escaping (String) -> Void) {
        jobs.append(Job(text: text, done: done))
        if jobs.count == 1 { begin() }
    }

    private func begin() {
        while let job = jobs.first {
            thread = TextThread(job.text, loop: loop) { [weak self] in self?.ended($0) }
            if thread != nil { return }
            jobs.removeFirst()
            job.done(job.text())
        }
    }

    private func ended(_ text: String) {
        thread = nil
        let job = jobs.removeFirst()
        job.done(text)
        if thread == nil { begin() }
    }
}

/// One text.
private final class TextThread {
    private let text: SideWork.Text
    private let done: (String) -> Void
    private var watch: FileWatch?
    /// Of the pipe: what is read from, what is written to.
    private var ends: [Int32] = []
    // Written by the thread before it writes to the pipe, read by the loop after it read from the
    // pipe.
    private var result = ""

    init?(_ text: @escaping SideWork.Text, loop: EventLoop, done: @escaping (String) -> Void) {
        self.text = text
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
                    let own = Unmanaged<TextThread>.fromOpaque(context).takeRetainedValue()
                    own.result = own.text()
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
        done(result)
    }
}

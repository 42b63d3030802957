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
    private var thread: LoopThread?

    /// Nothing is under way.
    public init(loop: EventLoop) { self.loop = loop }

    /// `done` is called once, from the loop; at once where the system has no thread for it.
    public func make(_ text: @escaping Text, done: @escaping (String) -> Void) {
        jobs.append(Job(text: text, done: done))
        if jobs.count == 1 { begin() }
    }

    private func begin() {
        while let job = jobs.first {
            thread = LoopThread(loop: loop, work: job.text) { [weak self] in self?.ended($0) }
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

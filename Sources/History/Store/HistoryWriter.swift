import Glibc
import Synchronization

/// Writes the past of a process from a thread of its own: at most one small transaction a second,
/// so that a crash loses no more than that, and a slow or broken disk delays nobody.
///
/// Whatever fails is said once; what was to be written waits, within bounds, until it can be, which
/// is tried seldom.
public final class HistoryWriter: Sendable {
    /// Where it is written.
    public enum Place: Equatable, Sendable {
        /// Everything.
        case history(HistorySettings)
        /// The usage of days alone.
        case usageFile(String)

        /// The path of the history's file.
        public var path: String {
            switch self {
            case .history(let settings): settings.path
            case .usageFile(let path): path
            }
        }
    }

    /// What is said of it.
    public enum News: Sendable {
        /// The file can't be written or read.
        case failed(StoreError)
        /// It can be again.
        case works
    }

    /// Events that wait; of more, the oldest are lost.
    static let maximumEvents = 4_096
    /// From the beginning of one transaction to that of the next, ms.
    static let interval = Int64(1_000)
    /// What is to be written waits so long for more of the same moment: events for the usage that
    /// is counted when they come, ms.
    static let gathering = Int64(20)
    /// And so much longer for a count that does not come: nothing moves, or the loop is late, ms.
    static let patience = Int64(200)
    /// The small file is written whole each time.
    static let fileInterval = Int64(10_000)
    /// From one failure to the next try, growing, and from one warning to the next, ms.
    static let firstRetry = Int64(60_000), maximumRetry = Int64(900_000)
    static let warningInterval = Int64(3_600_000)
    /// How often is it looked whether something is too old.
    static let trimInterval = Int64(3_600_000)

    private struct Waiting {
        var batch = HistoryBatch()
        /// When the first of it came, ms of the monotonic clock.
        var since: Int64?
        /// When traffic was counted last.
        var counted = Int64(-1_000_000)
        /// When the next transaction may begin.
        var due: Int64 = 0
        var isStopping = false
        var isOver = false
        var isFailing = false
    }
    private let waiting = Mutex(Waiting())
    private let place: Place
    private let wake: Wake
    private let ended: Wake
    private let tell: @Sendable (News) -> Void

    /// Reads what there is into `ledger` and begins to write. `tell` is called by either thread.
    ///
    /// Nil where the system has no descriptor or thread for it.
    public init?(
        _ place: Place, ledger: inout UsageLedger, tell: @escaping @Sendable (News) -> Void
    ) {
        self.place = place
        self.tell = tell
        guard let wake = Wake(), let ended = Wake() else { return nil }
        self.wake = wake
        self.ended = ended
        let state = WriterState(place)
        state.restore(&ledger, failed: tell)
        waiting.withLock { $0.isFailing = state.hasFailed }
        guard start(state) else { return nil }
    }

    /// Whether the last try failed.
    public var isFailing: Bool { waiting.withLock { $0.isFailing } }

    /// Until what is to go with the next transaction must be handed over, ms; 0: now.
    var untilCount: Int64 {
        max(0, waiting.withLock(\.due) - Self.gathering - Self.monotonic())
    }

    fileprivate static func monotonic() -> Int64 {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return Int64(t.tv_sec) * 1_000 + Int64(t.tv_nsec) / 1_000_000
    }

    /// Hands over what is to be written; never waits for the disk.
    public func add(_ batch: HistoryBatch) {
        guard !batch.isEmpty else { return }
        waiting.withLock { waiting in
            waiting.batch.add(batch, maximumEvents: Self.maximumEvents)
            if waiting.since == nil { waiting.since = Self.monotonic() }
        }
        wake.signal()
    }

    /// Usage was counted and handed over just now; what waits for that goes.
    func noteCount() {
        waiting.withLock { $0.counted = Self.monotonic() }
        wake.signal()
    }

    /// Writes what is left and ends, within `milliseconds`; what takes longer is not waited for.
    public func close(within milliseconds: Int32 = 2_000) {
        waiting.withLock { $0.isStopping = true }
        wake.signal()
        ended.wait(milliseconds)
    }

    // MARK: The thread

    private final class Start {
        let writer: HistoryWriter
        let state: WriterState
        init(_ writer: HistoryWriter, _ state: WriterState) {
            self.writer = writer
            self.state = state
        }
    }

    private func start(_ state: WriterState) -> Bool {
        // Signals are the loop's.
        var all = sigset_t(), old = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, &old)
        defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Start(self, state))
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
                start.writer.run(start.state)
                return nil
            }, box.toOpaque())
        guard code == 0 else { box.release(); return false }
        pthread_detach(thread)
        return true
    }

    private func run(_ state: WriterState) {
        while true {
            let isStopping = sleep(state)
            let batch = waiting.withLock { waiting in
                defer { (waiting.batch, waiting.since) = (HistoryBatch(), nil) }
                return waiting.batch
            }
            state.write(batch, insists: isStopping, tell: tell)
            waiting.withLock { ($0.isFailing, $0.due) = (state.hasFailed, state.nextWrite) }
            if isStopping { break }
        }
        state.end()
        ended.signal()
    }

    /// Until there is something to do, and it may be done; whether this is the end.
    private func sleep(_ state: WriterState) -> Bool {
        while true {
            let (isStopping, since, counted) = waiting.withLock {
                ($0.isStopping, $0.since, $0.counted)
            }
            if isStopping { return true }
            let delay = state.delay(since: since, counted: counted)
            if delay == 0 { return false }
            // What comes while the next transaction is not due yet joins it.
            wake.wait(delay.map { Int32(clamping: $0) } ?? -1)
        }
    }

}

/// A pipe by which one thread wakes another.
private final class Wake: Sendable {
    private let reading: Int32
    private let writing: Int32

    /// Nil where there is no descriptor left.
    init?() {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        reading = ends[0]
        writing = ends[1]
    }

    deinit {
        Glibc.close(reading)
        Glibc.close(writing)
    }

    /// Harmless where it is signalled already.
    func signal() {
        var byte: UInt8 = 1
        _ = Glibc.write(writing, &byte, 1)
    }

    /// Until it is signalled, or `milliseconds` have passed; negative: without an end.
    func wait(_ milliseconds: Int32) {
        var watch = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
        _ = poll(&watch, 1, milliseconds)
        var bytes = [UInt8](repeating: 0, count: 256)
        _ = read(reading, &bytes, bytes.count)
    }
}

/// What the writer's thread knows; nobody else touches it while that runs.
private final class WriterState: @unchecked Sendable {
    private enum File {
        case closed
        case history(HistoryStore)
        case usage(UsageFile)
    }

    private let place: HistoryWriter.Place
    private var file = File.closed
    /// What a failed transaction held.
    private var unwritten = HistoryBatch()
    private(set) var hasFailed = false
    private var warnedAt: Int64?
    private var retry = HistoryWriter.firstRetry
    /// By the monotonic clock, ms.
    private(set) var nextWrite: Int64 = 0
    private var nextTrim: Int64?
    /// There was no space: what is old goes before anything is written.
    private var trimsFirst = false
    private var ages = AgeClock()
    /// Events since the last look for what is too old.
    private var events = 0
    /// After so many.
    private static let eventsBetweenTrims = 2_000
    /// Steps of one look.
    private static let maximumTrims = 100

    init(_ place: HistoryWriter.Place) { self.place = place }

    private static func monotonic() -> Int64 { HistoryWriter.monotonic() }

    private var interval: Int64 {
        switch place {
        case .history: HistoryWriter.interval
        case .usageFile: HistoryWriter.fileInterval
        }
    }

    /// Milliseconds until something is to be done; 0 now, nil not before something comes. `since`:
    /// when what waits came; `counted`: when traffic was counted last.
    func delay(since: Int64?, counted: Int64) -> Int64? {
        let now = Self.monotonic()
        if hasFailed { return unwritten.isEmpty && since == nil ? nil : max(0, nextWrite - now) }
        let write = since.map { since in
            let due = max(nextWrite, since + HistoryWriter.gathering)
            let isCounted = counted >= due - 2 * HistoryWriter.gathering
            return max(0, (isCounted ? due : due + HistoryWriter.patience) - now)
        }
        let trim = nextTrim.map { max(0, $0 - now) }
        return [write, trim].compactMap(\.self).min()
    }

    func restore(_ ledger: inout UsageLedger, failed tell: (HistoryWriter.News) -> Void) {
        do throws(StoreError) {
            try open()
            switch file {
            case .closed: break
            case .history(let store):
                try store.restore(&ledger, now: WallClock.milliseconds())
            case .usage(let file): file.restore(&ledger, now: WallClock.milliseconds())
            }
        } catch {
            fail(error, tell)
        }
    }

    private func open() throws(StoreError) {
        guard case .closed = file else { return }
        switch place {
        case .history(let settings):
            file = .history(try HistoryStore(settings, now: WallClock.milliseconds()))
            nextTrim = Self.monotonic() + 5_000
        case .usageFile(let path): file = .usage(try UsageFile(path: path))
        }
    }

    /// Writes what waits, where that is due or this is the end.
    func write(_ batch: HistoryBatch, insists: Bool, tell: (HistoryWriter.News) -> Void) {
        unwritten.add(batch, maximumEvents: HistoryWriter.maximumEvents)
        let now = Self.monotonic()
        guard insists || now >= nextWrite || nextTrim.map({ now >= $0 }) == true else { return }
        do throws(StoreError) {
            if case .history(let store) = file, store.isReplaced {
                store.abandon()
                file = .closed
            }
            try open()
            switch file {
            case .closed: break
            case .history(let store):
                try write(to: store, at: now, isLast: insists)
            case .usage(let file):
                let batch = unwritten
                // It has taken them even where the disk did not.
                unwritten = HistoryBatch()
                try file.write(batch, now: WallClock.milliseconds())
            }
            // A slow disk rests between two, too.
            nextWrite = max(now + interval, Self.monotonic() + interval / 4)
            retry = HistoryWriter.firstRetry
            if hasFailed { hasFailed = false; tell(.works) }
        } catch {
            fail(error, tell)
        }
    }

    private func write(to store: HistoryStore, at now: Int64, isLast: Bool) throws(StoreError) {
        if trimsFirst {
            for _ in 0..<Self.maximumTrims
            where try !store.trim(now: age(of: store)) { break }
            trimsFirst = false
        }
        if !unwritten.isEmpty { try store.write(unwritten) }
        events += unwritten.events.count
        unwritten = HistoryBatch()
        if events > Self.eventsBetweenTrims { nextTrim = now }
        guard let due = nextTrim, now >= due, !isLast else { return }
        let isMore = try store.trim(now: age(of: store))
        events = 0
        nextTrim = now + (isMore ? HistoryWriter.interval : HistoryWriter.trimInterval)
    }

    private func age(of store: HistoryStore) -> Int64 {
        ages.now(wall: WallClock.milliseconds(), monotonic: Self.monotonic()) {
            (try? store.latest()) ?? nil
        }
    }

    private func fail(_ error: StoreError, _ tell: (HistoryWriter.News) -> Void) {
        let now = Self.monotonic()
        // A file that was moved away or mended is opened anew. The small one holds what it has
        // taken.
        if case .history = file { file = .closed }
        trimsFirst = error == .full
        nextTrim = nil
        nextWrite = now + retry
        retry = min(retry * 2, HistoryWriter.maximumRetry)
        let isNew = !hasFailed
        hasFailed = true
        guard isNew, warnedAt.map({ now - $0 >= HistoryWriter.warningInterval }) ?? true else {
            return
        }
        warnedAt = now
        tell(.failed(error))
    }

    func end() { file = .closed }
}

import CLibevent
import Glibc
import Logging
import Measures

/// The one loop of a process, on libevent: readiness, timers, signals and the clock.
///
/// One iteration waits, runs the handlers of everything that is ready, then the hooks of
/// `afterEvents`: there the engine takes its turn, once for all sockets that were drained. Where
/// thousands are ready at once, those that were not reached in `dispatchTime` have their turn in
/// the next iterations, in order. Not thread-safe; everything in the shell runs on the thread that
/// calls `run()`.
public final class EventLoop {
    /// The event_base, for the parts of the shell that use more of libevent.
    let base: OpaquePointer
    private var signals: [SignalWatch] = []
    private var hooks: [() -> Void] = []
    private var isStopping = false
    private var wantsTurn = false
    private var isDispatching = false
    /// Handlers of the iteration that is under way have yet to run, those of sockets perhaps that
    /// others wait for: hooks that have such look at them themselves.
    private(set) var dispatchWasCut = false
    /// So long handlers run in one iteration; the last one ends whatever it takes.
    static let dispatchTime = Interval.milliseconds(5)
    /// What the turn that is under way has done so far.
    var record = TurnRecord()
    private var turns = LongestTurn()
    private var maximumTurn = Interval.seconds(1 << 30)
    private var turnIsLong: ((TurnRecord) -> Void)?

    /// Throws where the kernel gives no epoll descriptor.
    public init() throws(SystemError) {
        guard let configuration = event_config_new() else {
            throw SystemError("create an event loop", code: ENOMEM)
        }
        defer { event_config_free(configuration) }
        // Pacing needs timers finer than epoll's millisecond; the change list saves epoll_ctl calls
        // where write events come and go.
        event_config_set_flag(configuration, Int32(EVENT_BASE_FLAG_PRECISE_TIMER.rawValue))
        event_config_set_flag(configuration, Int32(EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST.rawValue))
        event_config_set_flag(configuration, Int32(EVENT_BASE_FLAG_NOLOCK.rawValue))
        guard let base = event_base_new_with_config(configuration) else {
            throw SystemError("create an event loop", code: errno)
        }
        self.base = base
        // What it warns of, its caller is told too; on standard error it may be thousands of lines
        // a second.
        event_set_log_callback { severity, text in
            guard let text else { return }
            Logger(label: "libevent").log(
                level: severity >= EVENT_LOG_ERR ? .error : .debug,
                "\(String(cString: text))")
        }
        // Writing to a closed socket is an error of that socket, never the end of the process.
        signal(SIGPIPE, SIG_IGN)
    }

    deinit {
        signals.removeAll()
        event_base_free(base)
    }

    // MARK: Time

    /// CLOCK_BOOTTIME: never set back, and goes on while the machine sleeps, as the peers' clocks
    /// do.
    public func now() -> Instant { Self.monotonic() }

    /// Nanoseconds since boot, sleep of the machine included (CLOCK_BOOTTIME).
    public static func monotonic() -> Instant {
        var t = timespec()
        clock_gettime(CLOCK_BOOTTIME, &t)
        return Instant(nanoseconds: Int64(t.tv_sec) &* 1_000_000_000 &+ Int64(t.tv_nsec))
    }

    /// Nanoseconds since 1970, UTC, as the system believes.
    public static func wallClock() -> UInt64 {
        var t = timespec()
        clock_gettime(CLOCK_REALTIME, &t)
        return UInt64(t.tv_sec) &* 1_000_000_000 &+ UInt64(t.tv_nsec)
    }

    /// Unix time in nanoseconds at `Instant.zero` of this loop's clock
    /// (`EndpointConfiguration.epoch`).
    public static func epoch() -> UInt64 { wallClock() &- UInt64(monotonic().nanoseconds) }

    // MARK: Running

    /// Runs until `stop()`.
    public func run() {
        isStopping = false
        wantsTurn = true
        while !isStopping { iterate(waiting: true) }
    }

    /// Runs until `condition` holds or `limit` has passed; whether it held. For tests and start-up.
    public func run(until limit: Interval, _ condition: () -> Bool) -> Bool {
        let end = now() + limit
        let alarm = timer {}
        alarm.arm(at: end)
        defer { alarm.cancel() }
        isStopping = false
        wantsTurn = true
        while !condition() {
            if isStopping || now() >= end { return condition() }
            iterate(waiting: true)
        }
        return true
    }

    /// Ends `run()` after the current iteration. Callable from handlers.
    public func stop() { isStopping = true; event_base_loopbreak(base) }

    /// One iteration: what is ready now (after waiting for something, unless a turn was requested),
    /// then the hooks.
    private func iterate(waiting: Bool) {
        let poll = wantsTurn || !waiting
        wantsTurn = false
        dispatchWasCut = false
        isDispatching = true
        _ = event_base_loop(
            base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (poll ? EVLOOP_NONBLOCK : 0))
        isDispatching = false
        for hook in hooks { perform(.engine, hook) }
        if record.hasBegun { turns.note(record.duration, at: record.ended) }
        if record.duration > maximumTurn { turnIsLong?(record) }
        record = TurnRecord()
    }

    /// Runs a handler and notes how long it took: one look at the clock for each, and one for the
    /// first.
    @inline(__always)
    func perform(_ part: TurnRecord.Part, _ handler: () -> Void) {
        if !record.hasBegun { record.begin(at: Self.monotonic()) }
        handler()
        record.end(part, at: Self.monotonic())
        if isDispatching, record.duration > Self.dispatchTime { cutDispatch() }
    }

    /// The handlers that have yet to run stay active: the next iteration begins with them and waits
    /// for nothing.
    private func cutDispatch() {
        dispatchWasCut = true
        event_base_loopbreak(base)
    }

    /// The longest turn of the last one to two minutes: what everybody waited for at most.
    public var longestTurn: Interval { turns.value(at: now()) }

    /// `report` is called after each turn that took longer than `limit`, of whichever parts it was
    /// made.
    public func reportTurns(longerThan limit: Interval, _ report: @escaping (TurnRecord) -> Void) {
        maximumTurn = limit
        turnIsLong = report
    }

    /// Runs `hook` after the ready events of every iteration, for as long as the loop lives.
    public func afterEvents(_ hook: @escaping () -> Void) { hooks.append(hook) }

    /// The hooks run (again) without waiting for an event: for hooks that left work over, or made
    /// work for one before them. Within an event's handler there is nothing to do: the hooks
    /// follow. They also run first thing in `run()`, for what was done before it.
    public func turnAgain() { if !isDispatching { wantsTurn = true } }

    // MARK: Sources

    /// A one-shot timer, not yet armed. Keep it; it is cancelled when it is released. Whoever keeps
    /// it uses
    /// `timer(for:_:)`.
    public func timer(_ action: @escaping () -> Void) -> LoopTimer { LoopTimer(loop: self, action) }

    /// A one-shot timer that its `owner` keeps. `owner` is held while `action` runs and not longer,
    /// so `action` must get at it by its argument alone.
    public func timer<Owner: AnyObject>(
        for owner: Owner, _ action: @escaping (Owner) -> Void
    ) -> LoopTimer {
        LoopTimer(loop: self, whileLiving(owner, action))
    }

    /// Watches a descriptor; nothing is enabled yet.
    public func watch(_ descriptor: Int32) -> FileWatch { FileWatch(loop: self, descriptor) }

    /// Runs `action` in the loop when the signal arrives, for as long as the loop lives.
    public func onSignal(_ number: Int32, _ action: @escaping () -> Void) {
        signals.append(SignalWatch(loop: self, number, action))
    }
}

/// `action` for the owner of a callback: called with it where it lives still, and it lives until
/// `action` has ended, whatever `action` lets go.
func whileLiving<Owner: AnyObject>(
    _ owner: Owner, _ action: @escaping (Owner) -> Void
) -> () -> Void {
    { [weak owner] in
        guard let owner else { return }
        withExtendedLifetime(owner) { action(owner) }
    }
}

/// Memory for an event that is assigned once its owner exists.
func unassignedEvent() -> OpaquePointer {
    OpaquePointer(
        UnsafeMutableRawPointer.allocate(byteCount: event_get_struct_event_size(), alignment: 16))
}

private final class SignalWatch {
    private let event: OpaquePointer
    private let action: () -> Void
    // Its signals end with the loop.
    private weak var loop: EventLoop?

    init(loop: EventLoop, _ number: Int32, _ action: @escaping () -> Void) {
        self.loop = loop
        self.action = action
        event = unassignedEvent()
        event_assign(
            event, loop.base, number, Int16(EV_SIGNAL | EV_PERSIST),
            { _, _, context in
                let watch = Unmanaged<SignalWatch>.fromOpaque(context!).takeUnretainedValue()
                watch.loop?.perform(.signal, watch.action)
            }, Unmanaged.passUnretained(self).toOpaque())
        event_add(event, nil)
    }

    deinit {
        event_del(event)
        UnsafeMutableRawPointer(event).deallocate()
    }
}

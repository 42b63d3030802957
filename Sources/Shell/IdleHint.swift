import CDatagram
import Glibc
import Logging
import Measures
import Tunnel

/// Whether somebody uses this machine, as systemd-logind's idle hint has it; `unknown` for ever on
/// a machine without. Nothing of it is waited for: a bus that is silent, ends or says nonsense
/// leaves the answer unknown, and is asked again later.
public final class IdleHint {
    /// At present; `unknown` where nobody has a session, where there is no logind, or it does not
    /// answer; `idle` where all who have a session are away: screens are blank or locked.
    public private(set) var state = ModeByUse.Hint.unknown

    /// Terminals have no signal for it (logind looks at them when it is asked), so it is asked this
    /// often; a connection that failed is made again after as long.
    static let interval = Interval.seconds(60)
    /// From one question to the next at least, however often the hint changes.
    private static let pause = Interval.milliseconds(500)
    /// An answer takes milliseconds.
    static let answerTimeout = Interval.seconds(20)
    /// Messages that are looked at in one turn of the loop.
    private static let messagesPerTurn: Int32 = 32

    private let loop: EventLoop
    private let log: Logger
    private let changed: (ModeByUse.Hint) -> Void
    private var bus: OpaquePointer?
    private var watch: FileWatch?
    private var timer: LoopTimer?
    /// How many answers there had been when it was asked last, and when that was.
    private var asked: (answers: UInt32, at: Instant) = (0, .zero)

    /// Begins to ask; `changed` is called in the loop, never from here.
    public init(loop: EventLoop, log: Logger, changed: @escaping (ModeByUse.Hint) -> Void) {
        self.loop = loop
        self.log = log
        self.changed = changed
        timer = loop.timer(for: self) { $0.timePasses() }
        // Where no logind ever ran there is nothing to load a library for.
        guard access(Self.marker, F_OK) == 0 else { return }
        timer?.arm(after: .zero)
    }

    /// What logind makes when it starts.
    static let marker = "/run/systemd/seats"

    deinit { disconnect() }

    private func timePasses() {
        guard let bus else { return connect() }
        let due = braid_idle_has_changed(bus) != 0 ? Self.pause : Self.interval
        if loop.now() - asked.at >= due {
            asked = (braid_idle_answers(bus), loop.now())
            braid_idle_ask(bus)
        }
        process()
    }

    private func connect() {
        var why: Int32 = 0
        guard let made = braid_idle_open(&why) else {
            log.debug(
                "no idle hint of logind's",
                metadata: ["why": "\(SystemError.text(-why))"])
            // A library does not come while the program runs.
            if why != -ENOSYS { timer?.arm(after: Self.interval) }
            return
        }
        bus = made
        asked = (0, loop.now())
        let watch = loop.watch(braid_idle_descriptor(made))
        watch.onReadable(for: self) { $0.process() }
        watch.onWritable(for: self) { $0.process() }
        self.watch = watch
        process()
    }

    /// Does what is due at the bus, and sees to it that this is called when something is again.
    private func process() {
        guard let bus else { return }
        let left = braid_idle_process(bus, Self.messagesPerTurn)
        let isLate =
            braid_idle_answers(bus) == asked.answers && loop.now() - asked.at >= Self.answerTimeout
        guard left >= 0, !isLate else {
            log.debug(
                "logind's idle hint is lost",
                metadata: ["why": "\(isLate ? "no answer" : SystemError.text(-left))"])
            disconnect()
            timer?.arm(after: Self.interval)
            note(.unknown)
            return
        }
        watch?.wantsRead = true
        watch?.wantsWrite = braid_idle_wants_write(bus) != 0
        let hasAnswer = braid_idle_answers(bus) != asked.answers
        let wait = Interval(nanoseconds: left > 0 ? 0 : braid_idle_timeout(bus))
        let again =
            braid_idle_has_changed(bus) != 0
            ? Self.pause : hasAnswer ? Self.interval : Self.answerTimeout
        timer?.arm(at: min(asked.at + again, loop.now() + min(wait, Self.interval)))
        if hasAnswer { note(ModeByUse.Hint(braid_idle_answer(bus))) }
    }

    private func note(_ next: ModeByUse.Hint) {
        guard next != state else { return }
        state = next
        changed(next)
    }

    private func disconnect() {
        watch?.cancel()
        watch = nil
        if let bus { braid_idle_close(bus) }
        bus = nil
    }
}

extension ModeByUse.Hint {
    /// As logind has it.
    fileprivate init(_ state: braid_idle_state) {
        switch state {
        case BRAID_IDLE_NO: self = .inUse
        case BRAID_IDLE_YES: self = .idle
        default: self = .unknown
        }
    }
}

import Logging
import Measures

/// Tells the service manager that the loop goes round, and the log when one turn of it took too
/// long.
public final class Watchdog {
    /// A turn that takes longer delays every user's packets more than any path's jitter does.
    public static let maximumTurn = Interval.milliseconds(100)

    private let loop: EventLoop
    private let log: Logger
    private var notices = NoticeLimit(1, in: .seconds(10))
    private var timer: LoopTimer?
    /// Whether the service manager is told: it is not to hear of this process where another one
    /// serves.
    public var isFed = true {
        didSet { if isFed, !oldValue { timer?.arm(after: .zero) } }
    }

    /// - Parameter interval: the service manager ends a process that says nothing for that long
    ///   (`ServiceManager.watchdogInterval`); nil: nobody waits for it.
    /// - Parameter tell: called twice in each interval.
    public init(
        loop: EventLoop, interval: Interval?, log: Logger = Logger(label: "loop"),
        maximumTurn: Interval = Watchdog.maximumTurn,
        tell: @escaping () -> Void = ServiceManager.alive
    ) {
        self.loop = loop
        self.log = log
        loop.reportTurns(longerThan: maximumTurn) { [weak self] in self?.slow($0) }
        guard let interval else { return }
        timer = loop.timer(for: self) { watchdog in
            guard watchdog.isFed else { return }
            tell()
            watchdog.timer?.arm(after: interval / 2)
        }
        timer?.arm(after: .zero)
    }

    private func slow(_ turn: TurnRecord) {
        guard let silent = notices.pass(at: loop.now()) else { return }
        var metadata: Logger.Metadata = [
            "ms": "\(turn.duration.nanoseconds / 1_000_000)",
            "longest_part": "\(turn.longest.part.rawValue)",
            "longest_ms": "\(turn.longest.time.nanoseconds / 1_000_000)",
            "sockets": "\(turn.sockets)",
            "timers": "\(turn.timers)", "datagrams": "\(turn.datagrams)",
            "handshakes": "\(turn.handshakes)",
            "datagrams_sent": "\(turn.datagramsSent)"
        ]
        if silent > 0 { metadata["not_logged_before"] = "\(silent)" }
        log.warning("a turn of the loop took long", metadata: metadata)
    }
}

import CDatagram
import Measures

/// Notices that a connection has died (a reset, no answer to keep-alives) while nobody wants to
/// read from it or write to it: readiness does not tell then, and it would be held for as long as
/// its other side stands still.
///
/// It asks now and then, and only while it is needed: an idle connection that is read from wakes
/// nobody.
public final class DeathWatch {
    /// How long a dead connection may go unnoticed, beside the two minutes until the first
    /// keep-alive.
    public static let interval = Interval.seconds(10)

    private let interval: Interval
    private let descriptor: Int32
    private let loop: EventLoop
    private var timer: LoopTimer?
    private var isArmed = false
    private var died: ((Int32) -> Void)?

    /// Its owner cancels it before it closes the descriptor.
    init(_ descriptor: Int32, loop: EventLoop, every interval: Interval = DeathWatch.interval) {
        self.descriptor = descriptor
        self.loop = loop
        self.interval = interval
    }

    /// Nobody waits for the socket's readiness now.
    public var isNeeded = false {
        didSet {
            guard isNeeded, !isArmed else { return }
            isArmed = true
            let timer = timer ?? loop.timer(for: self) { $0.look() }
            timer.arm(after: interval)
            self.timer = timer
        }
    }

    /// Calls `action` with the error (errno) once, for as long as `owner` lives.
    public func onDeath<Owner: AnyObject>(
        for owner: Owner, _ action: @escaping (Owner, Int32) -> Void
    ) {
        died = { [weak owner] code in
            guard let owner else { return }
            withExtendedLifetime(owner) { action(owner, code) }
        }
    }

    func cancel() {
        isNeeded = false
        died = nil
        timer = nil
    }

    private func look() {
        isArmed = false
        guard isNeeded, let died else { return }
        let code = braid_socket_error(descriptor)
        guard code != 0 else { isNeeded = true; return }
        isNeeded = false
        died(code)
    }
}

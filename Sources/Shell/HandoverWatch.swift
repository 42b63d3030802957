import Measures
import Multipath
import Tunnel

/// Asks the engine what became of the handovers from paths that were lost, until that is settled.
public final class HandoverWatch {
    private struct Watched {
        var session: SessionSlot, path: PathID
        var told: (Handover) -> Void
    }
    private static let interval = Interval.milliseconds(250)
    /// At once; of more the oldest is not asked for any further.
    private static let maximum = 256
    private let driver: EngineDriver
    private var watched: [Watched] = []
    private var timer: LoopTimer?

    /// Of `driver`'s engine.
    public init(_ driver: EngineDriver) {
        self.driver = driver
        timer = driver.loop.timer(for: self) { $0.look() }
    }

    /// `told` is called when the handover from this path is settled, and before that while no other
    /// path is left. Nothing where none is measured.
    public func watch(
        session: SessionSlot, path: PathID, _ told: @escaping (Handover) -> Void
    ) {
        watched.removeAll { $0.session == session && $0.path == path }
        if watched.count >= Self.maximum { watched.removeFirst() }
        watched.append(Watched(session: session, path: path, told: told))
        if watched.count == 1 { timer?.arm(after: Self.interval) }
    }

    private func look() {
        let now = driver.now
        var left: [Watched] = []
        for one in watched {
            guard
                let handover = driver.endpoint.handover(
                    session: one.session, path: one.path, at: now)
            else { continue }
            if !handover.isComplete { left.append(one) }
            if handover.isComplete || handover.others.isEmpty { one.told(handover) }
        }
        watched = left
        if !watched.isEmpty { timer?.arm(after: Self.interval) }
    }
}

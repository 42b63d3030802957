import Measures
import Multipath

/// The scenario's faults in the world of segments as they come due, and who learns of them when.
extension SegmentWorld {
    func applyFaults() {
        while nextFault < scenario.faults.count, scenario.faults[nextFault].at <= now {
            apply(scenario.faults[nextFault])
            nextFault += 1
        }
        var i = 0
        while i < notices.count {
            guard notices[i].at <= now else { i += 1; continue }
            let notice = notices.remove(at: i)
            switch notice.what {
            case .health(let health, let path, let atInitiator):
                if lanes[path].isDown, health != .lost { continue }  // overtaken by a removal
                // The script has no address IDs that would tell a returned address from the lost
                // one.
                if health == .lost, !atInitiator, !lanes[path].isDown { continue }
                let isOut =
                    lanes[path].up.conditions.outage != .none
                    || lanes[path].down.conditions.outage != .none
                // over before anybody noticed
                if health == .suspect, !isOut { continue }
                noted?(
                    now, "path \(path) \(health) at the \(atInitiator ? "initiator" : "listener")")
                (atInitiator ? initiator : listener).setHealth(health, path: PathID(path), at: now)
            }
        }
    }

    /// How long the other side takes to hear of an address signal, or a path monitor to see
    /// silence.
    private func signalDelay(avoiding path: Int) -> Interval {
        lanes.indices.filter { $0 != path && !lanes[$0].isDown }.map {
            lanes[$0].up.conditions.delay
        }.min()
            ?? .milliseconds(500)
    }

    private func apply(_ fault: Fault) {
        let path = fault.uplink
        noted?(now, "uplink \(path): \(fault.change)")
        let up = lanes[path].up, down = lanes[path].down
        switch fault.change {
        case .removed, .detached:
            // Until the keys are known only a session can move the first subflow to another path.
            guard listener.remoteKey != nil else { return }
            lanes[path].isDown = true
            if case .removed = fault.change { up.clear(at: now) }
            down.clear(at: now)
            notices.append((now, .health(.lost, path: path, atInitiator: true)))
            lanes[path].listenerHears = max(
                lanes[path].listenerHears, now + signalDelay(avoiding: path))
            notices.append(
                (lanes[path].listenerHears, .health(.lost, path: path, atInitiator: false)))
        case .returned:
            guard lanes[path].isDown else { return }
            lanes[path].isDown = false
            lanes[path].joinsFrom = now
            notices.append((now, .health(.usable, path: path, atInitiator: true)))
            lanes[path].listenerHears = max(lanes[path].listenerHears, now + up.conditions.delay)
            notices.append(
                (lanes[path].listenerHears, .health(.usable, path: path, atInitiator: false)))
        case .outage(let outage, let direction):
            if direction != .down {
                up.change(to: up.conditions.with { $0.outage = outage }, at: now)
            }
            if direction != .up {
                down.change(to: down.conditions.with { $0.outage = outage }, at: now)
            }
            guard !lanes[path].isDown else { return }
            // Half of the outages nobody notices but the subflows' own timers.
            guard (fault.at.nanoseconds / 1000) % 2 == 0 || outage == .none else { return }
            let delay =
                (up.conditions.delay + down.conditions.delay) * 2
                + .milliseconds(outage == .none ? 0 : 100)
            let health: PathHealth = outage == .none ? .usable : .suspect
            notices.append((now + delay, .health(health, path: path, atInitiator: true)))
            notices.append((now + delay, .health(health, path: path, atInitiator: false)))
        case .conditions(let newUp, let newDown):
            up.change(
                to: newUp.with {
                    $0.corruption = 0; $0.mtu = nil; $0.outage = up.conditions.outage
                }, at: now)
            down.change(
                to: newDown.with {
                    $0.corruption = 0; $0.mtu = nil; $0.outage = down.conditions.outage
                }, at: now)
        case .rebind, .roam, .renumbered, .smallLoss, .announced, .mtu,
            .firstAddress, .use, .closing:
            // Nothing here knows addresses, nor probes the length of datagrams, nor has a shell.
            break
        case .mode(let mode):
            initiator.mode = mode
            listener.mode = mode
        }
    }
}

import Buffers
import Measures
import Tunnel

/// What goes wrong in a world: strangers' datagrams, and the scenario's faults as they come due.
extension World {
    // MARK: Strangers

    /// Garbage, and headers that look right, to both ends from addresses that nobody has.
    func disturb() {
        nextStranger = now + Interval(nanoseconds: Int64(random.next() % 50_000_000))
        // 192.0.2.0/24
        let stranger = SocketAddress(
            IPAddress(v4: 0xc000_0200 + UInt32(random.next() % 250)),
            port: 9)
        let count = Int(random.next() % 1400) + 1
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { bytes.deallocate() }
        for i in 0..<count { bytes[i] = UInt8(truncatingIfNeeded: random.next()) }
        bytes[0] = [0x10, 0x20, 0x40, bytes[0]][Int(random.next() % 4)]
        if random.chance(0.5) {
            concentrator.receive(
                bytes, from: stranger, local: Self.concentratorAddress.address,
                uplink: 0, at: now)
        } else {
            proxy.receive(
                bytes, from: stranger, local: IPAddress(v4: 0x0a00_0002), uplink: 0, at: now)
        }
    }

    // MARK: Faults

    func applyFaults() {
        while nextFault < scenario.faults.count, scenario.faults[nextFault].at <= now {
            apply(scenario.faults[nextFault])
            rates.disturbed()
            queues.disturbed()
            nextFault += 1
        }
    }

    private func apply(_ fault: Fault) {
        let i = fault.uplink
        noted?(now, "uplink \(i): \(fault.change)")
        switch fault.change {
        case .removed, .detached:
            lanes[i].isDown = true
            if case .detached = fault.change {
                for link in lanes[i].downs { link.clear(at: now) }
            } else {
                clear(i)
            }
            proxy.removeUplink(UplinkNumber(i), at: now)
        case .closing:
            lanes[i].isDown = true
            for link in lanes[i].downs { link.clear(at: now) }
        case .returned:
            lanes[i].isDown = false
            lanes[i].publicAddress.port += 1  // a new socket
            proxy.addUplink(Self.uplink(i, scenario.uplinks[i]), at: now)
        case .outage(let outage, let direction):
            change(i, direction) { $0.outage = outage }
        case .conditions(let up, let down):
            replaceConditions(of: lanes[i].ups[0], by: up)
            replaceConditions(of: lanes[i].downs[0], by: down)
        case .mtu(let mtu, let direction):
            change(i, direction) { $0.mtu = mtu }
        case .roam:
            moveAddress(i)
        case .renumbered:
            renumber(i)
        case .smallLoss(let share, let direction):
            if direction != .down { lanes[i].smallLossUp = share }
            if direction != .up { lanes[i].smallLossDown = share }
        case .announced(let isThere):
            if options.second != nil {
                concentrator.setAnnounced(isThere ? [Self.secondAddress] : [], at: now)
            }
        case .firstAddress(let isThere):
            let outage = isThere ? LinkConditions.Outage.none : .blackHole
            for link in lanes.compactMap(\.ups.first) + lanes.compactMap(\.downs.first) {
                link.change(to: link.conditions.with { $0.outage = outage }, at: now)
            }
        case .rebind:
            lanes[i].publicAddress.port += 1
        case .mode(let mode):
            self.mode = mode
            proxy.setMode(mode, at: now)
        case .use(let hint):
            proxy.followUse(hint: hint, at: now)
        }
    }

    private func renumber(_ i: Int) {
        guard !lanes[i].isDown else { return }
        clear(i)
        moveAddress(i)
        // As the shell does: the old socket goes, the new one comes, in one turn.
        proxy.removeUplink(UplinkNumber(i), at: now)
        proxy.addUplink(Self.uplink(i, scenario.uplinks[i]), at: now)
    }

    /// But for an outage and the MTU, which are faults of their own.
    private func replaceConditions(of link: VirtualLink, by new: LinkConditions) {
        link.change(
            to: new.with {
                $0.outage = link.conditions.outage; $0.mtu = link.conditions.mtu
            }, at: now)
    }

    private func clear(_ i: Int) {
        for link in lanes[i].ups + lanes[i].downs { link.clear(at: now) }
    }

    /// Changes the links of an uplink to all addresses; one that never carries anything stays so.
    private func change(
        _ i: Int, _ direction: Fault.Direction, _ change: (inout LinkConditions) -> Void
    ) {
        for (n, link) in lanes[i].ups.enumerated()
        where direction != .down && (n == 0 || options.second?.outage != .blackHole) {
            link.change(to: link.conditions.with(change), at: now)
        }
        for (n, link) in lanes[i].downs.enumerated()
        where direction != .up && (n == 0 || options.second?.outage != .blackHole) {
            link.change(to: link.conditions.with(change), at: now)
        }
    }

    /// The concentrator sees the uplink at another address from now on: 198.51.100.0/24, a
    /// sixteenth each.
    private func moveAddress(_ i: Int) {
        formerAddresses.append(lanes[i].publicAddress.address)
        let next = (lanes[i].publicAddress.address.v4 & 0xf0) + 0x10 & 0xf0
        lanes[i].publicAddress = SocketAddress(
            IPAddress(v4: 0xc633_6401 + UInt32(i) + next),
            port: lanes[i].publicAddress.port + 1)
    }
}

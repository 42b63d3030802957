import Measures
import Multipath
import Wire

/// A datagram's way in: whose it is, whether it is a copy, whole, in order.
extension DatagramFlows {
    /// A datagram's frame came in record `packet` of a path. `deliver` gets what can be handed over
    /// now, valid during the call, and must not call back.
    func receive(
        _ frame: DatagramFrame, path: PathID, packet: UInt64, at now: Instant,
        deliver: (_ owner: StreamSlot, Target, UnsafeRawBufferPointer) -> Void
    ) {
        carriers[path.number].arrivals.note(frame.size, number: packet, at: now)
        guard let slot = place(frame, at: now), let flow = flows[slot] else { return }
        let association = flow.association
        flow.traffic.receive(frame.payload.count, path: path)
        if !association.allowed.isAll {
            association.allowed.noteArrival(
                by: path, incarnation: carriers[path.number].incarnation)
        }
        guard flow.received.isFresh(frame.sequence) else {
            counters.copiesReceived += 1
            return
        }
        flow.lastUsed = now
        let last = flow.deliveries.note(at: now)
        if handovers.isMeasuring {
            handovers.notePause(from: last, to: now, lostPaths: flow.lostPaths)
        }
        let target = flow.opening.target
        func hand(_ payload: UnsafeRawBufferPointer) {
            counters.received += 1
            flow.traffic.receive(payload.count)
            deliver(association.owner, target, payload)
        }
        if let piece = frame.piece {
            let whole = flow.assembly.receive(
                frame.payload, piece, sequence: frame.sequence, store, at: now)
            guard let whole, flow.received.accept(frame.sequence) else {
                arm(flow, slot)
                return
            }
            whole.withUnsafeBytes {
                flow.order.receive(
                    $0, sequence: frame.sequence, isOrdered: frame.isOrdered, store, at: now,
                    deliver: hand)
            }
        } else {
            guard frame.payload.count <= DatagramLimits.payload else {
                counters.tooLong += 1
                return
            }
            _ = flow.received.accept(frame.sequence)
            flow.order.receive(
                frame.payload, sequence: frame.sequence, isOrdered: frame.isOrdered, store,
                at: now, deliver: hand)
        }
        arm(flow, slot)
    }

    private func arm(_ flow: DatagramFlow, _ slot: Int) {
        let due = min(flow.order.deadline, flow.assembly.deadline)
        if due < .distantFuture { timers.set(slot, min(due, flow.deadline)) }
    }

    /// The slot of the flow a frame belongs to; nil where there is none, which is said.
    private func place(_ frame: DatagramFrame, at now: Instant) -> Int? {
        let isOurs = numbers.isOurs(frame.flow)
        guard let opening = frame.opening else {
            if let slot = flow(number: frame.flow) { return slot }
            counters.unknown += 1
            queueStatement(.unknown, frame.flow)
            return nil
        }
        // Only who opened a flow says what it is.
        guard !isOurs, let association = associations[opening.association] else {
            counters.unknown += 1
            if !isOurs { queueStatement(.unknown, frame.flow) }
            return nil
        }
        if let slot = byNumber[frame.flow] {
            if let flow = flows[slot], flow.opening == opening, flow.association === association {
                queueStatement(.acknowledged, frame.flow)
                return slot
            }
            forget(slot, at: now)
        }
        guard !closedByPeer.contains(frame.flow, at: now) else {
            counters.unknown += 1
            return nil
        }
        guard let slot = makeFlow(opening, in: association, number: frame.flow, at: now) else {
            counters.refusedFlows += 1
            return nil
        }
        queueStatement(.acknowledged, frame.flow)
        return slot
    }

    /// The other side's flow ends without a word to it.
    private func forget(_ slot: Int, at now: Instant) {
        let before = statements.count
        end(slot, at: now)
        if statements.count > before { statements.removeLast() }
    }

    /// The other side said something of a flow.
    func receive(_ frame: FlowFrame, at now: Instant) {
        let slot = flow(number: frame.flow), known = slot.flatMap { flows[$0] }
        switch frame.statement {
        case .acknowledged:
            if known?.isOurs == true { known?.carriesOpening = false }
        case .closed:
            if let slot, let known {
                if known.isOurs {
                    end(slot, at: now)
                } else {
                    forget(slot, at: now)
                }
            }
            if !numbers.isOurs(frame.flow) { closedByPeer.add(frame.flow, at: now) }
            queueStatement(.unknown, frame.flow)
        case .unknown:
            if let slot, let known {
                if known.isOurs { known.carriesOpening = true } else { forget(slot, at: now) }
            } else {
                numbers.confirm(frame.flow, at: now)
            }
        }
    }

    /// The other side tells what came on a path.
    func receive(_ frame: DatagramReportFrame, path: PathID, at now: Instant) {
        carriers[path.number].window.noteReport(frame, at: now)
        if !turns.isEmpty { retryAt = now }
    }
}

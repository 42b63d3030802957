import Measures
import Multipath
import Wire

/// A datagram's way out: its flow, its turn, its paths, its pieces.
extension DatagramFlows {
    /// Why a datagram is not sent; it is counted.
    enum Refusal: Error { case noAssociation, tooLong, tooManyFlows, tooMuchWaiting }

    /// Takes a datagram for `target`.
    func send(
        _ payload: UnsafeRawBufferPointer, association: UInt16, to target: Target, at now: Instant
    ) throws(Refusal) {
        guard let sender = associations[association] else { throw .noAssociation }
        guard payload.count <= DatagramLimits.payload else {
            counters.tooLong += 1
            throw .tooLong
        }
        let opening = DatagramFrame.Opening(association: association, target: target)
        guard let slot = flow(opening) ?? makeFlow(opening, in: sender, number: nil, at: now),
            let flow = flows[slot]
        else {
            counters.refusedFlows += 1
            throw .tooManyFlows
        }
        flow.lastUsed = now
        flow.meter.note(payload.count, at: now)
        if flow.queue.count >= DatagramLimits.queued { dropFirst(of: flow) }
        var copy = store.copy(payload)
        while copy == nil, !flow.queue.isEmpty || crowdOut(at: now) {
            if !flow.queue.isEmpty { dropFirst(of: flow) }
            copy = store.copy(payload)
        }
        guard let copy else {
            counters.crowdedOut += 1
            throw .tooMuchWaiting
        }
        flow.queue.append(WaitingDatagram(slot: copy, since: now))
        turns.add(flow, slot, flows)
        retryAt = min(retryAt, now)
    }

    private func dropFirst(of flow: DatagramFlow) {
        guard let item = flow.queue.popFirst() else { return }
        store.free(item.slot)
        counters.crowdedOut += 1
    }

    /// Of the flows with the longest queues half of each goes (as in RFC 8290 section 4.1.3), as
    /// many at once as are worth looking through all flows; false where none has one. Where that
    /// brought little, not again at the same instant.
    private func crowdOut(at now: Instant) -> Bool {
        if recent.dropFirst(store) { return true }
        guard crowdedAt != now else { return false }
        var longest = 0
        for case let flow? in flows { longest = max(longest, flow.queue.count) }
        var left = DatagramLimits.crowdedOutAtOnce
        for i in flows.indices where longest > 0 && left > 0 {
            let slot = (i + evictionCursor) % flows.count
            guard let flow = flows[slot], flow.queue.count > longest / 2 else { continue }
            let n = min(left, (flow.queue.count + 1) / 2)
            for _ in 0..<n { dropFirst(of: flow) }
            left -= n
        }
        if left > 0 { crowdedAt = now }
        return left < DatagramLimits.crowdedOutAtOnce
    }

    // MARK: A turn

    /// Sends what waits, as far as `paths` have space; `carry` writes a frame into the next
    /// datagram of one of them and says whether it could. What nobody could send in time is
    /// dropped.
    func fill(
        _ paths: inout [DatagramPath], mode: HandoverMode, at now: Instant,
        carry: (_ path: PathID, DatagramFrame) -> Bool
    ) {
        retryAt = .distantFuture
        if recent.isRepeatDue { repeatRecent(paths, at: now) }
        var left = DatagramLimits.perTurn, blocked = 0
        while left > 0, let slot = turns.next(flows), let flow = flows[slot] {
            guard let item = flow.queue.first else { continue }
            if now - item.since > DatagramLimits.queueAge {
                drop(item, of: flow)
                counters.late += 1
                continue
            }
            left -= 1
            let association = flow.association
            let effective = association.policy.effective(for: flow.meter.kind, mode)
            let choice = effective.choose(
                paths, only: association.allowed, besides: item.former?.path)
            if choice == 0, item.former != nil {
                // No path that it may take has space: a late copy waits for none.
                drop(item, of: flow)
                continue
            }
            if choice == 0, !association.allowed.isAll {
                // Its paths have no space; those of flows behind it may have some.
                flow.credit = 0
                blocked += 1
                if blocked > DatagramLimits.blockedTurns { break }
                continue
            }
            guard choice != 0 else {
                retryAt = now + DatagramLimits.blockedWait
                dropLate(at: now)
                return
            }
            flow.queue.popFirst()
            let sequence = item.former?.sequence ?? flow.takeSequence()
            let isOrdered = effective == .spread && paths.count > 1 && item.former == nil
            let carried = emit(
                store.bytes(item.slot), flow, sequence, isOrdered, choice, &paths, carry)
            if case .one(let path) = carried, effective != .spread, flow.meter.kind != .bulk,
                item.former == nil
            {
                remember(item, of: flow, slot, sequence: sequence, on: path, at: now)
            } else {
                store.free(item.slot)
            }
            if case .none = carried {
                retryAt = now
                return
            }
        }
        if blocked > 0 { dropLate(at: now) }
        if !turns.isEmpty { retryAt = blocked > 0 ? now + DatagramLimits.blockedWait : now }
    }

    /// The first of a flow's datagrams is not sent any more.
    private func drop(_ item: WaitingDatagram, of flow: DatagramFlow) {
        flow.queue.popFirst()
        store.free(item.slot)
    }

    /// It went over one path alone: it may have to go over another, where that one ends.
    private func remember(
        _ item: WaitingDatagram, of flow: DatagramFlow, _ slot: Int, sequence: UInt32,
        on path: PathID, at now: Instant
    ) {
        recent.add(
            RecentDatagrams.Item(
                slot: item.slot, flow: slot, number: flow.number, sequence: sequence,
                path: path, record: carriers[path.number].window.newestSent, sentAt: now),
            store, at: now)
    }

    /// What went over a path that has ended, or is uncertain, and is not known to have arrived
    /// waits for another one: for a backup path only where the first is given up.
    private func repeatRecent(_ paths: [DatagramPath], at now: Instant) {
        recent.isRepeatDue = false
        var isLeft = false
        let due = recent.take(store, at: now) { item in
            let former = paths.first { $0.id == item.path }
            if let former, former.isUsable, !former.isUncertain { return false }
            let isGivenUp = former?.isUsable != true
            let hasOther = paths.contains {
                $0.id != item.path && $0.isUsable && (isGivenUp || !$0.isBackup)
            }
            if !hasOther { isLeft = true }
            return hasOther
        }
        // With no path to go by yet, the next turn looks again.
        recent.isRepeatDue = isLeft
        for item in due {
            guard let flow = flows[item.flow], flow.number == item.number,
                flow.association.isOpen,
                item.record > carriers[item.path.number].window.newestReported
            else { store.free(item.slot); continue }
            flow.queue.append(
                WaitingDatagram(
                    slot: item.slot, since: item.sentAt,
                    former: .init(sequence: item.sequence, path: item.path)))
            turns.add(flow, item.flow, flows)
        }
    }

    /// What has waited too long in any flow.
    private func dropLate(at now: Instant) {
        for case let flow? in flows {
            while let item = flow.queue.first, now - item.since > DatagramLimits.queueAge {
                drop(item, of: flow)
                counters.late += 1
            }
        }
    }

    /// The paths that took a datagram.
    private enum Carried { case none, one(path: PathID), several }

    /// Writes one datagram on the chosen paths.
    private func emit(
        _ payload: UnsafeRawBufferPointer, _ flow: DatagramFlow, _ sequence: UInt32,
        _ isOrdered: Bool, _ choice: UInt32, _ paths: inout [DatagramPath],
        _ carry: (PathID, DatagramFrame) -> Bool
    ) -> Carried {
        var frame = DatagramFrame(
            flow: flow.number, sequence: sequence, isOrdered: isOrdered,
            opening: flow.carriesOpening ? flow.opening : nil, payload: payload)
        flow.credit -= frame.size
        var limit = Int.max
        for i in paths.indices where choice & 1 << UInt32(i) != 0 {
            limit = min(limit, paths[i].limit)
        }
        let pieces = Self.pieces(of: frame, limit: limit)
        guard pieces.count <= DatagramFrame.maximumPieces else {
            counters.tooLong += 1
            return .several
        }
        var carried = 0, last: PathID = 0
        for i in paths.indices where choice & 1 << UInt32(i) != 0 {
            var isWhole = true
            for (k, range) in pieces.enumerated() where isWhole {
                frame.payload = UnsafeRawBufferPointer(rebasing: payload[range])
                frame.piece =
                    pieces.count == 1
                    ? nil
                    : DatagramFrame.Piece(index: UInt8(k), last: UInt8(pieces.count - 1))
                isWhole = carry(paths[i].id, frame)
                if isWhole { paths[i].take(frame.size) }
            }
            if isWhole {
                carried += 1
                last = paths[i].id
                flow.traffic.send(payload.count, path: paths[i].id)
            }
        }
        flow.lastSentOn = choice
        guard carried > 0 else {
            counters.crowdedOut += 1
            return .none
        }
        flow.traffic.send(payload.count)
        counters.sent += 1
        counters.copiesSent += carried - 1
        return carried == 1 ? .one(path: last) : .several
    }

    /// How a frame's payload is cut so that each piece fits `limit`: into equal parts.
    static func pieces(of frame: DatagramFrame, limit: Int) -> [Range<Int>] {
        let count = frame.payload.count
        guard frame.size > limit else { return [0..<count] }
        let room = max(
            1, limit - DatagramFrame.maximumHead - 1 - DatagramFrame.size(of: frame.opening))
        let n = (count + room - 1) / room
        let size = (count + n - 1) / max(n, 1)
        return stride(from: 0, to: count, by: max(size, 1)).map { $0..<min($0 + size, count) }
    }

    // MARK: Small frames

    /// How many words about flows fit into `room` bytes and cost their reader `work` at most, and
    /// what they cost.
    func statements(room: Int, work: Int) -> (count: Int, work: Int) {
        var count = 0, sum = 0
        for statement in statements.prefix(max(0, room / FlowFrame.size)) {
            let more = ArrivalWork.sent(statement)
            if sum + more > work { break }
            sum += more
            count += 1
        }
        return (count, sum)
    }

    /// Writes the first `n` words about flows.
    func writeStatements(_ n: Int, into out: UnsafeMutableRawPointer) {
        for i in 0..<n { statements[i].write(into: out + i * FlowFrame.size) }
        statements.removeFirst(n)
    }

    /// Closings that are to be said (again) join the words that wait.
    func repeatClosings(wait: Interval, at now: Instant) {
        guard numbers.deadline <= now else { return }
        let room = DatagramLimits.statements / 2 - statements.count
        var said: [UInt16] = []
        // More would be beyond what the other side reads of a datagram.
        let maximum = min(max(0, room), ArrivalWork.maximumFlowEnds)
        numbers.announceClosings(maximum: maximum, wait: wait, at: now) { said.append($0) }
        for number in said { queueStatement(.closed, number) }
    }
}

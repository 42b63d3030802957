import Buffers
import Measures
import Multipath
import Wire

/// What a session's datagrams came to.
public struct DatagramCounters: Sendable, Equatable {
    /// Datagrams that left at least once, and those that were handed over.
    public var sent = 0, received = 0
    /// Copies beyond the first that were sent, and that came.
    public var copiesSent = 0, copiesReceived = 0
    /// Waited too long; too many waited; longer than may be, or than the path takes.
    public var late = 0, crowdedOut = 0, tooLong = 0
    /// Of no flow, or of no association; too many flows; pieces whose datagram never was whole.
    public var unknown = 0, refusedFlows = 0, incomplete = 0
    public init() {}
}

/// The associations and flows of one session: numbers, queues, copies, order.
///
/// Pure of sessions and paths: its owner hands in what it needs to know of them, asks `deadline`
/// and lets it fill datagrams (`DatagramFlows+Send`); what arrives it hands to `deliver`.
final class DatagramFlows {
    let isInitiator: Bool
    let store: DatagramStore
    /// Of the user's flows, over all sessions; nil: nobody counts.
    private let share: SharedLimit?
    /// The session's.
    let handovers: HandoverMeter
    /// Looked up, never iterated.
    var associations: [UInt16: DatagramAssociation] = [:]
    /// Those that have ended, and whose flows have not yet; the first to end first.
    private var ending = FIFO<DatagramAssociation>()
    /// Flows that `share` counts: all but those of associations that have ended.
    private var shared = 0
    /// When the next of their flows end.
    private var endingAt = Instant.distantFuture
    var flows: [DatagramFlow?] = []
    var freeFlows: [Int] = []
    private(set) var byNumber = DividedDictionary<UInt16, Int>()
    private(set) var byOpening = DividedDictionary<DatagramFrame.Opening, Int>()
    var numbers: FlowNumbers
    var closedByPeer = ClosedNumbers()
    var turns = FlowTurns()
    var timers = DeadlineHeap()
    var carriers = [DatagramCarrier](repeating: DatagramCarrier(), count: Limits.paths)
    /// Words about flows that wait for a datagram.
    var statements: [FlowFrame] = []
    var recent = RecentDatagrams()
    var counters = DatagramCounters()
    /// When looking for somebody to crowd out last brought little.
    var crowdedAt = Instant.distantFuture
    /// Nothing was sent since no path had space: when it is tried again.
    var retryAt = Instant.distantFuture

    /// `share`: of how many flows there may be besides the session's own limit; `memory`: of what
    /// waits.
    init(
        isInitiator: Bool, share: SharedLimit? = nil, memory: MemoryShare? = nil,
        handovers: HandoverMeter = HandoverMeter()
    ) {
        self.isInitiator = isInitiator
        self.share = share
        self.handovers = handovers
        store = DatagramStore(share: memory)
        numbers = FlowNumbers(isInitiator: isInitiator)
    }

    deinit { share?.change(by: -shared) }

    private func changeShare(by count: Int) {
        shared += count
        share?.change(by: count)
    }

    var isEmpty: Bool { associations.isEmpty && byNumber.isEmpty && numbers.unconfirmed == 0 }
    var flowCount: Int { byNumber.count }

    // MARK: Associations

    /// False where the number is in use, or there are too many.
    func open(
        association: UInt16, owner: StreamSlot, policy: DatagramPolicy,
        allowed: AllowedPaths = .all
    ) -> Bool {
        guard associations[association] == nil, associations.count < DatagramLimits.associations
        else { return false }
        associations[association] = DatagramAssociation(
            owner: owner, policy: policy, allowed: allowed)
        return true
    }

    /// Ends the association: from now on none of its flows is found. They give back what they hold
    /// in the turns that follow (`advance`), since there may be thousands. Its number is free, and
    /// they count no longer as the user's.
    func close(association: UInt16, at now: Instant) {
        guard let ended = associations.removeValue(forKey: association) else { return }
        ended.isOpen = false
        guard !ended.flows.isEmpty else { return }
        changeShare(by: -ended.flows.count)
        ending.append(ended)
        endingAt = min(endingAt, now)
    }

    /// Ends flows of associations that have ended, at most `maximum`; false where there is none.
    @discardableResult private func endFlows(maximum: Int, at now: Instant) -> Bool {
        var left = maximum
        while left > 0, let ended = ending.first {
            while left > 0, let slot = ended.flows.last {
                end(slot, at: now)
                left -= 1
            }
            if ended.flows.isEmpty { ending.popFirst() }
        }
        endingAt = ending.isEmpty ? .distantFuture : now + DatagramLimits.endingWait
        return left < maximum
    }

    // MARK: Flows

    /// The slot of a flow by its number; nil where there is none, or its association has ended.
    func flow(number: UInt16) -> Int? { byNumber[number].flatMap(living) }

    /// The same by what opened it.
    func flow(_ opening: DatagramFrame.Opening) -> Int? { byOpening[opening].flatMap(living) }

    private func living(_ slot: Int) -> Int? {
        flows[slot]?.association.isOpen == true ? slot : nil
    }

    /// What ends when this is read, a flow of ours or the other side's; nil where none does.
    func costOfEnd(by frame: FlowFrame) -> Int? {
        guard let slot = flow(number: frame.flow), let flow = flows[slot],
            frame.statement == .closed || frame.statement == .unknown && !flow.isOurs
        else { return nil }
        return flow.costOfEnd
    }

    /// What a datagram costs besides what its frame shows: those of its flow that wait for it, or
    /// among which it will wait; and the end of another flow, of which it takes the number or the
    /// room.
    func hiddenCost(of frame: DatagramFrame) -> Int {
        guard let slot = byNumber[frame.flow], let flow = flows[slot] else {
            return frame.opening != nil && isFull ? ArrivalWork.flowEnd : 0
        }
        if let opening = frame.opening, opening != flow.opening || !flow.association.isOpen {
            return flow.costOfEnd
        }
        guard flow.association.isOpen else { return 0 }
        let waiting = flow.order.handedOver(
            by: frame.sequence, isOrdered: frame.isOrdered,
            hasRoom: store.hasRoom(for: frame.payload.count))
        return waiting * ArrivalWork.handedOver
            + (frame.isOrdered ? flow.order.count * ArrivalWork.passed : 0)
    }

    /// A further flow needs the place of another one.
    private var isFull: Bool {
        byNumber.count >= DatagramLimits.flows || share?.hasRoom == false
    }

    /// A flow that comes to be in an open association; nil where there are too many. `number`: nil
    /// for one of ours, otherwise one that `byNumber` does not have.
    func makeFlow(
        _ opening: DatagramFrame.Opening, in association: DatagramAssociation, number: UInt16?,
        at now: Instant
    ) -> Int? {
        if isFull, !endFlows(maximum: 1, at: now), !evict(at: now) { return nil }
        guard let taken = number ?? numbers.allocate(at: now) else { return nil }
        changeShare(by: 1)
        let flow = DatagramFlow(
            number: taken, opening: opening, in: association, isOurs: number == nil, at: now)
        let slot: Int
        if let free = freeFlows.popLast() {
            slot = free
            flows[slot] = flow
        } else {
            slot = flows.count
            flows.append(flow)
        }
        byNumber[taken] = slot
        if self.flow(opening) == nil { byOpening[opening] = slot }
        flow.place = association.flows.count
        association.flows.append(slot)
        timers.set(slot, flow.deadline)
        return slot
    }

    /// Room for another flow: of a few the one that was not used for longest, if it rests at all.
    private func evict(at now: Instant) -> Bool {
        guard !flows.isEmpty else { return false }
        var oldest: Int?, lastUsed = Instant.distantFuture
        for _ in 0..<16 {
            evictionCursor = (evictionCursor + 1) % flows.count
            guard let flow = flows[evictionCursor] else { continue }
            if flow.lastUsed < lastUsed {
                oldest = evictionCursor
                lastUsed = flow.lastUsed
            }
        }
        guard let oldest, now - lastUsed > .seconds(2) else { return false }
        end(oldest, at: now)
        return true
    }
    private(set) var evictionCursor = 0

    /// A flow ends: it gives back what it holds, and the other side hears of it.
    func end(_ slot: Int, at now: Instant) {
        guard let flow = flows[slot] else { return }
        let association = flow.association
        // The last one takes its place.
        if let last = association.flows.popLast(), last != slot {
            association.flows[flow.place] = last
            flows[last]?.place = flow.place
        }
        flow.removeAll(store)
        flow.isActive = false
        timers.set(slot, .distantFuture)
        byNumber[flow.number] = nil
        if association.isOpen { changeShare(by: -1) }
        if byOpening[flow.opening] == slot { byOpening[flow.opening] = nil }
        flows[slot] = nil
        freeFlows.append(slot)
        if flow.isOurs {
            numbers.close(flow.number, at: now)
        } else {
            queueStatement(.closed, flow.number)
        }
    }

    func queueStatement(_ statement: FlowFrame.Statement, _ flow: UInt16) {
        guard statements.count < DatagramLimits.statements else { return }
        statements.append(FlowFrame(statement, flow: flow))
    }

    /// For status.
    func report(_ mode: HandoverMode) -> EndpointReport.Datagrams {
        var report = EndpointReport.Datagrams()
        report.associations = associations.count
        report.flows = flowCount
        report.closing = numbers.unconfirmed
        report.held = store.used
        report.counters = counters
        for case let flow? in flows {
            switch flow.association.policy.effective(for: flow.meter.kind, mode) {
            case .redundant: report.redundant += 1
            case .spread: report.spread += 1
            case .auto, .lowestDelay: break
            }
        }
        return report
    }

    /// Flows of ours that move at a steady pace now, as a voice does.
    func steadyFlows(at now: Instant) -> Int {
        var count = 0
        for case let flow? in flows
        where flow.association.isOpen && flow.meter.isSteady(at: now) { count += 1 }
        return count
    }

    // MARK: Time

    /// When `advance`, `fill` or a report has something to do.
    var deadline: Instant {
        var due = min(min(timers.next, numbers.deadline), min(recent.expiresAt, endingAt))
        // By index: iterating would retain what each holds.
        for i in carriers.indices {
            due = min(due, min(carriers[i].arrivals.dueAt, carriers[i].window.sizes.suspectedAt))
        }
        return min(due, turns.isEmpty ? .distantFuture : retryAt)
    }

    /// Gaps that were waited for long enough, pieces that never became whole, flows that nobody
    /// uses, and those of associations that have ended.
    func advance(
        to now: Instant, deliver: (_ owner: StreamSlot, Target, UnsafeRawBufferPointer) -> Void
    ) {
        recent.advance(to: now, store)
        if endingAt <= now { endFlows(maximum: DatagramLimits.endingAtOnce, at: now) }
        while let slot = timers.popDue(at: now) {
            guard let flow = flows[slot] else { continue }
            counters.incomplete += flow.assembly.advance(to: now, store)
            if flow.order.deadline <= now {
                let association = flow.association
                flow.order.advance(to: now, store) { payload in
                    counters.received += 1
                    if association.isOpen {
                        deliver(association.owner, flow.opening.target, payload)
                    }
                }
            }
            if now - flow.lastUsed >= flow.idle, flow.queue.isEmpty {
                end(slot, at: now)
            } else {
                timers.set(slot, max(flow.deadline, now + .milliseconds(1)))
            }
        }
    }
}

import Measures
import Multipath
import Wire

/// What the flows of one association share.
final class DatagramAssociation {
    /// Its owner's number for it.
    let owner: StreamSlot
    let policy: DatagramPolicy
    var allowed: AllowedPaths
    /// Slots of its flows, in no order.
    var flows: [Int] = []
    /// Its stream lives. Afterwards its flows are nobody's, and end by and by.
    var isOpen = true

    init(owner: StreamSlot, policy: DatagramPolicy, allowed: AllowedPaths) {
        self.owner = owner
        self.policy = policy
        self.allowed = allowed
    }
}

/// One association's exchange with one other end, as this side knows it.
final class DatagramFlow {
    let number: UInt16
    let opening: DatagramFrame.Opening
    let association: DatagramAssociation
    /// Opened here.
    let isOurs: Bool
    /// The other side may not know yet what the number means.
    var carriesOpening: Bool
    private var nextSequence: UInt32 = 0
    var meter = FlowMeter()
    var traffic = FlowTraffic()
    var deliveries = ProgressMeter()
    /// Paths that carried it when they were last lost: a bit each.
    var lostPaths: UInt16 = 0
    var queue = FIFO<WaitingDatagram>()
    var received = SequenceWindow()
    var order = Resequencer()
    var assembly = DatagramAssembly()
    let since: Instant
    var lastUsed: Instant
    /// Among the flows of its association.
    var place = 0
    /// The paths of its last datagram, a bit each, for status.
    var lastSentOn: UInt32 = 0

    // Fair turns between flows (`FlowTurns`).
    var credit = 0
    var isActive = false

    init(
        number: UInt16, opening: DatagramFrame.Opening, in association: DatagramAssociation,
        isOurs: Bool, at now: Instant
    ) {
        self.number = number
        self.opening = opening
        self.association = association
        self.isOurs = isOurs
        carriesOpening = isOurs
        since = now
        lastUsed = now
    }

    func takeSequence() -> UInt32 {
        defer { nextSequence = (nextSequence + 1) & (DatagramFrame.sequences - 1) }
        return nextSequence
    }

    /// What ends a flow that nobody uses.
    var idle: Interval {
        let own =
            opening.target.port == DatagramLimits.questionPort
            ? DatagramLimits.idleQuestion : DatagramLimits.idle
        return isOurs ? own : own + DatagramLimits.idleGrace
    }

    /// What its own clocks next want.
    var deadline: Instant { min(lastUsed + idle, min(order.deadline, assembly.deadline)) }

    /// What its end costs, with all it holds of what came.
    var costOfEnd: Int {
        ArrivalWork.flowEnd
            + (order.count + assembly.count * DatagramFrame.maximumPieces) * ArrivalWork.givenBack
    }

    /// Gives back what it holds.
    func removeAll(_ store: DatagramStore) {
        while let item = queue.popFirst() { store.free(item.slot) }
        order.removeAll(store)
        assembly.removeAll(store)
    }
}

/// Payload bytes of a flow, and by the paths that carried them, where copies count, too.
struct FlowTraffic {
    private(set) var sent = 0, received = 0
    private var paths: [(sent: Int, received: Int)] = []

    subscript(path: PathID) -> (sent: Int, received: Int) {
        path.number < paths.count ? paths[path.number] : (0, 0)
    }
    func isCarried(by path: PathID) -> Bool { self[path] != (0, 0) }

    mutating func send(_ bytes: Int) { sent &+= bytes }
    mutating func receive(_ bytes: Int) { received &+= bytes }
    mutating func send(_ bytes: Int, path: PathID) {
        reach(path)
        paths[path.number].sent &+= bytes
    }
    mutating func receive(_ bytes: Int, path: PathID) {
        reach(path)
        paths[path.number].received &+= bytes
    }
    private mutating func reach(_ path: PathID) {
        while paths.count <= path.number { paths.append((0, 0)) }
    }
}

/// A datagram of a flow that waits to be sent.
struct WaitingDatagram {
    var slot: DatagramStore.Slot
    var since: Instant
    /// It went already, over a path that may have lost it.
    var former: Former?

    struct Former {
        var sequence: UInt32
        var path: PathID
    }
}

/// Flows with something to send, in fair turns (FQ-CoDel's, RFC 8290 section 4.2): one that had
/// nothing waiting goes first, for a quantum; then all by turns.
struct FlowTurns {
    private static let quantum = 1_500
    /// Slots of flows; those that left are found out when their turn comes.
    private var fresh = FIFO<Int>()
    private var old = FIFO<Int>()

    var isEmpty: Bool { fresh.first == nil && old.first == nil }

    /// The flow, which is in `flows` at `slot`, has something to send now.
    mutating func add(_ flow: DatagramFlow, _ slot: Int, _ flows: [DatagramFlow?]) {
        guard !flow.isActive else { return }
        if fresh.count + old.count > 2 * flows.count + 64 {
            fresh.removeAll { flows[$0]?.isActive != true }
            old.removeAll { flows[$0]?.isActive != true }
        }
        flow.isActive = true
        flow.credit = Self.quantum
        fresh.append(slot)
    }

    /// The flow whose turn it is; it stays so until its credit is used up or it has nothing left.
    /// Those of associations that have ended have none.
    mutating func next(_ flows: [DatagramFlow?]) -> Int? {
        while let slot = fresh.first ?? old.first {
            let isFresh = fresh.first != nil
            guard let flow = flows[slot], flow.isActive, flow.association.isOpen else {
                pop(isFresh)
                continue
            }
            if flow.queue.isEmpty {
                pop(isFresh)
                // One turn among the others, so that who comes and goes gains nothing.
                if isFresh, old.first != nil { old.append(slot) } else { flow.isActive = false }
                continue
            }
            if flow.credit <= 0 {
                flow.credit += Self.quantum
                pop(isFresh)
                old.append(slot)
                continue
            }
            return slot
        }
        return nil
    }

    private mutating func pop(_ isFresh: Bool) {
        if isFresh { fresh.popFirst() } else { old.popFirst() }
    }
}

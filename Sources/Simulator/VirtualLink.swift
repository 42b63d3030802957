import Buffers
import Measures

/// One direction of a link: a drop-tail queue, a transmitter, the flight to the other end.
///
/// Pure and exact in nanoseconds: a packet of n bytes holds the transmitter for n / rate (rounded
/// up), then flies for the delay. The caller offers packets, asks `nextDelivery`, and collects with
/// `deliver(at:)`; time must not go back. All chance comes from the seed. Nothing is allocated per
/// packet once the queues have grown to what the traffic needs. Used by the simulator's worlds and
/// by the lab's link emulator.
public final class VirtualLink {
    /// Packets and bytes since the link was made.
    public struct Statistics: Hashable, Sendable {
        /// What came, and what was handed on; bytes with all their headers.
        public var packetsOffered = 0, packetsDelivered = 0, bytesDelivered = 0
        /// No room in the queue.
        public var droppedQueue = 0
        /// By the loss model.
        public var droppedLoss = 0
        /// By an outage, or `clear()`.
        public var droppedOutage = 0
        /// Longer than the link takes.
        public var droppedSize = 0
        /// By chance, of those delivered.
        public var reordered = 0, duplicated = 0, corrupted = 0
        /// The deepest the queue ever was, in bytes.
        public var deepestQueue = 0
        public init() {}
    }

    /// What holds for packets that come from now on.
    public private(set) var conditions: LinkConditions
    /// Counts up to now.
    public private(set) var statistics = Statistics()
    /// Bytes waiting behind the packet in transmission.
    public private(set) var backlog = 0

    private let pool: PacketPool
    private let radio: Radio?
    private var random: SeededRandom
    private var waiting = PacketRing()
    private var inTransmission: Packet?
    private var transmissionEnds = Instant.distantFuture
    /// The transmitter does nothing before this.
    private var transmitterFree = Instant.zero
    private var flight = FlightQueue()
    /// The latest arrival in order: a shorter delay set meanwhile must not reorder by itself.
    private var lastArrival = Instant.zero
    private var isInBurst = false
    private var lastDrawn = Instant.zero
    private static let maximumSilentBurst = Interval.milliseconds(500)

    /// `pool` gives the copies of duplicated packets.
    public init(_ conditions: LinkConditions, pool: PacketPool, seed: UInt64, radio: Radio? = nil) {
        self.conditions = conditions
        self.pool = pool
        self.radio = radio
        random = SeededRandom(seed: seed)
    }

    /// Packets in the queue, the transmitter and in flight.
    public var packetsInside: Int { waiting.count + flight.count + (isTransmitting ? 1 : 0) }

    /// Takes a packet at `now`. `lineBytes`: what it occupies on the line where that isn't its own
    /// size (a UDP payload travels with 28 bytes of headers).
    public func offer(_ packet: consuming Packet, lineBytes: Int? = nil, at now: Instant) {
        run(to: now)
        statistics.packetsOffered += 1
        let bytes = lineBytes ?? packet.count
        if conditions.outage == .blackHole { statistics.droppedOutage += 1; return }
        if let mtu = conditions.mtu, bytes > mtu { statistics.droppedSize += 1; return }
        if isTransmitting || !waiting.isEmpty || conditions.outage == .stall,
            backlog + bytes > conditions.queueLimit
        {
            statistics.droppedQueue += 1
            return
        }
        backlog += bytes
        statistics.deepestQueue = max(statistics.deepestQueue, backlog)
        waiting.append(.init(packet: packet, lineBytes: bytes, offered: now))
        run(to: now)
    }

    /// When `deliver(at:)` may next have something: call it then. May come too early, never too
    /// late.
    public var nextDelivery: Instant {
        // A shared radio learns of activity only when the transmitter moves on, so that must be on
        // time.
        let ends =
            radio == nil && isTransmitting ? transmissionEnds + conditions.delay : transmissionEnds
        return min(flight.next, ends)
    }

    /// The next packet that has arrived by `now`; nil where there is none. Ask until nil.
    public func deliver(at now: Instant) -> Packet? {
        run(to: now)
        guard flight.next <= now else { return nil }
        let packet = flight.removeFirst()
        statistics.packetsDelivered += 1
        statistics.bytesDelivered += packet.count
        return packet
    }

    /// Changes the link at `now`. A packet in transmission keeps the rate it began with.
    public func change(to new: LinkConditions, at now: Instant) {
        run(to: now)
        let wasHeld = isHeld
        conditions = new
        if wasHeld { transmitterFree = max(transmitterFree, now) }
        run(to: now)
    }

    /// Drops everything inside: the interface went away.
    public func clear(at now: Instant) {
        run(to: now)
        statistics.droppedOutage += packetsInside
        while !waiting.isEmpty { _ = waiting.removeFirst() }
        while flight.count > 0 { _ = flight.removeFirst() }
        inTransmission = nil
        transmissionEnds = .distantFuture
        transmitterFree = max(transmitterFree, now)
        backlog = 0
    }

    // MARK: The transmitter

    private var isTransmitting: Bool { transmissionEnds < .distantFuture }
    private var isHeld: Bool { conditions.outage == .stall || conditions.rate == .zero }

    /// Moves packets from the queue through the transmitter into flight, as far as `now`.
    private func run(to now: Instant) {
        while true {
            if transmissionEnds <= now {
                transmitterFree = transmissionEnds
                transmissionEnds = .distantFuture
                let packet = inTransmission.take()!
                send(packet, at: transmitterFree)
            } else if !isTransmitting, !waiting.isEmpty, !isHeld {
                var start = max(transmitterFree, waiting.firstOffered)
                guard start <= now else { return }
                if let radio { start = radio.begin(at: start) }
                let bytes = waiting.firstLineBytes
                transmissionEnds = start + transmissionTime(bytes)
                radio?.active(until: transmissionEnds)
                backlog -= bytes
                inTransmission = waiting.removeFirst()
            } else {
                return
            }
        }
    }

    private func transmissionTime(_ bytes: Int) -> Interval {
        guard let rate = conditions.rate else { return .zero }
        let perSecond = rate.bytesPerSecond
        return Interval(nanoseconds: (Int64(bytes) * 1_000_000_000 + perSecond - 1) / perSecond)
    }

    /// A packet left the transmitter at `end`: its fate.
    private func send(_ packet: consuming Packet, at end: Instant) {
        if conditions.outage == .blackHole { statistics.droppedOutage += 1; return }
        if isLost(at: end) { statistics.droppedLoss += 1; return }
        if random.chance(conditions.corruption) { corrupt(packet.bytes) }
        var arrival = max(end + conditions.delay, lastArrival)
        lastArrival = arrival
        if random.chance(conditions.duplication),
            let copy = pool.packet(copying: UnsafeRawBufferPointer(packet.bytes))
        {
            statistics.duplicated += 1
            flight.insert(copy, at: arrival + lateness())
        }
        if random.chance(conditions.reordering) {
            statistics.reordered += 1
            arrival += lateness()
        }
        flight.insert(packet, at: arrival)
    }

    private func lateness() -> Interval {
        Interval(nanoseconds: Int64(random.unit() * Double(conditions.reorderDelay.nanoseconds)))
    }

    private func isLost(at end: Instant) -> Bool {
        switch conditions.loss {
        case .none: return false
        case .random(let p): return random.chance(p)
        case .bursts(let enter, let leave, let inside):
            if end - lastDrawn > Self.maximumSilentBurst { isInBurst = false }
            lastDrawn = end
            isInBurst = isInBurst ? !random.chance(leave) : random.chance(enter)
            return isInBurst && random.chance(inside)
        }
    }

    private func corrupt(_ bytes: UnsafeMutableRawBufferPointer) {
        guard bytes.count > 0 else { return }
        statistics.corrupted += 1
        for _ in 0..<(1 + Int(random.next() % 3)) {
            let bit = Int(random.next() % UInt64(bytes.count * 8))
            bytes[bit / 8] ^= UInt8(1 << (bit % 8))
        }
    }
}

import Buffers
import Measures

/// One line that several paths have in common: what leaves it goes on over the link of the path it
/// was sent on. Its queue is what those who share it fill.
///
/// Each packet reaches it up to two packets' transmissions later than it was sent, by chance: where
/// all is exact, who finds the last place in a full queue is always the same (Floyd and Jacobson,
/// *On Traffic Phase Effects in Packet-Switched Gateways*, 1991). One transmission, which they
/// recommend, was not enough beside paced senders: one of two like TCPs had 0.88 to 1.16 of its
/// share over 800 s, and the same one in every stretch of them.
final class SharedBottleneck {
    private let line: VirtualLink
    private let pool: PacketPool
    private var entries: [Entry] = []
    private var random: SeededRandom
    private let jitter: Interval
    /// Of the packets inside, in their order: the line keeps it.
    private var next = Queue<VirtualLink>()

    /// The way of one path to the line, in order.
    private final class Entry {
        let exit: VirtualLink
        let way: VirtualLink
        var lineBytes = Queue<Int>()
        init(exit: VirtualLink, pool: PacketPool) {
            self.exit = exit
            way = VirtualLink(
                LinkConditions(rate: nil, delay: .zero, queueLimit: .max / 2), pool: pool, seed: 0)
        }
    }

    /// First in, first out.
    private struct Queue<Element> {
        private var elements: [Element] = []
        private var head = 0
        mutating func append(_ element: Element) { elements.append(element) }
        mutating func removeFirst() -> Element {
            defer {
                head += 1
                if head > 1024 { elements.removeFirst(head); head = 0 }
            }
            return elements[head]
        }
    }

    /// `conditions` without loss, reordering and duplication: the order must stay.
    init(_ conditions: LinkConditions, pool: PacketPool, seed: UInt64) {
        precondition(
            conditions.loss == .none && conditions.reordering == 0 && conditions.duplication == 0)
        line = VirtualLink(conditions, pool: pool, seed: 0)
        self.pool = pool
        random = SeededRandom(seed: seed)
        jitter = (conditions.rate?.time(for: 1500) ?? .zero) * 2
    }

    var nextDelivery: Instant { entries.reduce(line.nextDelivery) { min($0, $1.way.nextDelivery) } }

    func offer(_ packet: consuming Packet, lineBytes: Int, to link: VirtualLink, at now: Instant) {
        let entry = entry(of: link)
        let delay = random.interval(.zero, jitter)
        entry.way.change(to: entry.way.conditions.with { $0.delay = delay }, at: now)
        entry.lineBytes.append(lineBytes)
        entry.way.offer(packet, lineBytes: lineBytes, at: now)
    }

    private func entry(of link: VirtualLink) -> Entry {
        if let known = entries.first(where: { $0.exit === link }) { return known }
        let entry = Entry(exit: link, pool: pool)
        entries.append(entry)
        return entry
    }

    /// Moves on what has come to the line or has left it by `now`; whether anything had.
    func deliver(at now: Instant) -> Bool {
        var any = false
        for entry in entries {
            while let packet = entry.way.deliver(at: now) {
                let before = line.statistics.droppedQueue
                line.offer(packet, lineBytes: entry.lineBytes.removeFirst(), at: now)
                if line.statistics.droppedQueue == before { next.append(entry.exit) }
                any = true
            }
        }
        while let packet = line.deliver(at: now) {
            next.removeFirst().offer(packet, lineBytes: 0, at: now)
            any = true
        }
        return any
    }
}

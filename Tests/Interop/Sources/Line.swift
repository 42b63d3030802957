import Buffers
import Measures
import Simulator

/// A device's line, both ways, as the peer emulates it: rate, delay, queue, loss, outages.
final class Line {
    let device: Int
    private let pool: PacketPool
    private(set) var outward: VirtualLink
    private(set) var inward: VirtualLink

    init(device: Int, _ conditions: LinkConditions, seed: UInt64) {
        self.device = device
        pool = PacketPool(slotSize: 4096, limit: 1 << 14)
        outward = VirtualLink(conditions, pool: pool, seed: seed)
        inward = VirtualLink(conditions, pool: pool, seed: seed ^ 0xffff)
    }

    var deadline: Instant { min(outward.nextDelivery, inward.nextDelivery) }

    func offer(_ bytes: UnsafeRawBufferPointer, outward isOutward: Bool, at now: Instant) {
        guard let packet = pool.packet(copying: bytes) else { return }
        (isOutward ? outward : inward).offer(packet, at: now)
    }

    /// Silence in both directions, or its end.
    func cut(_ isCut: Bool, at now: Instant) {
        for link in [outward, inward] {
            link.change(
                to: link.conditions.with { $0.outage = isCut ? .blackHole : .none }, at: now)
        }
    }
}

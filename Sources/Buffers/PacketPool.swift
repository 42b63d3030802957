/// Slots of equal size for packets that wait: in a virtual link's queue, in the link emulator's.
///
/// A `Packet` owns its slot and gives it back by itself; the pool grows by slabs up to its limit.
public final class PacketPool {
    /// Bytes of each packet.
    public let slotSize: Int
    /// The most packets at once.
    public let limit: Int
    /// Packets handed out and not given back.
    public private(set) var inUse = 0
    private var free: [UnsafeMutableRawPointer] = []
    private var slabs: [UnsafeMutableRawPointer] = []
    private static let slotsPerSlab = 256

    /// Takes no memory before the first packet.
    public init(slotSize: Int = 2048, limit: Int = 1 << 16) {
        self.slotSize = slotSize; self.limit = limit
    }
    deinit { slabs.forEach { $0.deallocate() } }

    /// A packet holding a copy of `bytes`; nil where the pool is exhausted or the bytes don't fit a
    /// slot.
    public func packet(copying bytes: UnsafeRawBufferPointer) -> Packet? {
        guard bytes.count <= slotSize, let slot = take() else { return nil }
        if let from = bytes.baseAddress { slot.copyMemory(from: from, byteCount: bytes.count) }
        return Packet(pool: self, slot: slot, count: bytes.count)
    }

    private func take() -> UnsafeMutableRawPointer? {
        if free.isEmpty {
            guard slabs.count * Self.slotsPerSlab < limit else { return nil }
            let slab = UnsafeMutableRawPointer.allocate(
                byteCount: slotSize * Self.slotsPerSlab,
                alignment: 64)
            slabs.append(slab)
            for i in (0..<Self.slotsPerSlab).reversed() { free.append(slab + i * slotSize) }
        }
        inUse += 1
        return free.removeLast()
    }

    fileprivate func giveBack(_ slot: UnsafeMutableRawPointer) {
        inUse -= 1
        free.append(slot)
    }
}

/// A packet in a slot of a `PacketPool`; one owner at a time.
public struct Packet: ~Copyable {
    private let pool: PacketPool
    private let slot: UnsafeMutableRawPointer
    /// Bytes of the packet.
    public let count: Int

    fileprivate init(pool: PacketPool, slot: UnsafeMutableRawPointer, count: Int) {
        self.pool = pool
        self.slot = slot
        self.count = count
    }
    deinit { pool.giveBack(slot) }

    /// The packet's bytes, valid while the packet lives.
    public var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: slot, count: count)
    }
}

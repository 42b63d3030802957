import Buffers

/// Copies of datagrams that wait, in slots of three sizes, of a session or of a test.
///
/// Slots are made by slabs on demand, which count as memory of the session's user, and used again;
/// nothing is allocated for a datagram once enough are there.
final class DatagramStore {
    /// A copy that waits. Its owner gives it back once.
    struct Slot {
        fileprivate let size: UInt8
        fileprivate let index: Int32
        let count: Int32
    }

    private struct Size {
        let bytes: Int
        let perSlab: Int
        var slabs: [UnsafeMutableRawPointer] = []
        var free: [Int32] = []
    }

    private var sizes = [
        Size(bytes: 256, perSlab: 64), Size(bytes: 1_536, perSlab: 16),
        Size(bytes: DatagramLimits.payload, perSlab: 4)
    ]
    /// Bytes of slots in use, and the most there may be.
    private(set) var used = 0
    let limit: Int

    private let share: MemoryShare?
    /// Bytes of all slabs.
    private var owned = 0

    /// `share`: who pays for the slabs; nil: nobody.
    init(limit: Int = DatagramLimits.memory, share: MemoryShare? = nil) {
        self.limit = limit
        self.share = share
    }
    deinit {
        for size in sizes { for slab in size.slabs { slab.deallocate() } }
        share?.change(by: -owned)
    }

    /// Whether `copy` takes so many bytes, as far as the limit and what is there tell.
    func hasRoom(for bytes: Int) -> Bool {
        guard let i = sizes.firstIndex(where: { bytes <= $0.bytes }),
            used + sizes[i].bytes <= limit
        else { return false }
        return !sizes[i].free.isEmpty || hasMemory(for: i)
    }

    private func hasMemory(for i: Int) -> Bool {
        share.map { $0.free >= sizes[i].bytes * sizes[i].perSlab } ?? true
    }

    /// Nil where the limit is reached or there is no memory, or the datagram is longer than there
    /// may be any.
    func copy(_ bytes: UnsafeRawBufferPointer) -> Slot? {
        guard let i = sizes.firstIndex(where: { bytes.count <= $0.bytes }),
            used + sizes[i].bytes <= limit
        else { return nil }
        if sizes[i].free.isEmpty, !grow(i) { return nil }
        let index = sizes[i].free.removeLast()
        used += sizes[i].bytes
        if let from = bytes.baseAddress {
            place(i, index).copyMemory(from: from, byteCount: bytes.count)
        }
        return Slot(size: UInt8(i), index: index, count: Int32(bytes.count))
    }

    /// Valid until the slot is freed.
    func bytes(_ slot: Slot) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: place(Int(slot.size), slot.index), count: Int(slot.count))
    }

    func free(_ slot: Slot) {
        sizes[Int(slot.size)].free.append(slot.index)
        used -= sizes[Int(slot.size)].bytes
        assert(used >= 0, "a slot was freed twice")
    }

    private func place(_ size: Int, _ index: Int32) -> UnsafeMutableRawPointer {
        let (slab, at) = Int(index).quotientAndRemainder(dividingBy: sizes[size].perSlab)
        return sizes[size].slabs[slab] + at * sizes[size].bytes
    }

    private func grow(_ i: Int) -> Bool {
        let bytes = sizes[i].bytes * sizes[i].perSlab
        guard hasMemory(for: i) else { return false }
        share?.change(by: bytes)
        owned += bytes
        let first = sizes[i].slabs.count * sizes[i].perSlab
        sizes[i].slabs.append(
            .allocate(byteCount: bytes, alignment: 16))
        for k in (0..<sizes[i].perSlab).reversed() { sizes[i].free.append(Int32(first + k)) }
        return true
    }
}

import Buffers
import Measures

/// Packets in the order they came: a ring that grows and keeps its memory.
struct PacketRing: ~Copyable {
    struct Entry: ~Copyable {
        let packet: Packet
        let lineBytes: Int
        let offered: Instant
        consuming func take() -> Packet { packet }
    }

    private(set) var count = 0
    private var storage: UnsafeMutablePointer<Entry>
    private var capacity = 64  // a power of two
    private var head = 0

    init() { storage = .allocate(capacity: 64) }
    deinit {
        for i in 0..<count { (storage + (head + i) & (capacity - 1)).deinitialize(count: 1) }
        storage.deallocate()
    }

    var isEmpty: Bool { count == 0 }
    /// When the first packet was offered. The ring must not be empty.
    var firstOffered: Instant { storage[head].offered }
    var firstLineBytes: Int { storage[head].lineBytes }

    mutating func append(_ entry: consuming Entry) {
        if count == capacity { grow() }
        (storage + (head + count) & (capacity - 1)).initialize(to: entry)
        count += 1
    }

    mutating func removeFirst() -> Packet {
        precondition(count > 0)
        let entry = (storage + head).move()
        head = (head + 1) & (capacity - 1)
        count -= 1
        return entry.take()
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
        for i in 0..<count {
            (larger + i).moveInitialize(from: storage + (head + i) & (capacity - 1), count: 1)
        }
        storage.deallocate()
        storage = larger
        capacity *= 2
        head = 0
    }
}

/// Packets in flight, the next to arrive first, equal instants in the order of entry: a binary heap
/// over slots that keep their memory.
struct FlightQueue: ~Copyable {
    private struct Key {
        var at: Instant
        var serial: UInt64
        var slot: Int32
        func isBefore(_ other: Key) -> Bool {
            at < other.at || (at == other.at && serial < other.serial)
        }
    }

    private(set) var count = 0
    private var keys: UnsafeMutablePointer<Key>
    private var slots: UnsafeMutablePointer<Packet>
    // the last `capacity - count` entries are free slots
    private var free: UnsafeMutablePointer<Int32>
    private var capacity = 64
    private var serial: UInt64 = 0

    init() {
        keys = .allocate(capacity: 64)
        slots = .allocate(capacity: 64)
        free = .allocate(capacity: 64)
        for i in 0..<64 { free[i] = Int32(i) }
    }
    deinit {
        for i in 0..<count { (slots + Int(keys[i].slot)).deinitialize(count: 1) }
        keys.deallocate()
        slots.deallocate()
        free.deallocate()
    }

    var next: Instant { count == 0 ? .distantFuture : keys[0].at }

    mutating func insert(_ packet: consuming Packet, at: Instant) {
        if count == capacity { grow() }
        let slot = free[count]
        (slots + Int(slot)).initialize(to: packet)
        let key = Key(at: at, serial: serial, slot: slot)
        serial += 1
        var i = count
        count += 1
        while i > 0, key.isBefore(keys[(i - 1) / 2]) {
            keys[i] = keys[(i - 1) / 2]
            i = (i - 1) / 2
        }
        keys[i] = key
    }

    mutating func removeFirst() -> Packet {
        precondition(count > 0)
        let slot = keys[0].slot
        count -= 1
        free[count] = slot
        let last = keys[count]
        var i = 0
        while true {
            var child = 2 * i + 1
            guard child < count else { break }
            if child + 1 < count, keys[child + 1].isBefore(keys[child]) { child += 1 }
            guard keys[child].isBefore(last) else { break }
            keys[i] = keys[child]
            i = child
        }
        if count > 0 { keys[i] = last }
        return (slots + Int(slot)).move()
    }

    private mutating func grow() {
        let moreKeys = UnsafeMutablePointer<Key>.allocate(capacity: capacity * 2)
        let moreSlots = UnsafeMutablePointer<Packet>.allocate(capacity: capacity * 2)
        let moreFree = UnsafeMutablePointer<Int32>.allocate(capacity: capacity * 2)
        moreKeys.moveInitialize(from: keys, count: capacity)
        moreSlots.moveInitialize(from: slots, count: capacity)  // full, so every slot is taken
        moreFree.update(from: free, count: capacity)
        for i in capacity..<(capacity * 2) { moreFree[i] = Int32(i) }
        keys.deallocate()
        slots.deallocate()
        free.deallocate()
        keys = moreKeys
        slots = moreSlots
        free = moreFree
        capacity *= 2
    }
}

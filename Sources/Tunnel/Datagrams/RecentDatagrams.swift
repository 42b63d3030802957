import Measures
import Multipath

/// Copies of the datagrams that went over one path alone a moment ago: what the path may have lost
/// with its end goes once more, over another one.
///
/// That is no retransmission: it happens once, when the path ends or is suspected, and only while a
/// late copy is of use to a call.
struct RecentDatagrams {
    struct Item {
        var slot: DatagramStore.Slot
        /// Its flow's place and number.
        var flow: Int
        var number: UInt16
        var sequence: UInt32
        /// The path and the number of the record that took it.
        var path: PathID
        var record: UInt64
        var sentAt: Instant
    }

    /// The oldest first.
    private var items = FIFO<Item>()
    private var bytes = 0
    /// When what has become too old is looked for; `.distantFuture` while there is nothing.
    private(set) var expiresAt = Instant.distantFuture
    /// A path ended or is suspected, and its datagrams have not been looked at yet.
    var isRepeatDue = false

    var isEmpty: Bool { items.isEmpty }

    mutating func add(_ item: Item, _ store: DatagramStore, at now: Instant) {
        while items.count >= DatagramLimits.recent || bytes > DatagramLimits.recentBytes {
            dropFirst(store)
        }
        removeOld(store, at: now)
        items.append(item)
        bytes += Int(item.slot.count)
        if expiresAt == .distantFuture { expiresAt = now + DatagramLimits.recentCheck }
    }

    /// Gives the oldest back; false where there is none.
    @discardableResult mutating func dropFirst(_ store: DatagramStore) -> Bool {
        guard let first = items.popFirst() else { return false }
        bytes -= Int(first.slot.count)
        store.free(first.slot)
        return true
    }

    /// Frees what has become too old, where it is time to look.
    mutating func advance(to now: Instant, _ store: DatagramStore) {
        guard expiresAt <= now else { return }
        removeOld(store, at: now)
        expiresAt = items.isEmpty ? .distantFuture : now + DatagramLimits.recentCheck
    }

    private mutating func removeOld(_ store: DatagramStore, at now: Instant) {
        while let first = items.first, now - first.sentAt > DatagramLimits.queueAge {
            dropFirst(store)
        }
    }

    /// Takes out those that are young enough and for which `isDue`, the oldest first.
    mutating func take(
        _ store: DatagramStore, at now: Instant, where isDue: (Item) -> Bool
    ) -> [Item] {
        removeOld(store, at: now)
        var taken: [Item] = []
        items.removeAll { item in
            guard isDue(item) else { return false }
            taken.append(item)
            bytes -= Int(item.slot.count)
            return true
        }
        return taken
    }
}

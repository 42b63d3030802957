import Measures
import Wire

/// Puts a flow's datagrams in order again that went over several paths, within a bounded wait.
///
/// Sequence numbers come once each (`SequenceWindow`). What is behind a gap is held until the gap
/// is filled or the wait is over; what comes for a gap that was given up is handed over at once.
struct Resequencer {
    private struct Held {
        var sequence: UInt32
        var slot: DatagramStore.Slot
        var until: Instant
    }

    /// The one that is handed over next; nil before the first.
    private var next: UInt32?
    /// In order.
    private var held: [Held] = []

    /// When `advance` has something to hand over.
    private(set) var deadline = Instant.distantFuture
    var count: Int { held.count }

    /// The most that may be handed over when this one comes. `hasRoom`: to hold it, where it has to
    /// wait.
    func handedOver(by sequence: UInt32, isOrdered: Bool, hasRoom: Bool = true) -> Int {
        !isOrdered || next == sequence || !hasRoom || held.count >= DatagramLimits.reordered
            ? held.count : 0
    }

    /// A datagram arrived. `isOrdered`: it may wait for those before it.
    mutating func receive(
        _ payload: UnsafeRawBufferPointer, sequence: UInt32, isOrdered: Bool,
        _ store: DatagramStore, at now: Instant, deliver: (UnsafeRawBufferPointer) -> Void
    ) {
        let ahead = next.map { SequenceWindow.distance(from: $0, to: sequence) } ?? 0
        if ahead < 0 { return deliver(payload) }
        if ahead > 0, isOrdered {
            if held.count >= DatagramLimits.reordered {
                repeat {
                    skip(store, deliver)
                } while held.count >= DatagramLimits.reordered
                    && !isNext(sequence)
                note()
            }
            if !isNext(sequence), let slot = store.copy(payload) {
                let until = now + DatagramLimits.reorderWait
                insert(Held(sequence: sequence, slot: slot, until: until))
                deadline = min(deadline, until)
                return
            }
        }
        if held.isEmpty {
            deliver(payload)
            next = Self.behind(sequence)
            return
        }
        defer { note() }
        // What is held and older goes first.
        while let first = held.first,
            SequenceWindow.distance(from: first.sequence, to: sequence) > 0
        {
            skip(store, deliver)
        }
        deliver(payload)
        next = Self.behind(sequence)
        release(store, deliver)
    }

    /// Hands over what has waited long enough, with what follows it.
    mutating func advance(
        to now: Instant, _ store: DatagramStore, deliver: (UnsafeRawBufferPointer) -> Void
    ) {
        if let last = held.lastIndex(where: { $0.until <= now }) {
            for item in held[...last] {
                deliver(store.bytes(item.slot))
                store.free(item.slot)
            }
            next = Self.behind(held[last].sequence)
            held.removeFirst(last + 1)
            release(store, deliver)
        }
        note()
    }

    /// Forgets what is held.
    mutating func removeAll(_ store: DatagramStore) {
        for item in held { store.free(item.slot) }
        held.removeAll()
        deadline = .distantFuture
    }

    private static func behind(_ sequence: UInt32) -> UInt32 {
        (sequence &+ 1) & (DatagramFrame.sequences - 1)
    }
    private func isNext(_ sequence: UInt32) -> Bool {
        next.map { SequenceWindow.distance(from: $0, to: sequence) <= 0 } ?? true
    }

    private mutating func insert(_ item: Held) {
        var low = 0, high = held.count
        while low < high {
            let middle = (low + high) / 2
            if SequenceWindow.distance(from: held[middle].sequence, to: item.sequence) < 0 {
                high = middle
            } else {
                low = middle + 1
            }
        }
        held.insert(item, at: low)
    }

    /// Gives the gap in front of the first one up.
    private mutating func skip(_ store: DatagramStore, _ deliver: (UnsafeRawBufferPointer) -> Void)
    {
        guard let first = held.first else { return }
        next = first.sequence
        release(store, deliver)
    }

    private mutating func release(
        _ store: DatagramStore, _ deliver: (UnsafeRawBufferPointer) -> Void
    ) {
        var n = 0
        while n < held.count, held[n].sequence == next {
            deliver(store.bytes(held[n].slot))
            store.free(held[n].slot)
            next = Self.behind(held[n].sequence)
            n += 1
        }
        held.removeFirst(n)
    }

    private mutating func note() {
        deadline = held.reduce(.distantFuture) { min($0, $1.until) }
    }
}

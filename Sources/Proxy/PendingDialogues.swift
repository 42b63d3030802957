import Measures

/// Where a connection in its dialogue comes from, and by which of the listeners.
struct PendingDialogue {
    let source: Source
    let port: ListeningPort
}

/// The connections of one listener whose dialogue is not over, in the order in which they came.
///
/// When there are too many the one closed is the oldest of the source that has most of them, so
/// that many silent connections of one host push out each other and nobody else's.
struct PendingDialogues<Connection> {
    private struct Entry {
        let number: UInt64
        let connection: Connection
    }
    /// Ascending by number in each.
    private var bySource: [Source: [Entry]] = [:]
    private(set) var count = 0
    private(set) var maximum: Int

    /// `maximum`: how many there may be at once; at least one.
    init(maximum: Int) { self.maximum = max(1, maximum) }

    /// From now on there may be so many; at least one.
    mutating func limit(to maximum: Int) { self.maximum = max(1, maximum) }

    /// Takes in a connection with a number larger than those before; returns the one to close for
    /// it.
    mutating func add(_ connection: Connection, number: UInt64, from source: Source) -> Connection?
    {
        var evicted: Connection?
        if count >= maximum, let full = bySource.max(by: { isLess($0.value, $1.value) }) {
            evicted = full.value.first?.connection
            if let first = full.value.first { remove(first.number, from: full.key) }
        }
        bySource[source, default: []].append(Entry(number: number, connection: connection))
        count += 1
        return evicted
    }

    /// Of two sources the one with more connections, then the one with the older.
    private func isLess(_ a: [Entry], _ b: [Entry]) -> Bool {
        if a.count != b.count { return a.count < b.count }
        guard let x = a.first, let y = b.first else { return false }
        return x.number > y.number
    }

    /// Its dialogue is over, or the connection is gone. Harmless where it isn't among them.
    mutating func remove(_ number: UInt64, from source: Source) {
        guard var entries = bySource[source] else { return }
        bySource[source] = nil  // no copy below
        var low = 0, high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].number < number { low = middle + 1 } else { high = middle }
        }
        if low < entries.count, entries[low].number == number {
            entries.remove(at: low)
            count -= 1
        }
        if !entries.isEmpty { bySource[source] = entries }
    }
}

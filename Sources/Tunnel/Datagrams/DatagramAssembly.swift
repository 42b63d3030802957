import Measures
import Wire

/// Datagrams of a flow that came in pieces and are not whole yet.
struct DatagramAssembly {
    private struct Partial {
        var sequence: UInt32
        var last: UInt8
        var slots: [DatagramStore.Slot?]
        var until: Instant
        var isWhole: Bool { slots.allSatisfy { $0 != nil } }
    }

    /// The oldest first.
    private var partials: [Partial] = []
    var deadline: Instant { partials.first?.until ?? .distantFuture }
    var count: Int { partials.count }

    /// A piece arrived; the whole datagram where it was the last one missing.
    mutating func receive(
        _ payload: UnsafeRawBufferPointer, _ piece: DatagramFrame.Piece, sequence: UInt32,
        _ store: DatagramStore, at now: Instant
    ) -> [UInt8]? {
        var i = partials.firstIndex { $0.sequence == sequence }
        if let found = i, partials[found].last != piece.last {
            // A copy on another path, cut otherwise: the one that began goes on.
            return nil
        }
        if i == nil {
            if partials.count >= DatagramLimits.assemblies { drop(0, store) }
            partials.append(
                Partial(
                    sequence: sequence, last: piece.last,
                    slots: Array(repeating: nil, count: Int(piece.last) + 1),
                    until: now + DatagramLimits.assemblyWait))
            i = partials.count - 1
        }
        guard let i, partials[i].slots[Int(piece.index)] == nil,
            let slot = store.copy(payload)
        else { return nil }
        partials[i].slots[Int(piece.index)] = slot
        guard partials[i].isWhole else { return nil }
        var whole: [UInt8] = []
        for case let slot? in partials[i].slots { whole.append(contentsOf: store.bytes(slot)) }
        drop(i, store)
        return whole.count <= DatagramLimits.payload ? whole : nil
    }

    /// Gives up what has waited too long; how many.
    mutating func advance(to now: Instant, _ store: DatagramStore) -> Int {
        var n = 0
        while let first = partials.first, first.until <= now { drop(0, store); n += 1 }
        return n
    }

    mutating func removeAll(_ store: DatagramStore) {
        while !partials.isEmpty { drop(partials.count - 1, store) }
    }

    private mutating func drop(_ i: Int, _ store: DatagramStore) {
        for case let slot? in partials[i].slots { store.free(slot) }
        partials.remove(at: i)
    }
}

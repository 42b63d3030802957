/// Streams that have something to send, in fair turns: first between users, then between a user's
/// streams.
///
/// Between users by deficit round robin (Shreedhar and Varghese, 1995): each may send a quantum of
/// bytes before the next one's turn, and what a visit takes beyond that is missing from his next
/// quantum. Of one user's streams those with little to say go ahead of those that filled their last
/// visit, one of which comes after every `maximumAhead` of them. Intrusive: nothing is allocated
/// but a user's first entry.
struct ReadyQueue {
    private struct List {
        var head: StreamHandle?
        var tail: StreamHandle?
    }

    private struct Flow {
        var thin = List()
        var bulk = List()
        /// Thin streams in a row.
        var ahead = 0
        var credit = 0
        var isEmpty: Bool { thin.head == nil && bulk.head == nil }
    }

    /// What a user may send before the next one's turn, bytes: a visit's worth.
    static let quantum = 48 << 10
    /// What a visit counts at least, bytes: looking costs, too.
    static let minimumCharge = 256
    /// Segments in one visit from which on a stream is bulk.
    static let bulkSegments = 16
    private static let maximumAhead = 8

    /// By `StreamHandle.turnNumber`.
    private var flows: [Flow] = [Flow()]
    /// Indices of those that have streams.
    private var order = TurnOrder()
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// Takes the stream in where it is not in already.
    mutating func append(_ stream: StreamHandle) { insert(stream, atFront: false) }
    /// Puts a stream back whose turn was cut short.
    mutating func prepend(_ stream: StreamHandle) { insert(stream, atFront: true) }

    private mutating func insert(_ stream: StreamHandle, atFront: Bool) {
        guard !stream.queues.isReady else { return }
        stream.queues.isReady = true
        count += 1
        let index = stream.turnNumber
        while flows.count <= index { flows.append(Flow()) }
        stream.queues.readyIn = index
        if stream.queues.isBulk {
            Self.add(stream, to: &flows[index].bulk, atFront: atFront)
        } else {
            Self.add(stream, to: &flows[index].thin, atFront: atFront)
        }
        order.append(index)
    }

    private static func add(_ stream: StreamHandle, to list: inout List, atFront: Bool) {
        if atFront {
            stream.queues.nextReady = list.head
            list.head = stream
            if list.tail == nil { list.tail = stream }
        } else {
            if let tail = list.tail { tail.queues.nextReady = stream } else { list.head = stream }
            list.tail = stream
        }
    }

    private static func take(_ list: inout List) -> StreamHandle? {
        guard let stream = list.head else { return nil }
        list.head = stream.queues.nextReady
        if list.head == nil { list.tail = nil }
        stream.queues.nextReady = nil
        return stream
    }

    mutating func popFirst() -> StreamHandle? {
        while let index = order.first {
            if flows[index].isEmpty {
                order.removeFirst()
                flows[index].credit = 0  // who had nothing to send saved nothing up
                continue
            }
            if flows[index].credit <= 0 {
                flows[index].credit += Self.quantum
                order.rotate()  // alone he goes on at once
                continue
            }
            let bulkIsDue =
                flows[index].thin.head == nil
                || (flows[index].ahead >= Self.maximumAhead && flows[index].bulk.head != nil)
            flows[index].ahead = bulkIsDue ? 0 : flows[index].ahead + 1
            let taken = bulkIsDue ? Self.take(&flows[index].bulk) : Self.take(&flows[index].thin)
            guard let stream = taken else { continue }
            stream.queues.isReady = false
            count -= 1
            return stream
        }
        return nil
    }

    /// A visit of the stream is over: what it sent.
    mutating func charge(_ stream: StreamHandle, bytes: Int, segments: Int) {
        flows[stream.queues.readyIn].credit -= max(bytes, Self.minimumCharge)
        if segments >= Self.bulkSegments {
            stream.queues.isBulk = true
        } else if segments < Self.bulkSegments / 4 {
            stream.queues.isBulk = false
        }
    }
}

/// Streams whose owners are to hear of activity, users in turn.
struct ActivityQueue {
    private struct Flow {
        var head: StreamHandle?
        var tail: StreamHandle?
    }
    private var flows: [Flow] = [Flow()]
    /// Indices of those that have streams.
    private var order = TurnOrder()

    var isEmpty: Bool { order.isEmpty }

    mutating func append(_ stream: StreamHandle) {
        guard !stream.queues.isInActivity else { return }
        stream.queues.isInActivity = true
        let index = stream.turnNumber
        while flows.count <= index { flows.append(Flow()) }
        if let tail = flows[index].tail {
            tail.queues.nextInActivity = stream
        } else {
            flows[index].head = stream
        }
        flows[index].tail = stream
        order.append(index)
    }

    mutating func popFirst() -> StreamHandle? {
        guard let index = order.first, let stream = flows[index].head else { return nil }
        flows[index].head = stream.queues.nextInActivity
        stream.queues.nextInActivity = nil
        stream.queues.isInActivity = false
        if flows[index].head == nil {
            flows[index].tail = nil
            order.removeFirst()
        } else {
            order.rotate()
        }
        return stream
    }
}

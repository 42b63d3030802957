import Measures

/// A connection's place at its endpoint; another's after its end.
struct StreamSlot: Hashable, ExpressibleByIntegerLiteral {
    private let raw: UInt32
    var index: Int { Int(raw) }
    init(_ index: Int) { raw = UInt32(truncatingIfNeeded: index) }
    init(integerLiteral index: Int) { self.init(index) }
}

/// A session's place at its endpoint; another's after its end.
public struct SessionSlot: Hashable, Sendable, ExpressibleByIntegerLiteral,
    CustomStringConvertible
{
    /// From 0 on.
    public let index: Int
    init(_ index: Int) { self.index = index }
    /// The slot with this index, from 0 on.
    public init(integerLiteral index: Int) { self.index = index }
    /// The index.
    public var description: String { "\(index)" }
    /// Of the session that the header of a datagram names.
    init(of index: UInt32) { self.index = Int(index & 0xffff) }

    /// What names a session of this slot in headers, told apart from its former sessions by eight
    /// bits.
    func index(salt: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: index) | (salt & 0xff) << 16
    }
}

/// Handles of living connections, by slot.
struct StreamTable: Sequence {
    private var slots: [StreamHandle?] = []
    private var free: [StreamSlot] = []
    /// Those in the table.
    private(set) var living = 0
    /// Of slots that were ever taken.
    var count: Int { slots.count }

    func makeIterator() -> IndexingIterator<[StreamHandle?]> { slots.makeIterator() }

    /// Nil where there is none (any more).
    @inline(__always) subscript(slot: StreamSlot) -> StreamHandle? {
        slots.indices.contains(slot.index) ? slots[slot.index] : nil
    }

    /// Address space for `n`: a table that grew would move all at once. Memory comes with use.
    mutating func reserve(_ n: Int) {
        slots.reserveCapacity(n)
        free.reserveCapacity(n)
    }

    /// Gives the stream a slot.
    mutating func insert(_ stream: StreamHandle) {
        if let slot = free.popLast() {
            slots[slot.index] = stream
            stream.slot = slot
        } else {
            stream.slot = StreamSlot(slots.count)
            slots.append(stream)
        }
        living += 1
    }

    /// Takes the stream's slot away.
    mutating func remove(_ stream: StreamHandle) {
        guard let slot = stream.slot else { return }
        slots[slot.index] = nil
        free.append(slot)
        stream.slot = nil
        living -= 1
    }
}

/// Sessions by slot; a slot may be taken before its session is there.
struct SessionTable: Sequence {
    private var slots: [Session?] = []
    private var free: [SessionSlot] = []
    /// Of those whose records arrive.
    var mix = SessionMix()

    /// Of slots that were ever taken.
    var count: Int { slots.count }
    var first: Session?? { slots.first }

    func makeIterator() -> IndexingIterator<[Session?]> { slots.makeIterator() }

    /// Nil where there is none (any more); set for a slot that was taken.
    @inline(__always) subscript(slot: SessionSlot) -> Session? {
        get { slots.indices.contains(slot.index) ? slots[slot.index] : nil }
        set { slots[slot.index] = newValue }
    }

    /// Whether it has not ended: it stands in its slot.
    @inline(__always) func holds(_ session: Session) -> Bool { self[session.slot] === session }

    /// Nil where there are as many sessions as there may be.
    mutating func takeSlot() -> SessionSlot? {
        if let slot = free.popLast() { return slot }
        guard slots.count < Limits.sessions else { return nil }
        slots.append(nil)
        return SessionSlot(slots.count - 1)
    }

    mutating func giveBack(_ slot: SessionSlot) {
        slots[slot.index] = nil
        free.append(slot)
    }
}

/// When connections and sessions are to be called next.
struct Deadlines {
    private var streams = DeadlineHeap()
    private var sessions = DeadlineHeap()

    /// As `StreamTable.reserve`.
    mutating func reserve(streams n: Int) { streams.reserve(n) }

    var nextStream: Instant { streams.next }
    var nextSession: Instant { sessions.next }

    /// `.distantFuture`: not at all.
    mutating func set(_ slot: StreamSlot, _ due: Instant) { streams.set(slot.index, due) }
    mutating func set(_ slot: SessionSlot, _ due: Instant) { sessions.set(slot.index, due) }

    /// One that is due; nil where none is.
    mutating func popStream(at now: Instant) -> StreamSlot? {
        streams.popDue(at: now).map { StreamSlot($0) }
    }
    mutating func popSession(at now: Instant) -> SessionSlot? {
        sessions.popDue(at: now).map { SessionSlot($0) }
    }
}

import Buffers
import Measures

/// The receiving half of a connection's data: reassembly at data level, the window, DATA_FIN.
struct DataReceiver: ~Copyable {
    /// The most that is offered beyond what the application took, bytes; less where memory is
    /// short.
    let limit: Int
    /// A window that suffices for the first round trips; it grows with what the application takes.
    static let initialWindow = 1 << 20
    /// The most ranges ahead of a hole, over all subflows; what would make one more is not taken
    /// and comes again.
    static let rangeLimit = 2048
    /// The same for text of less than `smallText` bytes, of which a datagram may hold a hundred
    /// segments.
    static let smallRangeLimit = 256
    static let smallText = 256

    var ring: ByteRing
    private var arrived = OffsetRanges()
    private var wanted: Int
    /// The highest right edge told to the peer, as an offset; a promise that is kept.
    private(set) var advertisedEdge: UInt64 = 0
    /// Where the peer's DATA_FIN stands.
    private(set) var finOffset: UInt64?
    private(set) var duplicateBytes = 0

    // Dynamic right-sizing: what arrived in the current round trip, in order or not.
    private var roundEnd = Instant.zero
    private var arrivedInRound = 0

    init(limit: Int, share: MemoryShare? = nil) {
        self.limit = limit
        wanted = min(limit, Self.initialWindow)
        ring = ByteRing(limit: 2 * limit, share: share)
    }

    /// What is offered beyond what was taken: no more than the memory of whoever it is for allows.
    private var window: Int { ring.promisable(wanted) }

    /// Offset of the next byte expected: what DATA_ACK says (without DATA_FIN).
    var next: UInt64 { ring.end }
    var isFinReached: Bool { finOffset == ring.end }
    /// Bytes wait for others before them.
    var hasHoles: Bool { !arrived.isEmpty }
    var isEmpty: Bool { ring.count == 0 && arrived.isEmpty }
    /// Bytes acceptable beyond `next`; never takes back what was advertised.
    @inline(__always) var offered: Int { Int(rightEdge &- ring.end) }
    @inline(__always) private var rightEdge: UInt64 {
        max(ring.base &+ UInt64(window), advertisedEdge)
    }

    /// A segment tells the peer what is offered.
    @inline(__always) mutating func advertise() { advertisedEdge = rightEdge }

    /// Whether `start ..< end` lies below the right edge (parts below `next` are duplicates and
    /// harmless), and there is a place for one more range, where it makes one. Asked before the
    /// subflow's TCP takes the text, which is never repeated afterwards.
    ///
    /// Where memory has run out since it was promised, what would need more counts as lost: it is
    /// repeated until the application has taken what stands before it. So does what would make the
    /// ring grow twice within a few segments.
    mutating func accepts(_ start: UInt64, _ end: UInt64) -> Bool {
        guard end <= advertisedEdge || end <= ring.base &+ UInt64(window),
            end <= ring.base || ring.canHold(Int(end &- ring.base))
        else { return false }
        if isBeyondFin(end) { return false }
        return start <= ring.end || mayAddRange(start, end)
    }

    /// Text that ends at `end` contradicts the DATA_FIN that has come.
    func isBeyondFin(_ end: UInt64) -> Bool { finOffset.map { end > $0 } ?? false }

    private func mayAddRange(_ start: UInt64, _ end: UInt64) -> Bool {
        let limit = end &- start < Self.smallText ? Self.smallRangeLimit : Self.rangeLimit
        return arrived.count < limit || arrived.span(containing: start &- 1) != nil
    }

    /// Places bytes at their offset; true where `next` moved.
    mutating func place(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
        var offset = offset, bytes = bytes
        let end = offset &+ UInt64(bytes.count)
        guard end > ring.end else {
            duplicateBytes += bytes.count
            return false
        }
        if offset < ring.end {
            let old = Int(ring.end &- offset)
            duplicateBytes += old
            bytes = UnsafeRawBufferPointer(rebasing: bytes[old...])
            offset = ring.end
        }
        arrivedInRound += bytes.count
        if offset == ring.end, arrived.isEmpty {  // the common case: in order, nothing waits
            ring.place(bytes, at: offset)
            ring.advanceEnd(to: end)
            return true
        }
        placeBesides(bytes, at: offset)
        duplicateBytes += bytes.count - arrived.insert(offset, end)
        let reached = arrived.contiguousEnd(from: ring.end)
        guard reached > ring.end else { return false }
        ring.advanceEnd(to: reached)
        arrived.removeBelow(reached)
        return true
    }

    /// Bytes ahead of a hole: of what came before the first copy stays (RFC 8684 section 3.3.1).
    private mutating func placeBesides(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        let end = offset &+ UInt64(bytes.count)
        var from = offset, i = arrived.firstIndex(endingAfter: offset)
        while i < arrived.count, from < end {
            let to = min(end, arrived[i].start)
            if to > from {
                let first = Int(from &- offset)
                ring.place(
                    UnsafeRawBufferPointer(rebasing: bytes[first..<(first + Int(to &- from))]),
                    at: from)
            }
            from = max(from, arrived[i].end)
            i += 1
        }
        if from < end {
            ring.place(UnsafeRawBufferPointer(rebasing: bytes[Int(from &- offset)...]), at: from)
        }
    }

    /// Notes where the stream ends; false where that contradicts what is known.
    mutating func finish(at offset: UInt64) -> Bool {
        if let known = finOffset { return known == offset }
        guard offset >= ring.end,
            arrived.isEmpty || arrived[arrived.count - 1].end <= offset
        else { return false }
        finOffset = offset
        return true
    }

    /// The application took `n` bytes. Where it keeps up, the window grows to four times what
    /// arrives in a round trip (Fisk and Feng, dynamic right-sizing); counted on arrival, since
    /// behind a lost segment nothing can be taken although the paths bring as much as before.
    mutating func consume(_ n: Int, roundTrip: Interval, at now: Instant) {
        ring.discard(to: ring.base &+ UInt64(n))
        guard now >= roundEnd else { return }
        if arrivedInRound * 2 > wanted, ring.count < wanted / 4 {
            wanted = min(limit, max(wanted, arrivedInRound * 4))
        }
        arrivedInRound = 0
        roundEnd = now + max(roundTrip, .milliseconds(1))
    }

    /// Whether the window opened so far beyond what the peer knows that it should be told.
    func deservesUpdate(segment: Int) -> Bool {
        let window = window, edge = ring.base &+ UInt64(window)
        guard edge > advertisedEdge else { return false }
        let gain = Int(edge &- advertisedEdge),
            known = Int(advertisedEdge &- min(advertisedEdge, ring.end))
        return gain >= window / 2 || (known < 2 * segment && gain >= min(2 * segment, window / 2))
            || (known < window / 4 && gain >= window / 4)
    }
}

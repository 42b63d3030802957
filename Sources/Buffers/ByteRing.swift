/// Two pieces of one ring; the second is empty unless the range wraps.
public struct Pieces {
    /// The bytes up to the wrap, or all of them.
    public var first: UnsafeRawBufferPointer
    /// The bytes behind the wrap.
    public var second: UnsafeRawBufferPointer
    /// Two pieces that follow one another.
    @inlinable public init(first: UnsafeRawBufferPointer, second: UnsafeRawBufferPointer) {
        self.first = first
        self.second = second
    }
    /// Bytes in both.
    @inlinable @inline(__always) public var count: Int { first.count &+ second.count }
    /// The first `n` bytes, or all where there are fewer.
    public func prefix(_ n: Int) -> Pieces {
        if n >= count { return self }
        return Pieces(
            first: UnsafeRawBufferPointer(rebasing: first.prefix(n)),
            second: UnsafeRawBufferPointer(rebasing: second.prefix(max(0, n - first.count))))
    }
    /// A copy of both.
    public var bytes: [UInt8] { Array(first) + Array(second) }
    /// Pieces without any bytes.
    public static var empty: Pieces {
        Pieces(
            first: UnsafeRawBufferPointer(start: nil, count: 0),
            second: UnsafeRawBufferPointer(start: nil, count: 0))
    }
}

/// Bytes of a stream, addressed by their offset from its start, in a power-of-two ring that grows
/// on demand up to a limit and gives its memory back when empty.
///
/// The sender appends and discards what is acknowledged; the receiver places bytes at offsets ahead
/// of `end` and moves `end` on as holes fill; a ring is the one's or the other's. Both read by
/// offset. No allocation while the size suffices.
///
/// A large ring that grows keeps its old memory beside the new one, and moves a step of the bytes
/// with each that comes: a megabyte moved at once would be the most that any datagram costs.
public struct ByteRing: ~Copyable {
    /// Offset of the oldest byte kept.
    public private(set) var base: UInt64 = 0
    /// One past the newest byte in order.
    public private(set) var end: UInt64 = 0
    /// The most bytes ever kept (a power of two is not required).
    public let limit: Int

    private var storage: UnsafeMutableRawPointer?
    @usableFromInline private(set) var capacity = 0  // zero or a power of two

    @usableFromInline let share: MemoryShare?

    /// What the last growth has not moved yet.
    private struct Unmoved {
        let storage: UnsafeMutableRawPointer
        let capacity: Int
        /// The offsets whose bytes are there, and not yet in the new memory.
        var from, to: UInt64
    }
    private var unmoved: Unmoved?
    /// Bytes moved for a piece that is refused while a growth lasts. A datagram may hold a hundred.
    private let step: Int
    static let usualStep = 2 << 10
    /// A ring of less than so many steps moves at once.
    private static let stepsAtOnce = 64
    /// Bytes moved for each that comes: a growth is done long before the next one.
    private static let pace = 4

    static let smallest = 4096
    /// What malloc gives anyway. More is had by posix_memalign, whose freed pieces glibc before
    /// 2.38 does not find again for the next one: ten thousand connections that had each sent a
    /// little and freed their rings held 10 kB each.
    private static let alignment = 16
    /// Every ring may have this much whatever the share says, so that every stream gets on: its
    /// owner paid for it when the connection began.
    public static let prepaid = 8192

    /// `share`: whom the memory is put down to.
    public init(limit: Int, share: MemoryShare? = nil) {
        self.init(limit: limit, step: Self.usualStep, share: share)
    }
    init(limit: Int, step: Int, share: MemoryShare? = nil) {
        self.limit = limit
        self.step = step
        self.share = share
    }
    deinit {
        if capacity > Self.prepaid { share?.change(by: Self.prepaid - capacity) }
        storage?.deallocate()
        guard let unmoved else { return }
        share?.change(by: -unmoved.capacity)
        unmoved.storage.deallocate()
    }

    /// Bytes kept in order: from `base` to `end`.
    public var count: Int { Int(end &- base) }
    /// Bytes that may still be appended.
    public var space: Int { limit - count }
    /// Bytes of memory held at present.
    public var footprint: Int { capacity + (unmoved?.capacity ?? 0) }

    /// A contiguous piece to write up to `wanted` bytes into; shorter at the wrap or the limit,
    /// empty when full.
    public mutating func appendSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        var room = min(wanted, space)
        if count + room > capacity { room = min(room, affordable(count + room) - count) }
        guard room > 0 else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        ensure(count + room, keeping: count)
        // What is written behind the end must not be moved over.
        if let unmoved, unmoved.to > end { moveOn(.max) }
        let at = Int(truncatingIfNeeded: end) & (capacity - 1)
        return UnsafeMutableRawBufferPointer(start: storage! + at, count: min(room, capacity - at))
    }

    /// Whether `needed` bytes from `base` on have or may get memory; never more than the limit. Not
    /// before a growth that lasts is done, which is moved on by a step.
    @inlinable public mutating func canHold(_ needed: Int) -> Bool {
        needed <= limit && (needed <= capacity || mayGrow(toHold: needed))
    }

    @usableFromInline mutating func mayGrow(toHold needed: Int) -> Bool {
        if unmoved != nil {
            moveOn(step)
            guard unmoved == nil else { return false }
        }
        return needed <= Self.prepaid || extra(Self.size(for: needed)) <= share?.free ?? .max
    }

    /// The most bytes that should be promised to hold: what has memory already, or a part of what
    /// is free, so that later ones get some as well.
    @inlinable public func promisable(_ wanted: Int) -> Int {
        guard wanted > capacity, let share else { return wanted }
        return promisable(wanted, of: share)
    }

    @usableFromInline func promisable(_ wanted: Int, of share: MemoryShare) -> Int {
        min(wanted, max(capacity, Self.prepaid, share.free / Self.part))
    }

    /// Of what is free, one ring takes at most this part at once.
    private static let part = 4

    /// The largest size up to that for `needed` bytes that the share allows.
    private func affordable(_ needed: Int) -> Int {
        guard let share else { return needed }
        let free = share.free / Self.part
        var size = Self.size(for: needed)
        while size > max(capacity, Self.prepaid), extra(size) > free { size >>= 1 }
        return max(size, capacity)
    }

    /// The power of two that holds `needed` bytes. More than a ring's limit is refused before it is
    /// asked for, or the doubling would overflow to 0 and never end.
    private static func size(for needed: Int) -> Int {
        assert(needed <= 1 << 62, "no power of two holds so much")
        var size = smallest
        while size < needed { size <<= 1 }
        return size
    }

    /// What the share is charged for growing to `size`.
    private func extra(_ size: Int) -> Int {
        max(0, size - Self.prepaid) - max(0, capacity - Self.prepaid)
    }

    /// Declares that `n` bytes of the last `appendSpace` were written.
    public mutating func commit(_ n: Int) {
        precondition(n >= 0 && count + n <= capacity)
        end &+= UInt64(n)
        if unmoved != nil { moveOn(Self.pace * n) }
    }

    /// Appends as much as fits; the number of bytes taken.
    public mutating func append(_ bytes: UnsafeRawBufferPointer) -> Int {
        var taken = 0
        while taken < bytes.count {
            let piece = appendSpace(bytes.count - taken)
            if piece.isEmpty { break }
            piece.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: bytes[taken..<(taken + piece.count)]))
            commit(piece.count)
            taken += piece.count
        }
        return taken
    }

    /// Copies bytes to an offset at or ahead of `base`; the caller keeps within `base + limit` and
    /// later moves `end`.
    public mutating func place(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        let start = Int(offset &- base)
        precondition(start >= 0 && start + bytes.count <= limit, "placed outside the window")
        guard bytes.count > 0 else { return }
        // Placed bytes beyond `end` count too, so the whole old ring is kept.
        ensure(start + bytes.count, keeping: capacity)
        Self.copy(bytes, into: storage!, capacity, at: offset)
        if unmoved != nil { placeBeside(bytes, at: offset) }
    }

    private static func copy(
        _ bytes: UnsafeRawBufferPointer, into storage: UnsafeMutableRawPointer, _ capacity: Int,
        at offset: UInt64
    ) {
        let at = Int(truncatingIfNeeded: offset) & (capacity - 1)
        let head = min(bytes.count, capacity - at)
        (storage + at).copyMemory(from: bytes.baseAddress!, byteCount: head)
        if head < bytes.count {
            storage.copyMemory(from: bytes.baseAddress! + head, byteCount: bytes.count - head)
        }
    }

    /// Bytes that were placed while a growth lasts: what will be moved to their place later are
    /// they.
    @inline(never)
    private mutating func placeBeside(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        if let unmoved {
            let from = max(offset, unmoved.from),
                to = min(offset &+ UInt64(bytes.count), unmoved.to)
            if from < to {
                let part = bytes[Int(from &- offset)..<Int(to &- offset)]
                Self.copy(
                    UnsafeRawBufferPointer(rebasing: part), into: unmoved.storage, unmoved.capacity,
                    at: from)
            }
        }
        moveOn(Self.pace * bytes.count)
    }

    /// Moves the end of what is in order to `offset` (never back).
    public mutating func advanceEnd(to offset: UInt64) {
        precondition(offset >= end && Int(offset &- base) <= max(capacity, 0))
        end = offset
    }

    /// The bytes `offset ..< offset + count`, which must lie within what was appended or placed.
    public mutating func pieces(from offset: UInt64, count n: Int) -> Pieces {
        guard n > 0 else { return .empty }
        precondition(offset >= base && Int(offset &- base) + n <= capacity)
        if let unmoved, offset < unmoved.to, offset &+ UInt64(n) > unmoved.from {
            if offset >= unmoved.from, offset &+ UInt64(n) <= unmoved.to {
                return Self.pieces(unmoved.storage, unmoved.capacity, from: offset, count: n)
            }
            moveTogether(from: offset, to: offset &+ UInt64(n))
        }
        return Self.pieces(storage!, capacity, from: offset, count: n)
    }

    private static func pieces(
        _ storage: UnsafeMutableRawPointer, _ capacity: Int, from offset: UInt64, count n: Int
    ) -> Pieces {
        let at = Int(truncatingIfNeeded: offset) & (capacity - 1)
        let head = min(n, capacity - at)
        return Pieces(
            first: UnsafeRawBufferPointer(start: storage + at, count: head),
            second: UnsafeRawBufferPointer(start: storage, count: n - head))
    }

    /// Forgets everything before `offset` (at most `end`).
    public mutating func discard(to offset: UInt64) {
        precondition(offset >= base && offset <= end)
        base = offset
        if let unmoved, unmoved.to <= offset { moveOn(0) }
    }

    /// Gives the memory back where nothing is kept. The caller knows that nothing is placed ahead
    /// of `end`.
    public mutating func releaseIfEmpty() {
        guard count == 0, let old = storage else { return }
        forgetUnmoved()
        old.deallocate()
        storage = nil
        charge(0)
    }

    /// Gives back what the bytes kept don't need. The caller knows that nothing is placed ahead of
    /// `end`.
    public mutating func shrink() {
        if count == 0 { releaseIfEmpty(); return }
        moveOn(.max)
        let size = Self.size(for: count)
        if size < capacity { move(to: size, keeping: count) }
    }

    private mutating func charge(_ size: Int) {
        if let share { share.change(by: extra(size)) }
        capacity = size
    }

    /// Grows to hold `needed` bytes from `base`, keeping `kept` bytes from there at their offsets.
    @inline(__always) private mutating func ensure(_ needed: Int, keeping kept: Int) {
        if needed > capacity { grow(toHold: needed, keeping: kept) }
    }

    @inline(never) private mutating func grow(toHold needed: Int, keeping kept: Int) {
        moveOn(.max)
        let size = Self.size(for: needed)
        guard let old = storage, capacity >= Self.stepsAtOnce * step else {
            return move(to: size, keeping: kept)
        }
        unmoved = Unmoved(
            storage: old, capacity: capacity, from: base, to: base &+ UInt64(kept))
        share?.change(by: capacity)
        storage = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Self.alignment)
        charge(size)
    }

    /// Moves the `kept` bytes from `base` on into memory of `size`.
    private mutating func move(to size: Int, keeping kept: Int) {
        let fresh = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Self.alignment)
        if let old = storage {
            Self.copy(from: old, capacity, to: fresh, size, base..<base &+ UInt64(kept))
            old.deallocate()
        }
        storage = fresh
        charge(size)
    }

    /// The bytes of `offsets` from one ring's memory to another's.
    private static func copy(
        from old: UnsafeMutableRawPointer, _ capacity: Int, to fresh: UnsafeMutableRawPointer,
        _ size: Int, _ offsets: Range<UInt64>
    ) {
        var from = offsets.lowerBound
        while from < offsets.upperBound {
            let a = Int(truncatingIfNeeded: from) & (capacity - 1),
                b = Int(truncatingIfNeeded: from) & (size - 1)
            let n = min(Int(offsets.upperBound &- from), capacity - a, size - b)
            (fresh + b).copyMemory(from: old + a, byteCount: n)
            from &+= UInt64(n)
        }
    }

    // MARK: A growth that lasts

    /// Moves up to `bytes` of what is left of the last growth, from its front; what was discarded
    /// meanwhile need not be moved.
    private mutating func moveOn(_ bytes: Int) {
        guard var rest = unmoved else { return }
        rest.from = min(max(rest.from, base), rest.to)
        let to = rest.from &+ UInt64(min(bytes, Int(rest.to &- rest.from)))
        Self.copy(from: rest.storage, rest.capacity, to: storage!, capacity, rest.from..<to)
        rest.from = to
        unmoved = rest
        if to == rest.to { forgetUnmoved() }
    }

    /// Moves what keeps `from ..< to` from lying in one memory, no more than these bytes and those
    /// before them.
    @inline(never) private mutating func moveTogether(from: UInt64, to: UInt64) {
        guard var rest = unmoved else { return }
        guard from > rest.from else { return moveOn(Int(min(to, rest.to) &- rest.from)) }
        // Its front is old, and its end is new.
        Self.copy(from: rest.storage, rest.capacity, to: storage!, capacity, from..<rest.to)
        rest.to = from
        unmoved = rest
    }

    private mutating func forgetUnmoved() {
        guard let rest = unmoved else { return }
        rest.storage.deallocate()
        share?.change(by: -rest.capacity)
        unmoved = nil
    }
}

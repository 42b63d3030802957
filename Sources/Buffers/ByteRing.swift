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
    /// No bytes.
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
/// of
/// `end` and moves `end` on as holes fill. Both read by offset. No allocation while the size
/// suffices.
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

    static let smallest = 4096
    /// What malloc gives anyway. More is had by posix_memalign, whose freed pieces glibc before 2.38
    /// does not find again for the next one: ten thousand connections that had each sent a little
    /// and freed their rings held 10 kB each.
    private static let alignment = 16
    /// Every ring may have this much whatever the share says, so that every stream gets on: its
    /// owner paid for it when the connection began.
    public static let prepaid = 8192

    /// `share`: whom the memory is put down to.
    public init(limit: Int, share: MemoryShare? = nil) {
        self.limit = limit
        self.share = share
    }
    deinit {
        if capacity > Self.prepaid { share?.change(by: Self.prepaid - capacity) }
        storage?.deallocate()
    }

    /// Bytes kept in order: from `base` to `end`.
    public var count: Int { Int(end &- base) }
    /// Bytes that may still be appended.
    public var space: Int { limit - count }
    /// Bytes of memory held at present.
    public var footprint: Int { capacity }

    /// A contiguous piece to write up to `wanted` bytes into; shorter at the wrap or the limit,
    /// empty when full.
    public mutating func appendSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        var room = min(wanted, space)
        if count + room > capacity { room = min(room, affordable(count + room) - count) }
        guard room > 0 else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        ensure(count + room)
        let at = Int(truncatingIfNeeded: end) & (capacity - 1)
        return UnsafeMutableRawBufferPointer(start: storage! + at, count: min(room, capacity - at))
    }

    /// Whether `needed` bytes from `base` on have or may get memory; never more than the limit.
    @inlinable public func canHold(_ needed: Int) -> Bool {
        needed <= limit && (needed <= capacity || mayGrow(toHold: needed))
    }

    @usableFromInline func mayGrow(toHold needed: Int) -> Bool {
        needed <= Self.prepaid || extra(Self.size(for: needed)) <= share?.free ?? .max
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
        ensure(start + bytes.count)
        let at = Int(truncatingIfNeeded: offset) & (capacity - 1)
        let head = min(bytes.count, capacity - at)
        (storage! + at).copyMemory(from: bytes.baseAddress!, byteCount: head)
        if head < bytes.count {
            storage!.copyMemory(from: bytes.baseAddress! + head, byteCount: bytes.count - head)
        }
    }

    /// Moves the end of what is in order to `offset` (never back).
    public mutating func advanceEnd(to offset: UInt64) {
        precondition(offset >= end && Int(offset &- base) <= max(capacity, 0))
        end = offset
    }

    /// The bytes `offset ..< offset + count`, which must lie within what was appended or placed.
    public func pieces(from offset: UInt64, count n: Int) -> Pieces {
        guard n > 0 else { return .empty }
        precondition(offset >= base && Int(offset &- base) + n <= capacity)
        let at = Int(truncatingIfNeeded: offset) & (capacity - 1)
        let head = min(n, capacity - at)
        return Pieces(
            first: UnsafeRawBufferPointer(start: storage! + at, count: head),
            second: UnsafeRawBufferPointer(start: storage!, count: n - head))
    }

    /// Forgets everything before `offset` (at most `end`).
    public mutating func discard(to offset: UInt64) {
        precondition(offset >= base && offset <= end)
        base = offset
    }

    /// Gives the memory back where nothing is kept. The caller knows that nothing is placed ahead
    /// of `end`.
    public mutating func releaseIfEmpty() {
        guard count == 0, let old = storage else { return }
        old.deallocate()
        storage = nil
        charge(0)
    }

    /// Gives back what the bytes kept don't need. The caller knows that nothing is placed ahead of
    /// `end`.
    public mutating func shrink() {
        if count == 0 { releaseIfEmpty(); return }
        let size = Self.size(for: count)
        if size < capacity { move(to: size, keeping: count) }
    }

    private mutating func charge(_ size: Int) {
        if let share { share.change(by: extra(size)) }
        capacity = size
    }

    /// Grows to hold `needed` bytes from `base`, keeping every byte at its offset.
    private mutating func ensure(_ needed: Int) {
        guard needed > capacity else { return }
        // Placed bytes beyond `end` count too, so the whole old ring moves.
        move(to: Self.size(for: needed), keeping: capacity)
    }

    /// Moves the `kept` bytes from `base` on into memory of `size`.
    private mutating func move(to size: Int, keeping kept: Int) {
        let fresh = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Self.alignment)
        if let old = storage {
            var from = base, left = kept
            while left > 0 {
                let a = Int(truncatingIfNeeded: from) & (capacity - 1),
                    b = Int(truncatingIfNeeded: from) & (size - 1)
                let n = min(left, capacity - a, size - b)
                (fresh + b).copyMemory(from: old + a, byteCount: n)
                from &+= UInt64(n)
                left -= n
            }
            old.deallocate()
        }
        storage = fresh
        charge(size)
    }
}

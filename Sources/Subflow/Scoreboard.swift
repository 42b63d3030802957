import Measures

/// The retransmission queue: spans in sequence order in a power-of-two ring, and threaded through
/// it the spans in flight in the order of their latest transmission, which is what RACK walks.
///
/// Spans held for lost are a list of their own, in the same order, by the same links. Which are
/// delivered and which lost is said once more by a bit each, so that a block of thousands already
/// known is passed in a few steps: a peer may repeat it as often as it likes.
///
/// A span has a number that stays the same while the ring grows. Memory is taken with the first
/// span and given back by `releaseMemory()`; in between it only grows.
struct Scoreboard: ~Copyable {
    static let absent = UInt32.max
    /// The most spans in flight: of full segments they are the 8 MiB of the largest window. One
    /// acknowledgement may be of all of them, 8 nanoseconds each.
    static let limit = 5_888
    private static let numberMask: UInt32 = 0x7fff_ffff
    private static let smallest = 16

    private var records: UnsafeMutablePointer<SpanRecord>?
    /// By place in the ring.
    private var deliveredBits = SpanBits()
    private var lostBits = SpanBits()
    private(set) var capacity = 0
    /// The number of the oldest span.
    private(set) var first: UInt32 = 0
    private(set) var count = 0
    /// Ends of the list by transmission time.
    private(set) var oldestSent = Scoreboard.absent
    private(set) var newestSent = Scoreboard.absent
    /// Payload bytes in spans that are neither delivered nor held for lost (RFC 6675's pipe).
    private(set) var inFlight = 0
    /// Spans held for lost and not sent again yet.
    private(set) var lostCount = 0
    /// Spans delivered out of order.
    private(set) var deliveredCount = 0
    /// Ends of the list of lost spans by transmission time.
    private var oldestLost = Scoreboard.absent
    private var newestLost = Scoreboard.absent

    init() {}
    deinit {
        records?.deallocate()
        deliveredBits.free()
        lostBits.free()
    }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count >= Scoreboard.limit }

    @inline(__always) func number(at index: Int) -> UInt32 {
        (first &+ UInt32(truncatingIfNeeded: index)) & Scoreboard.numberMask
    }
    @inline(__always) func index(of number: UInt32) -> Int {
        Int((number &- first) & Scoreboard.numberMask)
    }
    /// The record of a living number; valid until the next `append`.
    @inline(__always) func record(_ number: UInt32) -> UnsafeMutablePointer<SpanRecord> {
        records.unsafelyUnwrapped + (Int(number) & (capacity &- 1))
    }

    func span(_ number: UInt32) -> SentSpan {
        let r = record(number)
        return SentSpan(
            sequence: r.pointee.sequence, length: Int(r.pointee.length),
            streamOffset: r.pointee.streamOffset, isSYN: r.pointee.flags.contains(.syn),
            isFIN: r.pointee.flags.contains(.fin),
            isDelivered: r.pointee.flags.contains(.delivered),
            isLost: r.pointee.flags.contains(.lost), sentAt: r.pointee.sentAt)
    }

    // MARK: Sending

    /// Adds what was just sent behind the rest, in flight; its number.
    mutating func append(_ new: SpanRecord) -> UInt32 {
        if count == capacity { grow() }
        let n = number(at: count)
        record(n).initialize(to: new)
        count &+= 1
        inFlight &+= Int(new.length)
        linkNewest(n)
        return n
    }

    /// A span was sent once more: it is in flight and the latest transmission.
    mutating func resent(_ n: UInt32) {
        let r = record(n)
        if r.pointee.flags.contains(.lost) {
            leaveLost(n)
            inFlight &+= Int(r.pointee.length)
        } else {
            unlink(n)
        }
        r.pointee.flags.insert(.retransmitted)
        linkNewest(n)
    }

    // MARK: Outcomes

    /// The span was acknowledged selectively.
    mutating func markDelivered(_ n: UInt32) {
        leaveFlight(n)
        record(n).pointee.flags.insert(.delivered)
        deliveredBits.set(place(n))
        deliveredCount &+= 1
    }

    mutating func markLost(_ n: UInt32) {
        let r = record(n)
        unlink(n)
        inFlight &-= Int(r.pointee.length)
        r.pointee.flags.insert(.lost)
        lostBits.set(place(n))
        lostCount &+= 1
        // What is lost was the oldest in flight, mostly, and sent after all that were lost before
        // it.
        var older = newestLost
        let sent = r.pointee.sentAt
        while older != Scoreboard.absent, record(older).pointee.sentAt > sent {
            older = record(older).pointee.older
        }
        let newer = older == Scoreboard.absent ? oldestLost : record(older).pointee.newer
        r.pointee.older = older
        r.pointee.newer = newer
        if older == Scoreboard.absent { oldestLost = n } else { record(older).pointee.newer = n }
        if newer == Scoreboard.absent { newestLost = n } else { record(newer).pointee.older = n }
    }

    /// Removes the oldest span, whatever its state.
    @inline(__always) mutating func removeFirst() {
        let r = record(first)
        if r.pointee.flags.contains(.delivered) {
            deliveredCount &-= 1
            deliveredBits.clear(place(first))
        } else {
            leaveFlight(first)
        }
        first = (first &+ 1) & Scoreboard.numberMask
        count &-= 1
    }

    /// The first `n` sequence numbers of the oldest span are acknowledged: it keeps the rest.
    mutating func trimFirst(_ n: Int) {
        let r = record(first)
        var bytes = n
        if bytes > 0, r.pointee.flags.contains(.syn) { r.pointee.flags.remove(.syn); bytes &-= 1 }
        r.pointee.sequence += n
        r.pointee.length &-= UInt32(bytes)
        r.pointee.streamOffset &+= UInt64(bytes)
        if r.pointee.flags.isDisjoint(with: [.lost, .delivered]) { inFlight &-= bytes }
    }

    /// The lost span with the lowest sequence number.
    func nextLost() -> UInt32? {
        guard lostCount > 0 else { return nil }
        let i = next(in: lostBits, inverted: 0, from: 0)
        assert(i < count, "a lost span is counted but not there")
        return i < count ? number(at: i) : nil
    }

    /// The first lost span that carries the byte at `offset` of the stream.
    func lost(carrying offset: UInt64) -> UInt32? {
        guard lostCount > 0 else { return nil }
        var i = next(in: lostBits, inverted: 0, from: 0)
        while i < count {
            let r = record(number(at: i))
            if offset >= r.pointee.streamOffset,
                offset &- r.pointee.streamOffset < UInt64(r.pointee.length)
            {
                return number(at: i)
            }
            i = next(in: lostBits, inverted: 0, from: i &+ 1)
        }
        return nil
    }

    /// The first index from `index` on whose span is not delivered; `count` where there is none.
    func nextUndelivered(from index: Int) -> Int {
        next(in: deliveredBits, inverted: .max, from: index)
    }

    /// The first index from `index` on whose bit, xor `inverted`, is set: a step for each 64 spans.
    private func next(in bits: borrowing SpanBits, inverted: UInt64, from index: Int) -> Int {
        let width = min(64, capacity)
        var i = index
        while i < count {
            let at = place(number(at: i)), left = width &- (at & (width &- 1))
            let skip = min(
                left, ((bits.word(at) ^ inverted) >> UInt64(at & 63)).trailingZeroBitCount)
            i &+= skip
            if skip < left { break }
        }
        return min(i, count)
    }

    /// Holds everything in flight for lost; the number of payload bytes.
    mutating func markAllLost() -> Int {
        let bytes = inFlight
        while oldestSent != Scoreboard.absent { markLost(oldestSent) }
        return bytes
    }

    /// Nothing was lost after all: spans held for lost are in flight as of their latest
    /// transmission.
    mutating func reviveLost() {
        var n = oldestLost
        while n != Scoreboard.absent {
            let r = record(n)
            r.pointee.flags.remove(.lost)
            lostBits.clear(place(n))
            inFlight &+= Int(r.pointee.length)
            n = r.pointee.newer
        }
        merge(oldestLost)
        lostCount = 0
        oldestLost = Scoreboard.absent
        newestLost = Scoreboard.absent
    }

    /// RFC 2018 section 8: the receiver may have dropped what it acknowledged selectively.
    mutating func forgetDeliveries() {
        var forgotten: [UInt32] = []
        forgotten.reserveCapacity(deliveredCount)
        for i in 0..<count {
            let n = number(at: i), r = record(n)
            guard r.pointee.flags.contains(.delivered) else { continue }
            r.pointee.flags.remove(.delivered)
            deliveredBits.clear(place(n))
            inFlight &+= Int(r.pointee.length)
            forgotten.append(n)
        }
        deliveredCount = 0
        forgotten.sort {
            let a = record($0).pointee.sentAt, b = record($1).pointee.sentAt
            return a == b ? index(of: $0) < index(of: $1) : a < b
        }
        for (i, n) in forgotten.enumerated() {
            record(n).pointee.newer = i + 1 < forgotten.count ? forgotten[i + 1] : Scoreboard.absent
        }
        merge(forgotten.first ?? Scoreboard.absent)
    }

    /// The index of the first span that starts at or after `sequence`; `count` where none does.
    func firstIndex(startingAtOrAfter sequence: SubflowSequence) -> Int {
        var low = 0, high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if record(number(at: middle)).pointee.sequence.distance(to: sequence) > 0 {
                low = middle &+ 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// Gives the memory back; only while empty.
    mutating func releaseMemory() {
        precondition(count == 0)
        records?.deallocate()
        records = nil
        deliveredBits.deallocate()
        lostBits.deallocate()
        capacity = 0
    }

    mutating func removeAll() {
        while count > 0 { removeFirst() }
    }

    // MARK: The list by time

    /// Where a span stands in the ring.
    @inline(__always) private func place(_ n: UInt32) -> Int { Int(n) & (capacity &- 1) }

    @inline(__always) private mutating func leaveFlight(_ n: UInt32) {
        let r = record(n)
        if r.pointee.flags.contains(.lost) {
            leaveLost(n)
        } else {
            unlink(n)
            inFlight &-= Int(r.pointee.length)
        }
    }

    @inline(never) private mutating func leaveLost(_ n: UInt32) {
        let r = record(n), older = r.pointee.older, newer = r.pointee.newer
        if older == Scoreboard.absent {
            oldestLost = newer
        } else {
            record(older).pointee.newer = newer
        }
        if newer == Scoreboard.absent {
            newestLost = older
        } else {
            record(newer).pointee.older = older
        }
        r.pointee.flags.remove(.lost)
        lostBits.clear(place(n))
        lostCount &-= 1
    }

    private mutating func linkNewest(_ n: UInt32) {
        let r = record(n)
        r.pointee.newer = Scoreboard.absent
        r.pointee.older = newestSent
        if newestSent == Scoreboard.absent {
            oldestSent = n
        } else {
            record(newestSent).pointee.newer = n
        }
        newestSent = n
    }

    @inline(__always) private mutating func unlink(_ n: UInt32) {
        let r = record(n), older = r.pointee.older, newer = r.pointee.newer
        if older == Scoreboard.absent {
            oldestSent = newer
        } else {
            record(older).pointee.newer = newer
        }
        if newer == Scoreboard.absent {
            newestSent = older
        } else {
            record(newer).pointee.older = older
        }
    }

    /// Puts a list of spans that begins with `start`, in the order of transmission, into that of
    /// what is in flight: one pass through both.
    private mutating func merge(_ start: UInt32) {
        var a = oldestSent, b = start, last = Scoreboard.absent
        while b != Scoreboard.absent {
            let takesB =
                a == Scoreboard.absent || record(b).pointee.sentAt < record(a).pointee.sentAt
            let n = takesB ? b : a
            if takesB { b = record(n).pointee.newer } else { a = record(n).pointee.newer }
            record(n).pointee.older = last
            if last == Scoreboard.absent { oldestSent = n } else { record(last).pointee.newer = n }
            last = n
        }
        guard last != Scoreboard.absent else { return }
        record(last).pointee.newer = a
        if a == Scoreboard.absent { newestSent = last } else { record(a).pointee.older = last }
    }

    private mutating func grow() {
        let larger = max(Scoreboard.smallest, capacity * 2)
        let fresh = UnsafeMutablePointer<SpanRecord>.allocate(capacity: larger)
        for i in 0..<count {
            let n = Int(number(at: i))
            (fresh + (n & (larger - 1))).initialize(to: records![n & (capacity - 1)])
        }
        records?.deallocate()
        records = fresh
        capacity = larger
        deliveredBits.resize(larger)
        lostBits.resize(larger)
        for i in 0..<count {
            let n = number(at: i), flags = record(n).pointee.flags
            if flags.contains(.delivered) { deliveredBits.set(place(n)) }
            if flags.contains(.lost) { lostBits.set(place(n)) }
        }
    }
}

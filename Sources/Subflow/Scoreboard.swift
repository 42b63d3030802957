import Measures

/// The retransmission queue: spans in sequence order in a power-of-two ring.
///
/// Which are delivered, held for lost, and sent more than once is said by a bit each, so that what
/// one acknowledgement, or a loss, says of thousands is done for 64 at a time: a peer may say it as
/// often as it likes. Spans sent once are in the order of their transmission; of the others a log
/// has that order. RACK walks both.
///
/// A span has a number that stays the same while the ring grows. Memory is taken with the first
/// span and given back by `releaseMemory()`; in between it only grows.
struct Scoreboard: ~Copyable {
    static let absent = UInt32.max
    /// The most spans in flight: of full segments they are the 8 MiB of the largest window. One
    /// acknowledgement may be of all of them.
    static let limit = 5_888
    private static let numberMask: UInt32 = 0x7fff_ffff
    private static let smallest = 16

    private var records: UnsafeMutablePointer<SpanRecord>?
    /// By place in the ring; clear where no span is. What is delivered is not lost.
    private var delivered = SpanBits()
    private var lost = SpanBits()
    private var repeated = SpanBits()
    private var again = RetransmissionLog()
    private(set) var capacity = 0
    /// The number of the oldest span.
    private(set) var first: UInt32 = 0
    private(set) var count = 0
    /// None before it is in flight that was sent once; may have been removed.
    private var onceFrom: UInt32 = 0
    /// Payload bytes in spans that are neither delivered nor held for lost (RFC 6675's pipe).
    private(set) var inFlight = 0
    /// Payload bytes in spans held for lost.
    private var lostBytes = 0
    /// Spans held for lost and not sent again yet.
    private(set) var lostCount = 0
    /// Spans delivered out of order.
    private(set) var deliveredCount = 0

    init() {}
    deinit {
        records?.deallocate()
        delivered.free()
        lost.free()
        repeated.free()
        again.free()
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
        records.unsafelyUnwrapped + place(number)
    }
    /// Where a span stands in the ring.
    @inline(__always) private func place(_ n: UInt32) -> Int { Int(n) & (capacity &- 1) }

    /// Acknowledged selectively.
    @inline(__always) func isDelivered(_ n: UInt32) -> Bool { delivered.isSet(place(n)) }
    /// Held for lost and not sent again yet.
    @inline(__always) func isLost(_ n: UInt32) -> Bool { lost.isSet(place(n)) }
    @inline(__always) func isInFlight(_ n: UInt32) -> Bool {
        let at = place(n)
        return (delivered.word(at) | lost.word(at)) >> UInt64(at & 63) & 1 == 0
    }

    func span(_ number: UInt32) -> SentSpan {
        let r = record(number)
        return SentSpan(
            sequence: r.pointee.sequence, length: Int(r.pointee.length),
            streamOffset: r.pointee.streamOffset, isSYN: r.pointee.flags.contains(.syn),
            isFIN: r.pointee.flags.contains(.fin), isDelivered: isDelivered(number),
            isLost: isLost(number), sentAt: r.pointee.sentAt)
    }

    // MARK: Sending

    /// Adds what was just sent behind the rest, in flight; its number.
    mutating func append(_ new: SpanRecord) -> UInt32 {
        if count == capacity { grow() }
        let n = number(at: count)
        record(n).initialize(to: new)
        count &+= 1
        inFlight &+= Int(new.length)
        return n
    }

    /// A span was sent once more: it is in flight and the latest transmission.
    mutating func resent(_ n: UInt32) {
        let r = record(n), at = place(n)
        if lost.isSet(at) {
            leaveLost(at, Int(r.pointee.length))
            inFlight &+= Int(r.pointee.length)
        }
        r.pointee.flags.insert(.retransmitted)
        repeated.set(at)
        if again.isFull { compactLog() }
        r.pointee.logEntry = again.append(n)
    }

    /// Drops what of the log says nothing any more.
    private mutating func compactLog() {
        var kept: UInt32 = 0, cursor: UInt32?
        for entry in 0..<again.end {
            if entry == again.cursor { cursor = kept }
            let n = again.number(entry)
            guard isLatest(entry, of: n) else { continue }
            record(n).pointee.logEntry = kept
            again.keep(n, as: kept)
            kept &+= 1
        }
        again.keptAll(kept, cursor: cursor ?? kept)
    }

    /// Whether the log's entry tells of the latest transmission of a span that is there.
    @inline(__always) private func isLatest(_ entry: UInt32, of n: UInt32) -> Bool {
        index(of: n) < count && repeated.isSet(place(n)) && record(n).pointee.logEntry == entry
    }

    // MARK: Outcomes

    /// The span was acknowledged selectively.
    @inline(__always) mutating func markDelivered(_ n: UInt32) {
        let at = place(n)
        leaveFlight(at, Int(record(n).pointee.length))
        delivered.set(at)
        deliveredCount &+= 1
    }

    /// The span, which is in flight, is held for lost.
    @inline(__always) mutating func markLost(_ n: UInt32) {
        let length = Int(record(n).pointee.length)
        inFlight &-= length
        lostBytes &+= length
        lost.set(place(n))
        lostCount &+= 1
    }

    @inline(__always) private mutating func leaveFlight(_ at: Int, _ length: Int) {
        if lost.isSet(at) { leaveLost(at, length) } else { inFlight &-= length }
    }

    private mutating func leaveLost(_ at: Int, _ length: Int) {
        lost.clear(at)
        lostCount &-= 1
        lostBytes &-= length
    }

    /// Removes the oldest span, whatever its state.
    @inline(__always) mutating func removeFirst() {
        let at = place(first)
        if delivered.isSet(at) {
            deliveredCount &-= 1
            delivered.clear(at)
        } else {
            leaveFlight(at, Int(record(first).pointee.length))
        }
        repeated.clear(at)
        first = (first &+ 1) & Scoreboard.numberMask
        count &-= 1
        if count == 0 { again.removeAll() }
    }

    /// Removes the `n` oldest spans, all of them delivered.
    mutating func removeFirst(delivered n: Int) {
        var i = 0
        while i < n {
            let stretch = stretch(from: i, to: n)
            i &+= stretch.count
            assert(delivered.word(stretch.place) & stretch.bits == stretch.bits)
            delivered.clear(stretch.bits, at: stretch.place)
            repeated.clear(stretch.bits, at: stretch.place)
        }
        deliveredCount &-= n
        first = number(at: n)
        count &-= n
        if count == 0 { again.removeAll() }
    }

    /// The first `n` sequence numbers of the oldest span are acknowledged: it keeps the rest.
    mutating func trimFirst(_ n: Int) {
        let r = record(first)
        var bytes = n
        if bytes > 0, r.pointee.flags.contains(.syn) { r.pointee.flags.remove(.syn); bytes &-= 1 }
        r.pointee.sequence += n
        r.pointee.length &-= UInt32(bytes)
        r.pointee.streamOffset &+= UInt64(bytes)
        if isLost(first) { lostBytes &-= bytes } else if !isDelivered(first) { inFlight &-= bytes }
    }

    /// The lost span with the lowest sequence number.
    func nextLost() -> UInt32? {
        guard lostCount > 0 else { return nil }
        let i = next(in: lost, inverted: 0, from: 0)
        assert(i < count, "a lost span is counted but not there")
        return i < count ? number(at: i) : nil
    }

    /// The first lost span that carries the byte at `offset` of the stream.
    func lost(carrying offset: UInt64) -> UInt32? {
        guard lostCount > 0 else { return nil }
        var i = next(in: lost, inverted: 0, from: 0)
        while i < count {
            let r = record(number(at: i))
            if offset >= r.pointee.streamOffset,
                offset &- r.pointee.streamOffset < UInt64(r.pointee.length)
            {
                return number(at: i)
            }
            i = next(in: lost, inverted: 0, from: i &+ 1)
        }
        return nil
    }

    /// The first index from `index` on whose span is not delivered; `count` where there is none.
    func nextUndelivered(from index: Int) -> Int {
        next(in: delivered, inverted: .max, from: index)
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
        var i = 0
        while i < count {
            let stretch = stretch(from: i, to: count)
            i &+= stretch.count
            lost.set(stretch.bits & ~delivered.word(stretch.place), at: stretch.place)
        }
        lostCount = count &- deliveredCount
        lostBytes &+= inFlight
        inFlight = 0
        return bytes
    }

    /// Nothing was lost after all: spans held for lost are in flight as of their latest
    /// transmission.
    mutating func reviveLost() {
        lost.clearAll()
        inFlight &+= lostBytes
        lostBytes = 0
        lostCount = 0
        walkAgain()
    }

    /// RFC 2018 section 8: the receiver may have dropped what it acknowledged selectively.
    mutating func forgetDeliveries() {
        var i = 0
        while i < count {
            let stretch = stretch(from: i, to: count)
            i &+= stretch.count
            inFlight &+= bytes(of: delivered.word(stretch.place) & stretch.bits, in: stretch)
        }
        delivered.clearAll()
        deliveredCount = 0
        walkAgain()
    }

    // MARK: Many at once

    /// Neighbours whose bits stand in one word.
    struct Stretch {
        /// Of the word's first bit.
        var place: Int
        /// Which of the word's.
        var bits: UInt64
        var count: Int
        /// What of it is not `bits`.
        @inline(__always) func with(_ bits: UInt64) -> Stretch {
            Stretch(place: place, bits: bits, count: count)
        }
    }

    /// The first spans of those from `index` up to `end`, which is more.
    @inline(__always) func stretch(from index: Int, to end: Int) -> Stretch {
        let width = min(64, capacity), at = place(number(at: index)), bit = at & (width &- 1)
        let n = min(width &- bit, end &- index)
        return Stretch(
            place: at &- bit, bits: (UInt64.max >> UInt64(64 &- n)) << UInt64(bit), count: n)
    }

    @inline(__always)
    func record(_ bit: Int, of stretch: Stretch) -> UnsafeMutablePointer<SpanRecord> {
        records.unsafelyUnwrapped + (stretch.place &+ bit)
    }
    /// Of the span with that bit.
    func number(_ bit: Int, of stretch: Stretch) -> UInt32 {
        number(at: (stretch.place &+ bit &- place(first)) & (capacity &- 1))
    }
    @inline(__always) func undelivered(_ stretch: Stretch) -> UInt64 {
        stretch.bits & ~delivered.word(stretch.place)
    }
    @inline(__always) func lost(_ stretch: Stretch) -> UInt64 {
        stretch.bits & lost.word(stretch.place)
    }
    @inline(__always) func repeated(_ stretch: Stretch) -> UInt64 {
        stretch.bits & repeated.word(stretch.place)
    }

    /// Payload bytes of the spans `bits` of a stretch. SYN is the first of all, FIN the last.
    func bytes(of bits: UInt64, in stretch: Stretch) -> Int {
        guard bits != 0 else { return 0 }
        let low = bits.trailingZeroBitCount, high = 63 &- bits.leadingZeroBitCount
        let run = bits >> UInt64(low)
        if run & (run &+ 1) == 0 {
            // One piece.
            let a = record(low, of: stretch), b = record(high, of: stretch)
            return a.pointee.sequence.distance(to: b.pointee.end)
                &- (a.pointee.flags.contains(.syn) ? 1 : 0)
                &- (b.pointee.flags.contains(.fin) ? 1 : 0)
        }
        var left = bits, sum = 0
        while left != 0 {
            sum &+= Int(record(left.trailingZeroBitCount, of: stretch).pointee.length)
            left &= left &- 1
        }
        return sum
    }

    /// Those of a stretch that `undelivered` told, of `bytes` in all, were acknowledged.
    mutating func markDelivered(_ stretch: Stretch, bytes total: Int) {
        let held = lost(stretch)
        if held != 0 {
            let heldBytes = held == stretch.bits ? total : bytes(of: held, in: stretch)
            lost.clear(held, at: stretch.place)
            lostCount &-= held.nonzeroBitCount
            lostBytes &-= heldBytes
            inFlight &-= total &- heldBytes
        } else {
            inFlight &-= total
        }
        delivered.set(stretch.bits, at: stretch.place)
        deliveredCount &+= stretch.bits.nonzeroBitCount
    }

    /// Those of a stretch, all in flight, are held for lost; how many.
    mutating func markLost(_ stretch: Stretch) -> Int {
        let bytes = bytes(of: stretch.bits, in: stretch), n = stretch.bits.nonzeroBitCount
        inFlight &-= bytes
        lostBytes &+= bytes
        lost.set(stretch.bits, at: stretch.place)
        lostCount &+= n
        return n
    }

    // MARK: By the time of transmission

    /// The oldest spans in flight that were sent once, as far as they stand in one word: in the
    /// order of transmission. Nil where there are none.
    mutating func oldestOnce() -> Stretch? {
        var i = index(of: onceFrom)
        if i > count { i = 0 }  // it was removed
        while i < count {
            let stretch = stretch(from: i, to: count), at = stretch.place
            let bits =
                stretch.bits & ~(delivered.word(at) | lost.word(at) | repeated.word(at))
            if bits != 0 {
                onceFrom = number(at: i)
                return stretch.with(bits)
            }
            i &+= stretch.count
        }
        onceFrom = number(at: count)
        return nil
    }

    /// The span in flight that was sent again, and that longest ago.
    mutating func oldestAgain() -> UInt32? {
        while again.cursor != again.end {
            let n = again.number(again.cursor)
            if isLatest(again.cursor, of: n), isInFlight(n) { return n }
            again.cursor &+= 1
        }
        return nil
    }

    /// What was passed may be in flight again.
    private mutating func walkAgain() {
        onceFrom = first
        again.cursor = 0
    }

    // MARK: Finding

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

    // MARK: Memory

    /// Gives the memory back; only while empty.
    mutating func releaseMemory() {
        precondition(count == 0)
        records?.deallocate()
        records = nil
        delivered.deallocate()
        lost.deallocate()
        repeated.deallocate()
        again.deallocate()
        capacity = 0
    }

    mutating func removeAll() {
        delivered.clearAll()
        lost.clearAll()
        repeated.clearAll()
        again.removeAll()
        first = number(at: count)
        count = 0
        inFlight = 0
        lostBytes = 0
        lostCount = 0
        deliveredCount = 0
    }

    private mutating func grow() {
        let larger = max(Scoreboard.smallest, capacity * 2)
        let fresh = UnsafeMutablePointer<SpanRecord>.allocate(capacity: larger)
        var bits = (SpanBits(), SpanBits(), SpanBits())
        bits.0.resize(larger)
        bits.1.resize(larger)
        bits.2.resize(larger)
        for i in 0..<count {
            let n = number(at: i), at = Int(n) & (larger - 1), before = place(n)
            (fresh + at).initialize(to: records![before])
            if delivered.isSet(before) { bits.0.set(at) }
            if lost.isSet(before) { bits.1.set(at) }
            if repeated.isSet(before) { bits.2.set(at) }
        }
        records?.deallocate()
        delivered.free()
        lost.free()
        repeated.free()
        records = fresh
        (delivered, lost, repeated) = bits
        capacity = larger
    }
}

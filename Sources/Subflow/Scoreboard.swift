import Measures

/// One span sent and not yet cumulatively acknowledged: one cache line.
struct SpanRecord {
    struct Flags: OptionSet {
        var rawValue: UInt8
        static let syn = Flags(rawValue: 1)
        static let fin = Flags(rawValue: 2)
        /// Acknowledged selectively.
        static let delivered = Flags(rawValue: 4)
        /// Held for lost and not sent again yet; neither in flight nor in the list by time.
        static let lost = Flags(rawValue: 8)
        static let retransmitted = Flags(rawValue: 16)
        /// Sent while the owner had too little data to fill the window.
        static let applicationLimited = Flags(rawValue: 32)
    }

    var sequence: SubflowSequence
    var length: UInt32
    var streamOffset: UInt64
    /// When it was last sent.
    var sentAt: Instant
    // The connection's delivery state when it was last sent (BBR draft section 4.1.1.2).
    var delivered: UInt64 = 0
    var deliveredAt = Instant.zero
    var firstSentAt = Instant.zero
    // Links of the list by time of transmission: numbers of spans, or `Scoreboard.absent`.
    var older = Scoreboard.absent
    var newer = Scoreboard.absent
    var inFlightWhenSent: UInt32 = 0
    var flags: Flags

    /// Sequence numbers it covers.
    @inline(__always) var extent: Int {
        Int(length) &+ (flags.contains(.syn) ? 1 : 0) &+ (flags.contains(.fin) ? 1 : 0)
    }
    @inline(__always) var end: SubflowSequence { sequence + extent }
}

/// The retransmission queue: spans in sequence order in a power-of-two ring, and threaded through it the
/// spans in flight in the order of their latest transmission, which is what RACK walks.
///
/// A span has a number that stays the same while the ring grows. Memory is taken with the first span and
/// given back by `releaseMemory()`; in between it only grows.
struct Scoreboard: ~Copyable {
    static let absent = UInt32.max
    /// The most spans in flight: 2^18 of 1400 bytes are 10 Gbit/s over 290 ms.
    static let limit = 1 << 18
    private static let numberMask: UInt32 = 0x7fff_ffff
    private static let smallest = 16

    private var records: UnsafeMutablePointer<SpanRecord>?
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
    /// No lost span has a smaller index than this one's.
    private var lostHint: UInt32 = 0

    init() {}
    deinit { records?.deallocate() }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count >= Scoreboard.limit }

    @inline(__always) func number(at index: Int) -> UInt32 {
        (first &+ UInt32(truncatingIfNeeded: index)) & Scoreboard.numberMask
    }
    @inline(__always) func index(of number: UInt32) -> Int { Int((number &- first) & Scoreboard.numberMask) }
    /// The record of a living number; valid until the next `append`.
    @inline(__always) func record(_ number: UInt32) -> UnsafeMutablePointer<SpanRecord> {
        records.unsafelyUnwrapped + (Int(number) & (capacity &- 1))
    }

    func span(_ number: UInt32) -> SentSpan {
        let r = record(number)
        return SentSpan(sequence: r.pointee.sequence, length: Int(r.pointee.length),
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
            r.pointee.flags.remove(.lost)
            lostCount &-= 1
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
        deliveredCount &+= 1
    }

    mutating func markLost(_ n: UInt32) {
        let r = record(n)
        unlink(n)
        inFlight &-= Int(r.pointee.length)
        r.pointee.flags.insert(.lost)
        if lostCount == 0 || index(of: n) < index(of: lostHint) { lostHint = n }
        lostCount &+= 1
    }

    /// Removes the oldest span, whatever its state.
    mutating func removeFirst() {
        let r = record(first)
        if r.pointee.flags.contains(.delivered) { deliveredCount &-= 1 } else { leaveFlight(first) }
        let next = (first &+ 1) & Scoreboard.numberMask
        if lostHint == first { lostHint = next }
        first = next
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
    mutating func nextLost() -> UInt32? {
        guard lostCount > 0 else { return nil }
        var i = index(of: lostHint)
        while i < count {
            let n = number(at: i)
            if record(n).pointee.flags.contains(.lost) { lostHint = n; return n }
            i &+= 1
        }
        preconditionFailure("a lost span is counted but not there")
    }

    /// Holds everything in flight for lost; the number of payload bytes.
    mutating func markAllLost() -> Int {
        let bytes = inFlight
        while oldestSent != Scoreboard.absent { markLost(oldestSent) }
        return bytes
    }

    /// Nothing was lost after all: spans held for lost are in flight as of their latest transmission.
    mutating func reviveLost() {
        var i = count &- 1
        while i >= 0, lostCount > 0 {
            let n = number(at: i), r = record(n)
            if r.pointee.flags.contains(.lost) {
                r.pointee.flags.remove(.lost)
                lostCount &-= 1
                inFlight &+= Int(r.pointee.length)
                linkByTime(n)
            }
            i &-= 1
        }
    }

    /// RFC 2018 section 8: the receiver may have dropped what it acknowledged selectively.
    mutating func forgetDeliveries() {
        for i in 0..<count {
            let n = number(at: i), r = record(n)
            guard r.pointee.flags.contains(.delivered) else { continue }
            r.pointee.flags.remove(.delivered)
            deliveredCount &-= 1
            inFlight &+= Int(r.pointee.length)
            linkByTime(n)
        }
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
        capacity = 0
    }

    mutating func removeAll() {
        while count > 0 { removeFirst() }
    }

    // MARK: The list by time

    private mutating func leaveFlight(_ n: UInt32) {
        let r = record(n)
        if r.pointee.flags.contains(.lost) {
            r.pointee.flags.remove(.lost)
            lostCount &-= 1
        } else {
            unlink(n)
            inFlight &-= Int(r.pointee.length)
        }
    }

    private mutating func linkNewest(_ n: UInt32) {
        let r = record(n)
        r.pointee.newer = Scoreboard.absent
        r.pointee.older = newestSent
        if newestSent == Scoreboard.absent { oldestSent = n } else { record(newestSent).pointee.newer = n }
        newestSent = n
    }

    private mutating func unlink(_ n: UInt32) {
        let r = record(n), older = r.pointee.older, newer = r.pointee.newer
        if older == Scoreboard.absent { oldestSent = newer } else { record(older).pointee.newer = newer }
        if newer == Scoreboard.absent { newestSent = older } else { record(newer).pointee.older = older }
    }

    private mutating func linkByTime(_ n: UInt32) {
        let sent = record(n).pointee.sentAt
        var next = oldestSent
        while next != Scoreboard.absent, record(next).pointee.sentAt < sent {
            next = record(next).pointee.newer
        }
        guard next != Scoreboard.absent else { return linkNewest(n) }
        let older = record(next).pointee.older
        record(n).pointee.older = older
        record(n).pointee.newer = next
        record(next).pointee.older = n
        if older == Scoreboard.absent { oldestSent = n } else { record(older).pointee.newer = n }
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
    }
}

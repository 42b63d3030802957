import Buffers
import Measures

/// The sending half of a connection's data: what the application wrote, how far it was scheduled
/// and acknowledged at data level, and what must be sent a second time on another subflow.
///
/// Everything is counted in offsets from the first byte; offset n has the data sequence number
/// `first + n` (RFC 8684 section 3.3.1). DATA_FIN takes the offset behind the last byte.
struct DataSender: ~Copyable {
    let first: DataSequence
    var ring: ByteRing
    /// Offset of the next byte that was never scheduled.
    private(set) var next: UInt64 = 0
    /// Everything before it has a DATA_ACK.
    private(set) var acknowledged: UInt64 = 0
    /// The peer takes bytes below it (right edge of its window).
    private(set) var edge: UInt64
    /// Where DATA_FIN stands, once the application finished.
    private(set) var finOffset: UInt64?
    private(set) var isFinAcknowledged = false
    /// Scheduled bytes that go again on another subflow, in data order: what blocks the receiver
    /// first.
    private(set) var reinjections = OffsetRanges()
    /// Deferred reinjections: scheduled bytes whose path is gone, but that may have arrived before.
    /// They go after the others, unless a DATA_ACK covers them meanwhile.
    private(set) var deferred = OffsetRanges()
    /// When some were deferred last.
    private(set) var deferredSince = Instant.zero
    /// The last bytes that were sent, where they left just before their path ended: they may have
    /// found the interface closed though all before them arrives. While that is uncertain they go
    /// apart from the others.
    private(set) var newest: OffsetRanges.Span?
    /// Whether what goes again is needed is to be heard yet.
    private(set) var uncertainLoss = UncertainLoss()
    /// Below it, tail and blocked data was already copied to a faster subflow once.
    var copiedBelow: UInt64 = 0

    init(first: DataSequence, limit: Int, share: MemoryShare? = nil, initialEdge: UInt64) {
        self.first = first
        ring = ByteRing(limit: limit, share: share)
        edge = initialEdge
    }

    func sequence(at offset: UInt64) -> DataSequence { first + Int(offset) }

    /// Bytes written that no subflow has carried yet, whatever the window.
    var backlog: Int { Int(ring.end &- next) }
    /// Bytes that may be scheduled now.
    var sendable: Int { Int(min(ring.end, max(edge, next)) &- next) }
    /// The window, not the application, holds the next byte back.
    var isWindowBlocked: Bool { next >= edge && ring.end > next }
    var hasUnacknowledged: Bool { next > acknowledged }
    /// DATA_FIN may be sent: everything before it was scheduled.
    var isFinDue: Bool { finOffset != nil && !isFinAcknowledged && next == ring.end }

    /// DATA_FIN alone waits for its acknowledgement.
    var isOnlyFinUnacknowledged: Bool {
        finOffset != nil && !isFinAcknowledged && acknowledged == ring.end
    }

    /// Some bytes go again, now or unless they are acknowledged first.
    @inline(__always) var hasReinjections: Bool {
        !reinjections.isEmpty || !deferred.isEmpty || newest != nil
    }

    mutating func assumeFinAcknowledged() { isFinAcknowledged = true }

    mutating func scheduled(_ n: Int) {
        next &+= UInt64(n)
        assert(next <= ring.end)
    }

    mutating func finish() { if finOffset == nil { finOffset = ring.end } }

    /// Takes a DATA_ACK; false where it acknowledges what was never sent, or is old.
    mutating func acknowledge(_ number: DataSequence) -> Bool {
        let ahead = sequence(at: acknowledged).distance(to: number)
        guard ahead >= 0 else { return true }
        var offset = acknowledged &+ UInt64(ahead)
        if let fin = finOffset, offset == fin &+ 1 {
            isFinAcknowledged = true
            offset = fin
        }
        guard offset <= next else { return false }
        acknowledged = offset
        reinjections.removeBelow(offset)
        deferred.removeBelow(offset)
        trimNewest(to: offset)
        if !hasReinjections { uncertainLoss.resolve() }
        return true
    }

    /// The peer's window, counted from the DATA_ACK it came with: the right edge never moves back
    /// (RFC 8684 section 3.3.1).
    mutating func openWindow(from number: DataSequence, bytes: Int) {
        let base = sequence(at: acknowledged).distance(to: number) + Int(acknowledged)
        let candidate = base + bytes
        if candidate > 0, UInt64(candidate) > edge { edge = UInt64(candidate) }
    }

    /// Notes that `start ..< end` must go again; what has a DATA_ACK is left out.
    mutating func reinject(_ start: UInt64, _ end: UInt64) {
        reinjections.insert(max(start, acknowledged), end)
    }

    /// The same for many ranges.
    mutating func reinject(_ ranges: consuming OffsetRanges) {
        ranges.removeBelow(acknowledged)
        reinjections.insert(ranges)
    }

    /// Notes that ranges may have to go again.
    mutating func deferReinjection(_ ranges: consuming OffsetRanges, at now: Instant) {
        if ranges.isEmpty { return }
        ranges.removeBelow(acknowledged)
        deferred.insert(ranges)
        deferredSince = now
    }

    /// What was deferred and is not acknowledged yet goes again, in its place among the others.
    mutating func reinjectDeferred() {
        reinjections.insert(deferred)
        deferred.removeAll()
    }

    /// What goes again at once has gone: what follows it, as far as there is something.
    mutating func reinjectRest() {
        if newest == nil { reinjectDeferred() } else { orderNewest() }
    }

    /// The bytes from the front of the reinjections were sent again up to `offset`.
    mutating func reinjected(to offset: UInt64) {
        reinjections.removeBelow(offset)
        uncertainLoss.wentAgain()
    }

    // MARK: Uncertain losses

    /// A path has ended just now, and nobody can say yet what goes again in vain. From `offset` to
    /// the last byte sent, all left shortly before.
    mutating func beginUncertainLoss(newestFrom offset: UInt64, at now: Instant) {
        orderNewest()
        let start = max(offset, acknowledged)
        if start < next { newest = .init(start: start, end: next) }
        if hasReinjections { uncertainLoss.begins(at: now) }
    }

    /// An acknowledgement that can know has come.
    mutating func resolveUncertainLoss() {
        uncertainLoss.resolve()
        orderNewest()
    }

    /// A segment came on a subflow whose round trip takes `minimumRTT` at least. Where it left
    /// after the peer had heard of a loss, or of data behind it, what it acknowledges is all that
    /// the peer has, and the rest goes again. `saysWhatCame`: it is the last word about a path that
    /// is in doubt.
    @inline(__always)
    mutating func heard(minimumRTT: Interval, saysWhatCame: Bool, at now: Instant) {
        if let since = uncertainLoss.since, now - since >= minimumRTT { resolveUncertainLoss() }
        if !deferred.isEmpty, saysWhatCame || now - deferredSince >= minimumRTT {
            reinjectDeferred()
        }
    }

    /// Something new went in place of what may have arrived.
    mutating func wentNew() { uncertainLoss.wentNew() }

    /// The newest bytes were sent again up to `offset`.
    mutating func newestWent(to offset: UInt64) { trimNewest(to: offset) }

    private mutating func trimNewest(to offset: UInt64) {
        guard let span = newest, span.start < offset else { return }
        newest = span.end > offset ? .init(start: offset, end: span.end) : nil
    }

    /// The newest have their place among the others.
    private mutating func orderNewest() {
        if let span = newest { reinjections.insert(span.start, span.end) }
        newest = nil
    }

    /// Nothing of it has reached the peer: all of it goes again.
    mutating func startAgain(edge: UInt64) {
        precondition(acknowledged == 0 && ring.base == 0, "the peer has bytes of it already")
        reinjections.removeAll()
        deferred.removeAll()
        newest = nil
        uncertainLoss.resolve()
        next = 0
        copiedBelow = 0
        self.edge = edge
    }

    /// Gives back what nobody needs any more: below the DATA_ACK and below what living subflows may
    /// repeat.
    mutating func discard(heldFrom lowest: UInt64) {
        let to = min(acknowledged, max(lowest, ring.base))
        if to > ring.base { ring.discard(to: to) }
    }
}

/// While nobody can say whether what goes again is needed at all: a path has ended, and what was
/// under way on it was lost with it (it stood in the interface's queue) or arrives (it had left the
/// machine).
///
/// New data is needed in either case. So among the segments that go again some are new: where all
/// arrived, the receiver waits for nothing else; where all was lost, they are no more bytes in all.
struct UncertainLoss {
    /// So many segments go again before each new one. Where all was lost, what lacks first is
    /// mostly among the first five; with fewer it would come later.
    static let repeatedPerNew = 5

    /// When the path ended; nil: nothing is uncertain.
    private(set) var since: Instant?
    private var repeated = 0

    /// The next segment is to be a new one, if there is one.
    var prefersNewData: Bool { since != nil && repeated >= Self.repeatedPerNew }

    mutating func begins(at now: Instant) {
        if since == nil { repeated = 0 }
        since = now
    }
    /// An acknowledgement that can know has come, or nothing goes again any more.
    mutating func resolve() { since = nil }
    mutating func wentAgain() { repeated &+= 1 }
    mutating func wentNew() { repeated = 0 }
}

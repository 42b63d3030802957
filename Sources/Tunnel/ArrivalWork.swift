import Wire

/// What the frames of one datagram make us do, in nanoseconds: those of an ordinary processor of
/// 2020, rounded up, as `benchmarks worst` finds them.
///
/// Each kind of frame has its own bounds, but a peer with valid keys may put something of every
/// kind into one datagram, or the dearest of one kind for many connections. What is beyond
/// `maximum` counts as lost with all that stands behind it: the peer says it again, as after any
/// loss.
struct ArrivalWork {
    /// Of one datagram. An honest one comes to a tenth of it.
    static let maximum = 42_000
    /// Whatever has not cost more than this may be followed by anything that one frame can cost, so
    /// that nothing is put off for ever.
    private static let minimum = 3_000

    // What things cost.
    static let frame = 100
    static let segment = 250
    /// The first of a connection in this datagram: its state is in no cache.
    static let firstSegment = 1_600
    /// Each block of a selective acknowledgement.
    static let block = 350
    /// Each span of a segment that is delivered, or sent again elsewhere.
    static let span = 8
    /// What opens or joins something, or brings a connection's keys.
    static let opening = 2_200
    /// The end of a subflow, without its spans.
    static let subflowEnd = 1_400
    /// The same by a subflow reset: its state is in no cache.
    static let subflowReset = 3_400
    /// A segment that can't be read, of a connection that is in no cache.
    static let unreadable = 1_000
    /// An abort whose connection is found by its key.
    static let abortByKey = 2_400
    /// A path's state, or an address.
    static let state = 1_000
    /// A request to join: its connection is in no cache.
    static let joinRequest = 2_000
    /// A connection hears of its paths' changes, without its spans.
    static let notice = 300
    static let datagram = 400
    static let orderedDatagram = 600
    /// A piece may be the last one of 9,000 bytes.
    static let piece = 1_100
    /// Each datagram that waited for the one that comes.
    static let handedOver = 100
    /// Each that waits where another one finds its place, and each held by a flow that ends.
    static let passed = 3
    static let givenBack = 10
    static let flowOpening = 2_000
    static let flowEnd = 1_200
    /// A word about a flow that is none.
    static let flowWord = 130

    /// What a sender puts into one datagram at most: as much is read in any case, whatever the
    /// other end has in its caches, and whether or not a path has changed. What signals are
    /// pending goes with it as far as `maximum`.
    static let maximumSent = 41_000
    // What a sender counts for it: what it costs at most, as far as the sender can know.
    static let sentSegment = 2_000
    /// A SYN, which opens or joins something in memory that may be new.
    static let sentSYN = 10_000
    /// What else brings keys or a proof.
    static let sentOpening = 6_000
    static let sentReset = 4_000
    /// Ends all subflows of its connection.
    static let sentAbort = 8_000
    /// Ends of flows that a sender puts into one datagram at most.
    static let maximumFlowEnds = 32

    /// What a sender counts for a segment.
    @inline(__always) static func sent(_ segment: borrowing Segment) -> Int {
        if segment.flags.contains(.syn), !segment.flags.contains(.ack) { return sentSYN }
        if segment.options.present.contains(.fastClose) { return sentAbort }
        if !segment.options.present.isDisjoint(with: [.multipathCapable, .join]) {
            return sentOpening
        }
        if segment.flags.contains(.rst) { return sentReset }
        return segment.options.present.contains(.sack) ? 2 * sentSegment : sentSegment
    }

    /// The same for a word about a flow.
    static func sent(_ frame: FlowFrame) -> Int {
        frame.statement == .acknowledged ? self.frame : flowEnd
    }

    /// So far.
    private(set) var spent = 0
    /// Something was refused: nothing that follows counts.
    private(set) var isExhausted = false

    /// Whether what costs `cost` may still be done; it is counted.
    @inline(__always) mutating func affords(_ cost: Int) -> Bool {
        guard couldAfford(cost) else {
            isExhausted = true
            return false
        }
        spent += cost
        return true
    }

    /// Whether `affords` would be true.
    @inline(__always) func couldAfford(_ cost: Int) -> Bool {
        spent + cost <= Self.maximum || spent <= Self.minimum
    }

    /// Of what was counted, `cost` did not come to be.
    @inline(__always) mutating func refund(_ cost: Int) { spent -= max(0, cost) }
}

extension DatagramFrame {
    /// What taking it costs, where nothing waits for it.
    var cost: Int {
        Self.cost(
            (opening == nil ? 0 : 1) | (piece == nil ? 0 : 2) | (isOrdered ? 4 : 0))
    }

    /// What taking one costs whose first byte is `type`.
    static func cost(_ type: UInt8) -> Int {
        let piece = type & 2 != 0 ? ArrivalWork.piece : 0
        if type & 1 != 0 { return piece + ArrivalWork.flowOpening }
        return piece + (type & 4 != 0 ? ArrivalWork.orderedDatagram : ArrivalWork.datagram)
    }
}

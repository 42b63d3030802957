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
    static let maximum = 46_000
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
    static let subflowReset = 2_600
    /// A segment that can't be read, of a connection that is in no cache.
    static let unreadable = 1_000
    /// An abort whose connection is found by its key.
    static let abortByKey = 1_900
    /// A path's state, or an address.
    static let state = 1_000
    /// A connection hears of its paths' changes, without its spans.
    static let notice = 300
    static let datagram = 400
    static let orderedDatagram = 600
    /// A piece may be the last one of 9,000 bytes.
    static let piece = 1_100
    /// Each datagram that waited for the one that comes.
    static let handedOver = 100
    static let flowOpening = 2_000
    static let flowEnd = 1_200

    /// What a sender puts into one datagram at most, where a segment weighs 1: as many are read of
    /// connections that are in no cache and hear of a path's change first.
    static let maximumWeight = 22
    /// Of what opens or joins something, or brings keys, and of an abort.
    static let openingWeight = 3
    static let abortWeight = 4
    /// Ends of flows that a sender puts into one datagram at most.
    static let maximumFlowEnds = 32

    /// How much of `maximumWeight` a segment takes that is to be sent: as many of one kind as
    /// `maximumWeight` holds stay below `maximum`.
    @inline(__always) static func weight(of segment: borrowing Segment) -> Int {
        if segment.flags.contains(.syn), !segment.flags.contains(.ack) { return openingWeight }
        // Ends all subflows of its connection.
        if segment.options.present.contains(.fastClose) { return abortWeight }
        if segment.options.present.contains(.multipathCapable) { return openingWeight }
        if segment.flags.contains(.rst) { return 2 }
        return segment.options.present.contains(.sack) ? 2 : 1
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
    /// What taking one costs whose first byte is `type`.
    static func cost(_ type: UInt8) -> Int {
        let piece = type & 2 != 0 ? ArrivalWork.piece : 0
        if type & 1 != 0 { return piece + ArrivalWork.flowOpening }
        return piece + (type & 4 != 0 ? ArrivalWork.orderedDatagram : ArrivalWork.datagram)
    }
}

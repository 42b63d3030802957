import Measures

/// What a subflow has to send beside data, repetitions and acknowledgements.
struct PendingSegments {
    enum SYN { case none, first, again }
    /// `requested`: it follows the last byte.
    enum FIN { case none, requested, sent }
    /// `abort`: and then the subflow is closed. `reply`: to a segment that is none of its own, with
    /// that sequence number and acknowledgement.
    enum Reset { case none, abort, reply(SubflowSequence, SubflowSequence?) }

    private(set) var syn = SYN.first
    private(set) var fin = FIN.none
    var reset = Reset.none
    /// A segment that makes the peer answer.
    var probe = false

    /// Our SYN, or SYN/ACK, has not left yet.
    @inline(__always) var opens: Bool { syn == .first }
    @inline(__always) var hasReset: Bool {
        if case .none = reset { false } else { true }
    }

    /// The SYN, or SYN/ACK, was lost, or may have been.
    mutating func repeatSYN() {
        if syn == .none { syn = .again }
    }
    /// It leaves, or need not.
    @inline(__always) mutating func doneWithSYN() { syn = .none }

    /// The owner has no more data.
    mutating func requestFIN() {
        if fin == .none { fin = .requested }
    }
    mutating func sentFIN() { fin = .sent }

    /// The subflow is closed: nothing goes any more, but for the reset of one that was aborted.
    mutating func close(keepsReset: Bool) {
        syn = .none
        probe = false
        if !keepsReset { reset = .none }
    }
}

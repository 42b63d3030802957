import Measures

/// One span sent and not yet cumulatively acknowledged: one cache line. Whether it is delivered or
/// held for lost is the `Scoreboard`'s to say.
struct SpanRecord {
    struct Flags: OptionSet {
        var rawValue: UInt8
        static let syn = Flags(rawValue: 1)
        static let fin = Flags(rawValue: 2)
        static let retransmitted = Flags(rawValue: 4)
        /// Sent while the owner had too little data to fill the window.
        static let applicationLimited = Flags(rawValue: 8)
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
    /// Its latest entry in the log of retransmissions, where it was sent again.
    var logEntry: UInt32 = 0
    var inFlightWhenSent: UInt32 = 0
    var flags: Flags

    /// Sequence numbers it covers.
    @inline(__always) var extent: Int {
        Int(length) &+ (flags.contains(.syn) ? 1 : 0) &+ (flags.contains(.fin) ? 1 : 0)
    }
    @inline(__always) var end: SubflowSequence { sequence + extent }
}

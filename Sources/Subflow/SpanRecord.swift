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

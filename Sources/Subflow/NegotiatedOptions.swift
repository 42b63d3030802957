import Wire

/// Which options are used: those we offer, until the peer's SYN has said what it offers.
struct NegotiatedOptions {
    /// RFC 7323 section 3.
    private(set) var timestamps: Bool
    /// RFC 2018.
    private(set) var selectiveAcknowledgement: Bool
    /// RFC 7323 section 2; offered always.
    private(set) var windowScale = true

    init(offering configuration: SubflowConfiguration) {
        timestamps = configuration.timestamps
        selectiveAcknowledgement = configuration.selectiveAcknowledgement
    }

    /// The peer's SYN offers these.
    mutating func agree(to present: SegmentOptions.Kinds) {
        windowScale = present.contains(.windowScale)
        selectiveAcknowledgement =
            selectiveAcknowledgement && present.contains(.sackPermitted)
        timestamps = timestamps && present.contains(.timestamps)
    }

    /// Of the 40 bytes of options in a header, those that every segment needs.
    var octets: Int { timestamps ? 12 : 0 }
}

/// What bounds a segment's payload, bytes: the two ends' agreement, and the path.
struct SegmentSizeBounds {
    /// What both ends allow.
    private(set) var negotiated: Int
    /// What the path takes at present.
    var limit: Int

    init(_ configuration: SubflowConfiguration) {
        negotiated = configuration.maximumSegmentSize
        limit = configuration.segmentLimit
    }

    /// Of a segment without options but timestamps.
    var size: Int { max(1, min(negotiated, limit)) }

    /// The peer's SYN says so much; nil: nothing, which is 536 (RFC 9293 section 3.7.1).
    /// `optionOctets`: what each segment's options need, which the MSS does not count (RFC 6691).
    mutating func negotiate(
        _ offered: UInt16?, optionOctets: Int, _ configuration: SubflowConfiguration
    ) {
        let minimum = min(configuration.minimumSegmentSize, configuration.maximumSegmentSize)
        let size = min(configuration.maximumSegmentSize, offered.map(Int.init) ?? 536)
        negotiated = max(1, max(minimum, size) - optionOctets)
    }
}

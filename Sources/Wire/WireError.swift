/// Why bytes are not what they should be. Never a reason to trap: the caller counts it and drops
/// the bytes.
public enum WireError: Error, Hashable, Sendable {
    /// Fewer bytes than the header or an inner length promises.
    case truncated
    /// An IP version other than 4 and 6, or not TCP behind the IP header and the extension headers
    /// we skip.
    case notTCP
    /// A piece of a fragmented packet.
    case fragment
    /// A header length that can't be (IPv4 below 20, TCP below 20 or beyond the packet).
    case badHeaderLength
    case badIPChecksum
    case badTCPChecksum
    /// A TCP option whose length is below 2 or runs out of the options.
    case badOptionLength(kind: UInt8)
    /// An MPTCP option (RFC 8684) of a known subtype whose length or form is wrong for it.
    case malformedMultipathOption(subtype: UInt8)
    /// Not a sealed segment frame, or one of a form that does not exist.
    case notASegmentFrame
    /// A sealed segment of another subflow than the context's.
    case wrongSubflow
    /// A compact segment before the SYN that would tell where its numbers start.
    case unknownInitialSequence
    /// A compact segment that leaves out what it says is known here, but is not (any more).
    case unknownReference
}

/// MP_CAPABLE (RFC 8684 section 3.1), version 1.
///
/// SYN: no keys (length 4). SYN/ACK: the sender's key (12). ACK: both keys (20), with data also its
/// length (22) and, where checksums are in use, the checksum (24).
public struct MPCapable: Hashable, Sendable {
    public var version: UInt8 = 1
    /// A: DSS checksums are required.
    public var checksumRequired = false
    /// B: must be zero; kept so that a refusal can name it.
    public var extensible = false
    /// C: the sender takes no joins to the address of this subflow.
    public var deniesJoinToInitialAddress = false
    /// H: HMAC-SHA256.
    public var hmacSHA256 = true
    public var senderKey: UInt64?
    public var receiverKey: UInt64?
    /// Data-level length of the first data, where the third packet carries data; maps it from IDSN + 1.
    public var dataLength: UInt16?
    public var checksum: UInt16?
    public init() {}
}

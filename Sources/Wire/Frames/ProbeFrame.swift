/// Asks the peer for an answer on the same path, or is that answer: measures round trip and life.
///
/// ```
/// byte 0      0x01 probe, 0x02 answer
/// bytes 1-2   identifier: two bits of purpose (0 life, 1 life in a datagram of the base size, 2
/// datagram size,
///             3 life where the asker's datagrams of the base size go unanswered), then 14 bits
/// counted per path,
///             or for purpose 2 the datagram's bytes of UDP payload
/// bytes 3-10  the asker's clock in nanoseconds, or a number of chance with the highest bit set
/// that asks
///             an address whether it receives; handed back unchanged
/// ```
public struct ProbeFrame: Equatable, Sendable {
    /// Bytes of the frame.
    public static let size = 11
    /// It answers a probe.
    public var isAnswer: Bool
    /// Purpose and count, or size; repeated by the answer.
    public var identifier: UInt16
    /// The sender's clock, ns, or a nonce; repeated by the answer.
    public var sentAt: Int64

    /// What the probe is to find out.
    public enum Purpose: UInt16, Sendable { case life, long, size, narrow }
    /// What the identifier says the probe is for.
    public var purpose: Purpose {
        switch identifier >> 14 {
        case 0: .life
        case 1: .long
        case 2: .size
        default: .narrow
        }
    }
    /// A question about life, in a datagram of the base size: the concentrator's answer is as long.
    public var isLong: Bool { purpose == .long }
    /// A question whether a datagram of so many bytes passes.
    public var isSize: Bool { purpose == .size }
    /// The datagram's size in bytes, where it is a probe of that.
    public var size: Int { Int(identifier & 0x3fff) }

    /// The identifier of the `count`th probe, of which 14 bits count.
    public static func identifier(count: UInt16, _ purpose: Purpose) -> UInt16 {
        count & 0x3fff | purpose.rawValue << 14
    }
    /// The identifier of a probe of a datagram of `size` bytes, at most 16,383.
    public static func identifier(size: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: size) & 0x3fff | 0x8000
    }

    /// Not a clock but a number that only who receives at an address can know.
    public var isChallenge: Bool { sentAt < 0 }

    /// A frame with these fields.
    public init(isAnswer: Bool, identifier: UInt16, sentAt: Int64) {
        self.isAnswer = isAnswer; self.identifier = identifier; self.sentAt = sentAt
    }

    /// Nil where there are too few bytes.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> ProbeFrame? {
        guard bytes.count >= size,
            let type = FrameType(rawValue: bytes[0]),
            type == .probe || type == .probeAnswer
        else { return nil }
        return ProbeFrame(
            isAnswer: type == .probeAnswer, identifier: bytes.bigEndian(1, as: UInt16.self),
            sentAt: bytes.bigEndian(3, as: Int64.self))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: (isAnswer ? FrameType.probeAnswer : .probe).rawValue, as: UInt8.self)
        out.store(bigEndian: identifier, at: 1)
        out.store(bigEndian: sentAt, at: 3)
    }
}

/// Asks the peer for an answer on the same path, or is that answer: measures round trip and life.
///
/// ```
/// byte 0      0x01 probe, 0x02 answer
/// bytes 1-2   identifier, counted per path
/// bytes 3-10  the asker's clock in nanoseconds, or a number of chance with the highest bit set that asks
///             an address whether it receives; handed back unchanged
/// ```
public struct ProbeFrame: Equatable, Sendable {
    public static let size = 11
    public var isAnswer: Bool
    public var identifier: UInt16
    public var sentAt: Int64

    /// Not a clock but a number that only who receives at an address can know.
    public var isChallenge: Bool { sentAt < 0 }

    public init(isAnswer: Bool, identifier: UInt16, sentAt: Int64) {
        self.isAnswer = isAnswer; self.identifier = identifier; self.sentAt = sentAt
    }

    public static func read(_ bytes: UnsafeRawBufferPointer) -> ProbeFrame? {
        guard bytes.count >= size,
              let type = FrameType(rawValue: bytes[0]),
              type == .probe || type == .probeAnswer
        else { return nil }
        return ProbeFrame(isAnswer: type == .probeAnswer, identifier: bytes.bigEndian(1, as: UInt16.self),
                          sentAt: bytes.bigEndian(3, as: Int64.self))
    }

    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: (isAnswer ? FrameType.probeAnswer : .probe).rawValue, as: UInt8.self)
        out.store(bigEndian: identifier, at: 1)
        out.store(bigEndian: sentAt, at: 3)
    }
}

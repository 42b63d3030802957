/// The first byte of every frame inside a record. Segment frames take the upper half (`SealedSegment`).
public enum FrameType: UInt8, Sendable {
    /// One byte that says nothing; makes datagrams of a run equally long.
    case padding = 0x00
    case probe = 0x01
    case probeAnswer = 0x02
    /// The state of a path, repeated until echoed.
    case pathState = 0x03
    case pathStateEcho = 0x04
    case rekey = 0x05
    case rekeyAnswer = 0x06
    case close = 0x07
    /// No subflow has this number here.
    case subflowReset = 0x08
    /// A further address of the concentrator, repeated until echoed.
    case addressState = 0x09
    case addressStateEcho = 0x0a
    /// A connection without a subflow has something to send.
    case joinRequest = 0x0b
}

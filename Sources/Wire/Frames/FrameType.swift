/// The first byte of every frame inside a record. Segment frames take the upper half
/// (`SealedSegment`).
///
/// How far a frame reaches follows from its first bytes alone, whatever else is in it, so that one
/// that means nothing here is passed over and those behind it count. The types below are as long as
/// their tables say; every type since, and to come, is from `withLength`.
public enum FrameType: UInt8, CaseIterable, Sendable {
    /// Types 0x40 to 0x7f: behind the first byte stands the length of the rest, in one byte below
    /// 0x80, or in two with the highest bit set.
    public static let withLength: ClosedRange<UInt8> = 0x40...0x7f
    /// Types of `DatagramFrame`, whose three low bits say what is in it.
    public static let datagrams: ClosedRange<UInt8> = 0x40...0x47

    /// The bytes of the frame at the start of `rest`, which is no segment; nil where it is cut
    /// short, or where its length can't be known: an unknown type below 0x40.
    public static func extent(_ rest: UnsafeRawBufferPointer) -> Int? {
        guard let first = rest.first else { return nil }
        let length: Int? =
            switch FrameType(rawValue: first) {
            case .padding: 1
            case .probe, .probeAnswer: ProbeFrame.size
            case .pathState, .pathStateEcho: PathStateFrame.size
            case .rekey, .rekeyAnswer:
                rest.count < RekeyFrame.headSize ? nil : RekeyFrame.headSize + Int(rest[2])
            case .close: CloseFrame.size
            case .subflowReset: SubflowResetFrame.size
            case .addressState, .addressStateEcho:
                rest.count < 5 ? nil : AddressStateFrame.size(flags: rest[4])
            case .joinRequest: JoinRequestFrame.size
            case .flowAcknowledged, .flowClosed, .flowUnknown, .datagramReport, .programVersion,
                .goAway, .goAwayAnswer:
                lengthened(rest)
            case nil: withLength.contains(first) ? lengthened(rest) : nil
            }
        guard let length, length <= rest.count else { return nil }
        return length
    }

    private static func lengthened(_ rest: UnsafeRawBufferPointer) -> Int? {
        guard rest.count >= 2 else { return nil }
        let high = Int(rest[1])
        guard high >= 0x80 else { return 2 + high }
        return rest.count >= 3 ? 3 + ((high & 0x7f) << 8 | Int(rest[2])) : nil
    }

    /// What stands behind the length of a whole frame of `withLength`; nil where it is cut short.
    static func body(_ frame: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard let end = lengthened(frame), end <= frame.count else { return nil }
        return UnsafeRawBufferPointer(rebasing: frame[(frame[1] < 0x80 ? 2 : 3)..<end])
    }

    /// Type and length of a frame of `withLength` whose `rest` is below 32,768 bytes; the bytes
    /// written.
    static func writeHead(_ type: UInt8, rest: Int, into out: UnsafeMutableRawPointer) -> Int {
        out.storeBytes(of: type, as: UInt8.self)
        if rest < 0x80 {
            out.storeBytes(of: UInt8(rest), toByteOffset: 1, as: UInt8.self)
            return 2
        }
        out.store(bigEndian: UInt16(rest) | 0x8000, at: 1)
        return 3
    }

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
    /// Of a flow of datagrams (`FlowFrame`).
    case flowAcknowledged = 0x48
    case flowClosed = 0x49
    case flowUnknown = 0x4a
    case datagramReport = 0x4b
    /// The proxy's program.
    case programVersion = 0x4c
    /// Another process takes the concentrator's place (`GoAwayFrame`).
    case goAway = 0x4d
    case goAwayAnswer = 0x4e
}

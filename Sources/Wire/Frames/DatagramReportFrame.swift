/// What arrived of the datagrams' frames on the path this is sent on: round trip, rate and loss of
/// what is never acknowledged one by one.
///
/// ```
/// byte 0      0x4b
/// byte 1      9
/// bytes 2-4   the low 24 bits of the newest packet number that had such frames
/// bytes 5-8   bytes of such frames since the path was opened, modulo 2^32
/// bytes 9-10  since that packet came, in units of 100 microseconds; 65,535: as much or more
/// ```
public struct DatagramReportFrame: Equatable, Sendable {
    /// Bytes of the frame.
    public static let size = 11
    /// Nanoseconds that a unit of `held` stands for.
    public static let heldUnit: Int64 = 100_000
    /// The low 24 bits of the newest packet number that had such frames.
    public var newest: UInt32
    /// Bytes of such frames since the path was opened, modulo 2^32.
    public var bytes: UInt32
    /// Since that packet came, in units of `heldUnit`; 65,535: as much or more.
    public var held: UInt16

    /// A frame with these fields.
    public init(newest: UInt32, bytes: UInt32, held: UInt16) {
        self.newest = newest & 0xff_ffff; self.bytes = bytes; self.held = held
    }

    /// Bytes behind the known ones are ignored, so that there may be some.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> DatagramReportFrame? {
        guard bytes.first == FrameType.datagramReport.rawValue,
            let body = FrameType.body(bytes), body.count >= 9
        else { return nil }
        return DatagramReportFrame(
            newest: body.low24(0), bytes: body.bigEndian(3, as: UInt32.self),
            held: body.bigEndian(7, as: UInt16.self))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        let at = FrameType.writeHead(FrameType.datagramReport.rawValue, rest: 9, into: out)
        out.store(low24: newest, at: at)
        out.store(bigEndian: bytes, at: at + 3)
        out.store(bigEndian: held, at: at + 7)
    }
}

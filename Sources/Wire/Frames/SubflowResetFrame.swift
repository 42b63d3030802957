/// Answers a segment whose subflow number means nothing here: without the subflow there is no state
/// to write an RST segment from. The receiver ends the subflow as if reset (RFC 9293 section
/// 3.5.2).
///
/// ```
/// byte 0      0x08
/// bytes 1-2   subflow number
/// byte 3      reason, as in MP_TCPRST (RFC 8684 section 3.6)
/// ```
public struct SubflowResetFrame: Equatable, Sendable {
    /// Bytes of the frame.
    public static let size = 4
    /// The subflow's number, the initiator's port.
    public var number: UInt16
    /// As in MP_TCPRST (`MPReset`).
    public var reason: UInt8

    /// A frame with these fields.
    public init(number: UInt16, reason: UInt8) { self.number = number; self.reason = reason }

    /// Nil where there are too few bytes.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> SubflowResetFrame? {
        guard bytes.count >= size, bytes[0] == FrameType.subflowReset.rawValue else { return nil }
        return SubflowResetFrame(number: bytes.bigEndian(1, as: UInt16.self), reason: bytes[3])
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: FrameType.subflowReset.rawValue, as: UInt8.self)
        out.store(bigEndian: number, at: 1)
        out.storeBytes(of: reason, toByteOffset: 3, as: UInt8.self)
    }
}

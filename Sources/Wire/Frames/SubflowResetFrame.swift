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
    public static let size = 4
    public var number: UInt16
    public var reason: UInt8

    public init(number: UInt16, reason: UInt8) { self.number = number; self.reason = reason }

    public static func read(_ bytes: UnsafeRawBufferPointer) -> SubflowResetFrame? {
        guard bytes.count >= size, bytes[0] == FrameType.subflowReset.rawValue else { return nil }
        return SubflowResetFrame(number: bytes.bigEndian(1, as: UInt16.self), reason: bytes[3])
    }

    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: FrameType.subflowReset.rawValue, as: UInt8.self)
        out.store(bigEndian: number, at: 1)
        out.storeBytes(of: reason, toByteOffset: 3, as: UInt8.self)
    }
}

/// Carries a Noise message for the keys of the next epoch, inside the session they replace.
///
/// ```
/// byte 0      0x05 message 1, from the proxy; 0x06 message 2, the answer
/// byte 1      the new epoch, modulo 256
/// byte 2      length of the message, 48 to 255
/// bytes 3-    the message
/// ```
public struct RekeyFrame {
    /// Bytes before the message.
    public static let headSize = 3
    /// It holds message 2, the answer.
    public var isAnswer: Bool
    /// The epoch of the keys that come of it, modulo 2^8.
    public var epoch: UInt8
    /// Lies in the datagram; valid as long as that is.
    public var message: UnsafeRawBufferPointer
    /// Bytes of the frame.
    public var size: Int { Self.headSize + message.count }

    /// A frame around a Noise message.
    public init(isAnswer: Bool, epoch: UInt8, message: UnsafeRawBufferPointer) {
        precondition(message.count <= 255)
        self.isAnswer = isAnswer; self.epoch = epoch; self.message = message
    }

    /// Nil where the frame is cut short.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> RekeyFrame? {
        guard bytes.count >= headSize,
            let type = FrameType(rawValue: bytes[0]),
            type == .rekey || type == .rekeyAnswer
        else { return nil }
        let end = headSize + Int(bytes[2])
        guard bytes.count >= end else { return nil }
        return RekeyFrame(
            isAnswer: type == .rekeyAnswer, epoch: bytes[1],
            message: UnsafeRawBufferPointer(rebasing: bytes[headSize..<end]))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: (isAnswer ? FrameType.rekeyAnswer : .rekey).rawValue, as: UInt8.self)
        out.storeBytes(of: epoch, toByteOffset: 1, as: UInt8.self)
        out.storeBytes(of: UInt8(message.count), toByteOffset: 2, as: UInt8.self)
        if let from = message.baseAddress {
            (out + Self.headSize).copyMemory(from: from, byteCount: message.count)
        }
    }
}

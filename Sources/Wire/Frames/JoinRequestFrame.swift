import Buffers

/// Asks the proxy to open a subflow for a connection that has none and whose listener has something
/// to send; only the proxy can open one. Repeated until it does.
///
/// ```
/// byte 0      0x0b
/// bytes 1-4   token of the listener's key (RFC 8684 section 3.2)
/// ```
public struct JoinRequestFrame: Equatable, Sendable {
    /// Bytes of the frame.
    public static let size = 5
    /// The token of the listener's key (RFC 8684 section 3.2).
    public var token: UInt32

    /// A frame with this token.
    public init(token: UInt32) { self.token = token }

    /// Nil where there are too few bytes.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> JoinRequestFrame? {
        guard bytes.count >= size, bytes[0] == FrameType.joinRequest.rawValue else { return nil }
        return JoinRequestFrame(token: bytes.bigEndian(1, as: UInt32.self))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: FrameType.joinRequest.rawValue, as: UInt8.self)
        out.store(bigEndian: token, at: 1)
    }
}

/// Ends the session at once.
///
/// ```
/// byte 0      0x07
/// byte 1      reason
/// ```
public struct CloseFrame: Equatable, Sendable {
    /// Why the session ends.
    public enum Reason: UInt8, Sendable, CaseIterable {
        /// The process ends.
        case shutDown = 0
        /// By a newer session.
        case replaced = 1
        /// Nothing was heard for too long.
        case idle = 2
        /// The user is none any more.
        case removed = 3
        /// Another process is there instead, and takes a new session at once.
        case moved = 4
    }
    /// Bytes of the frame.
    public static let size = 2
    /// Nil for a reason that is not known here.
    public var reason: Reason?

    /// A frame with this reason.
    public init(reason: Reason?) { self.reason = reason }

    /// Nil where there are too few bytes.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> CloseFrame? {
        guard bytes.count >= size, bytes[0] == FrameType.close.rawValue else { return nil }
        return CloseFrame(reason: Reason(rawValue: bytes[1]))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: FrameType.close.rawValue, as: UInt8.self)
        out.storeBytes(of: reason?.rawValue ?? 255, toByteOffset: 1, as: UInt8.self)
    }
}

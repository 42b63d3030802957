/// What is said of a flow of datagrams besides its datagrams.
///
/// ```
/// byte 0      0x48 acknowledged: the flow is known here by its number
///             0x49 closed: the sender has ended it; answered with 0x4a, repeated until then
///             0x4a unknown: no flow has this number here
/// byte 1      2
/// bytes 2-3   flow
/// ```
public struct FlowFrame: Equatable, Sendable {
    /// What is said, by the frame's first byte.
    public enum Statement: UInt8, Sendable {
        case acknowledged = 0x48, closed = 0x49, unknown = 0x4a
    }
    /// Bytes of the frame.
    public static let size = 4
    /// What is said.
    public var statement: Statement
    /// Of which flow.
    public var flow: UInt16

    /// A frame with these fields.
    public init(_ statement: Statement, flow: UInt16) {
        self.statement = statement; self.flow = flow
    }

    /// Bytes behind the flow are ignored, so that there may be some.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> FlowFrame? {
        guard let type = bytes.first, let statement = Statement(rawValue: type),
            let body = FrameType.body(bytes), body.count >= 2
        else { return nil }
        return FlowFrame(statement, flow: body.bigEndian(0, as: UInt16.self))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        let at = FrameType.writeHead(statement.rawValue, rest: 2, into: out)
        out.store(bigEndian: flow, at: at)
    }
}

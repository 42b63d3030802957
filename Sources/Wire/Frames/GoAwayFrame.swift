/// Another process takes the place of the concentrator's: a proxy is to begin a session with that
/// one, while this one serves what lives in the session to its end (as GOAWAY does, RFC 9114
/// section 5.2).
///
/// ```
/// byte 0      0x4d: the concentrator says so, and again until the answer
/// byte 1      2
/// bytes 2-3   seconds after which it ends whatever lives then; 65,535: as long or longer
///
/// byte 0      0x4e: the proxy has another session, and opens nothing more in this one
/// byte 1      0
/// ```
public enum GoAwayFrame: Equatable, Sendable {
    case announcement(seconds: UInt16)
    case answer

    /// Bytes on the wire.
    public var size: Int {
        switch self {
        case .announcement: 4
        case .answer: 2
        }
    }

    /// Bytes behind the last field are ignored, so that there may be some.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> GoAwayFrame? {
        guard let type = bytes.first, let body = FrameType.body(bytes) else { return nil }
        switch FrameType(rawValue: type) {
        case .goAway where body.count >= 2:
            return .announcement(seconds: body.bigEndian(0, as: UInt16.self))
        case .goAwayAnswer: return .answer
        default: return nil
        }
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        switch self {
        case .announcement(let seconds):
            let at = FrameType.writeHead(FrameType.goAway.rawValue, rest: 2, into: out)
            out.store(bigEndian: seconds, at: at)
        case .answer:
            _ = FrameType.writeHead(FrameType.goAwayAnswer.rawValue, rest: 0, into: out)
        }
    }
}

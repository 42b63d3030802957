/// What version of the program the proxy's end is; the concentrator says its own in the welcome.
///
/// ```
/// byte 0     0x4c
/// byte 1     n, at most 32; more is cut off
/// bytes 2-   n bytes of ASCII without control characters
/// ```
public struct ProgramVersionFrame: Equatable, Sendable {
    /// Bytes of a version.
    public static let maximumText = 32
    /// Such as 0.2.0.
    public let text: String

    /// What is longer, or no plain ASCII, is cut at that place.
    public init(text: String) { self.text = Self.plain(text.utf8) }

    /// Bytes of the frame.
    public var size: Int { 2 + text.utf8.count }

    /// Nil where there are too few bytes.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> ProgramVersionFrame? {
        guard bytes.first == FrameType.programVersion.rawValue, let body = FrameType.body(bytes)
        else { return nil }
        return ProgramVersionFrame(plain: plain(body))
    }

    private init(plain text: String) { self.text = text }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        let at = FrameType.writeHead(
            FrameType.programVersion.rawValue, rest: text.utf8.count, into: out)
        for (i, byte) in text.utf8.enumerated() {
            out.storeBytes(of: byte, toByteOffset: at + i, as: UInt8.self)
        }
    }

    /// The bytes from the start that may be part of a version.
    static func plain(_ bytes: some Sequence<UInt8>) -> String {
        String(
            decoding: bytes.prefix(maximumText).prefix { (33...126).contains($0) }, as: UTF8.self)
    }
}

import Glibc
import Measures

/// A buffered file for `--pcap`: bytes in, written in large pieces and once a second.
public final class CaptureWriter {
    /// Creates the file (mode 0600: it holds what applications say), replacing an old one.
    public init(path: String, loop: EventLoop) throws(SystemError) { fatalError("stub") }
    /// Appends `bytes`; a failing disk ends the capture, said once in the log, never the program.
    public func append(_ bytes: UnsafeRawBufferPointer) { fatalError("stub") }
    public func close() {}
}

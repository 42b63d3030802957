import Glibc
import Logging
import Measures

/// A buffered file for `--pcap`: bytes in, written in large pieces and at least once a second.
public final class PcapWriter {
    private let path: String
    private let log: Logger
    /// Nil once it has ended.
    private var descriptor: Int32?
    private var buffer: UnsafeMutableRawBufferPointer
    private var used = 0
    private var flushTimer: LoopTimer?

    /// Bytes kept before a write.
    private static let capacity = 256 << 10
    private static let flushInterval = Interval.seconds(1)

    /// Creates the file (mode 0600: it holds what applications say), emptying an old one.
    public init(
        path: String, loop: EventLoop, log: Logger = Logger(label: "pcap")
    ) throws(SystemError) {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw SystemError("create \(path)", code: errno) }
        self.path = path
        self.log = log
        descriptor = fd
        buffer = .allocate(byteCount: Self.capacity, alignment: 16)
        flushTimer = loop.timer(for: self) { $0.flush() }
    }

    deinit {
        close()
        buffer.deallocate()
    }

    /// Appends `bytes`. A failing disk ends the file, said once in the log, never the program.
    public func append(_ bytes: UnsafeRawBufferPointer) {
        guard descriptor != nil else { return }
        if used + bytes.count > Self.capacity { flush() }
        if bytes.count > Self.capacity { writeAll(bytes); return }
        if let from = bytes.baseAddress {
            (buffer.baseAddress! + used).copyMemory(from: from, byteCount: bytes.count)
        }
        if used == 0 { flushTimer?.arm(after: Self.flushInterval) }
        used += bytes.count
    }

    /// Writes what is kept.
    public func flush() {
        let n = used
        used = 0
        flushTimer?.cancel()
        if n > 0 {
            writeAll(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<n]))
        }
    }

    /// Writes what is buffered and closes the file; harmless when repeated.
    public func close() {
        flush()
        if let descriptor { Glibc.close(descriptor) }
        descriptor = nil
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) {
        var at = 0
        while at < bytes.count, let descriptor {
            let n = write(descriptor, bytes.baseAddress! + at, bytes.count - at)
            if n >= 0 { at += n; continue }
            if errno == EINTR { continue }
            log.error(
                "pcap ended",
                metadata: ["file": "\(path)", "error": "\(SystemError.text(errno))"])
            Glibc.close(descriptor)
            self.descriptor = nil
        }
    }
}

import Glibc
import Logging
import Measures

/// A buffered file for `--pcap`: bytes in, written in large pieces and at least once a second.
public final class PcapWriter {
    private let path: String
    private let log: Logger
    /// Nil once it has ended.
    private var descriptor: Int32?
    /// The file is made with the first bytes, and the one that is there is put aside: it is written
    /// still by the process that this one follows.
    private var isAwaited: Bool
    private var buffer: UnsafeMutableRawBufferPointer
    private var used = 0
    private var flushTimer: LoopTimer?

    /// Bytes kept before a write.
    private static let capacity = 256 << 10
    private static let flushInterval = Interval.seconds(1)
    /// Files that are put aside, at most.
    private static let maximumAside = 999

    /// Creates the file (mode 0600: it holds what applications say), emptying an old one.
    /// `follows`: that is another process's still, which goes on writing it under another name
    /// (`PATH.1` and so on); this one makes its own when it has something to write.
    public init(
        path: String, follows: Bool = false, loop: EventLoop, log: Logger = Logger(label: "pcap")
    ) throws(SystemError) {
        self.path = path
        self.log = log
        isAwaited = follows
        descriptor = try follows ? nil : Self.create(path)
        buffer = .allocate(byteCount: Self.capacity, alignment: 16)
        flushTimer = loop.timer(for: self) { $0.flush() }
    }

    private static func create(_ path: String) throws(SystemError) -> Int32 {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw SystemError("create \(path)", code: errno) }
        return fd
    }

    /// Why another process can't put the file at `path` aside and make its own; nil where it can.
    public static func obstacle(path: String) -> String? {
        var about = stat()
        guard lstat(path, &about) == 0 else { return nil }
        guard about.st_mode & S_IFMT == S_IFREG else { return "\(path) is no plain file" }
        let folder = ControlPath.folder(of: path)
        return access(folder, W_OK) == 0
            ? nil : "it may not make files in \(folder)"
    }

    private func begin() {
        isAwaited = false
        var about = stat()
        do throws(SystemError) {
            if lstat(path, &about) == 0 {
                let aside = (1...Self.maximumAside).lazy.map { "\(self.path).\($0)" }
                    .first { (name: String) in access(name, F_OK) != 0 }
                guard let aside, rename(path, aside) == 0 else {
                    throw SystemError("put \(path) aside", code: aside == nil ? EEXIST : errno)
                }
                log.notice(
                    "the older process's pcap has another name", metadata: ["file": "\(aside)"])
            }
            descriptor = try Self.create(path)
        } catch {
            log.error("no pcap: can't \(error)")
        }
    }

    deinit {
        close()
        buffer.deallocate()
    }

    /// Appends `bytes`. A failing disk ends the file, said once in the log, never the program.
    public func append(_ bytes: UnsafeRawBufferPointer) {
        guard descriptor != nil || isAwaited else { return }
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
        if isAwaited { begin() }
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

import Glibc
import Measures

/// /etc/hosts: names in lower case to addresses; read again when it changes.
struct HostsFile {
    private let path: String
    private var seen = FileState()
    private var addresses: [String: [IPAddress]] = [:]

    init(path: String = "/etc/hosts") { self.path = path }

    /// The addresses of `name`, of both families; nil where the file does not know it.
    mutating func lookUp(_ name: String) -> [IPAddress]? {
        reread()
        return addresses[name.lowercased()]
    }

    private mutating func reread() {
        guard let state = FileState(path), state != seen else { return }
        guard let text = Self.read(path) else { return }  // tried again the next time
        seen = state
        addresses = Self.parse(text)
    }

    /// Lines of an address and its names; `#` begins a comment (hosts(5)).
    static func parse(_ text: String) -> [String: [IPAddress]] {
        var out: [String: [IPAddress]] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            let fields = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
            guard let first = fields.first, let address = IPAddress(first) else { continue }
            for name in fields.dropFirst() where out[name.lowercased()]?.contains(address) != true {
                out[name.lowercased(), default: []].append(address)
            }
        }
        return out
    }

    /// The file's text, the first megabyte at most; nil where it can't be read. A directory, a pipe
    /// or a device is no file: whoever reads from one may wait for ever, and the loop with him.
    static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var about = stat()
        guard fstat(descriptor, &about) == 0, about.st_mode & S_IFMT == S_IFREG else { return nil }
        // A file may say that it is as long as a number can be.
        let length = min(max(Int(about.st_size), 0), 1 << 20)
        var bytes = [UInt8](repeating: 0, count: min(1 << 20, length + 4096))
        var count = 0
        while count < bytes.count {
            let n = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            if n < 0, errno == EINTR { continue }
            guard n >= 0 else { return nil }
            if n == 0 { break }
            count += n
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

/// What tells a file that was changed or replaced: another one at the same place may be of the same
/// second, and one of the same inode of another size.
struct FileState: Equatable {
    private var seconds = 0, nanoseconds = 0, size = 0
    private var device: UInt = 0, inode: UInt = 0

    /// Of no file.
    init() {}

    /// Nil where there is none.
    init?(_ path: String) {
        var about = stat()
        guard stat(path, &about) == 0 else { return nil }
        seconds = about.st_mtim.tv_sec
        nanoseconds = about.st_mtim.tv_nsec
        size = Int(about.st_size)
        device = UInt(about.st_dev)
        inode = UInt(about.st_ino)
    }
}

import Glibc
import Measures

/// /etc/hosts: names in lower case to addresses; read again when it changes.
struct HostsFile {
    private let path: String
    private var modified = timespec()
    private var addresses: [String: [IPAddress]] = [:]

    init(path: String = "/etc/hosts") { self.path = path }

    /// The addresses of `name`, of both families; nil where the file does not know it.
    mutating func lookUp(_ name: String) -> [IPAddress]? {
        reread()
        return addresses[name.lowercased()]
    }

    private mutating func reread() {
        var about = stat()
        guard stat(path, &about) == 0 else { return }
        guard about.st_mtim.tv_sec != modified.tv_sec || about.st_mtim.tv_nsec != modified.tv_nsec
        else {
            return
        }
        guard let text = Self.read(path) else { return }  // tried again the next time
        modified = about.st_mtim
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

    /// The file's text, the first megabyte at most.
    static func read(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let n = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<n], as: UTF8.self)
    }
}

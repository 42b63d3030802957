import Glibc
import Measures

/// What /etc/resolv.conf says (resolv.conf(5)): servers in the order in which they are to be asked.
struct ResolverConfiguration: Equatable {
    /// Address and port, as evdns takes them.
    var servers: [String] = []
    /// How long one server has for its answer before the next one is asked.
    var timeout = Interval.seconds(2)
    /// How often each server is asked.
    var attempts = 2

    /// MAXNS of resolv.conf(5); the lines behind are not read.
    static let maximumServers = 3
    /// Bounds of `options timeout:` and `attempts:`: a dial has 10 s for everything.
    static let timeouts = Int64(1)...5, attempts = 1...5
    /// The longest all tries together may take.
    static let maximumTime = Interval.seconds(8)

    /// For one question.
    var limit: Interval {
        min(Self.maximumTime, timeout * Int64(attempts) * Int64(max(1, servers.count)))
    }

    init() {}

    /// Reads the file's text. `search`, `domain` and `rotate` don't count: a name from an
    /// application is absolute, and the order of the servers has a meaning. Without a server it is
    /// the one of this machine.
    init(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let fields = line.split { $0 == " " || $0 == "\t" }.map(String.init)
            switch fields.first {
            case "nameserver" where fields.count > 1 && servers.count < Self.maximumServers:
                servers.append(Self.withPort(fields[1]))
            case "options": fields.dropFirst().forEach { read(option: $0) }
            default: break
            }
        }
        if servers.isEmpty { servers = ["127.0.0.1:53"] }
    }

    private static func withPort(_ server: String) -> String {
        if server.contains("]") || server.filter({ $0 == ":" }).count == 1 { return server }
        return server.contains(":") ? "[\(server)]:53" : "\(server):53"
    }

    private mutating func read(option: String) {
        let parts = option.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, let value = Int64(parts[1]) else { return }
        switch parts[0] {
        case "timeout":
            timeout = .seconds(min(max(value, Self.timeouts.lowerBound), Self.timeouts.upperBound))
        case "attempts":
            attempts = Int(
                min(max(value, Int64(Self.attempts.lowerBound)), Int64(Self.attempts.upperBound)))
        default: break
        }
    }
}

/// The file, read again when it changes.
struct ResolverFile {
    private let path: String
    private var seen = stat()
    private(set) var configuration = ResolverConfiguration("")

    init(path: String) {
        self.path = path
        reread()
    }

    /// Whether what it says is another thing than before. A file that is not there is being
    /// replaced: what was read stays.
    @discardableResult
    mutating func reread() -> Bool {
        var about = stat()
        guard stat(path, &about) == 0 else { return false }
        // Another file at the same place may be of the same second, and one of the same inode of
        // another size.
        guard
            about.st_mtim.tv_sec != seen.st_mtim.tv_sec
                || about.st_mtim.tv_nsec != seen.st_mtim.tv_nsec
                || about.st_ino != seen.st_ino || about.st_dev != seen.st_dev
                || about.st_size != seen.st_size
        else {
            return false
        }
        guard let text = HostsFile.read(path) else { return false }
        seen = about
        let new = ResolverConfiguration(text)
        defer { configuration = new }
        return new != configuration
    }
}

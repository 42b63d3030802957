import Glibc
import Measures

/// What /etc/resolv.conf says (resolv.conf(5)): servers in the order in which they are to be asked.
struct ResolverConfiguration: Equatable {
    /// Address and port, as evdns takes them.
    var servers: [String] = []
    /// Of its servers those that are no address, the first ones.
    var refused: [String] = []
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
            case "nameserver" where fields.count > 1: take(fields[1])
            case "options": fields.dropFirst().forEach { read(option: $0) }
            default: break
            }
        }
        if servers.isEmpty { servers = ["127.0.0.1:53"] }
    }

    /// What is no address is nobody, and takes no other's place.
    private mutating func take(_ server: String) {
        guard servers.count < Self.maximumServers else { return }
        let place = Self.withPort(server)
        guard NamePlace(place) != nil else {
            if refused.count < Self.maximumServers { refused.append(server) }
            return
        }
        servers.append(place)
    }

    private static func withPort(_ server: String) -> String {
        if server.hasPrefix("[") { return server.hasSuffix("]") ? "\(server):53" : server }
        if server.filter({ $0 == ":" }).count == 1 { return server }
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
    private var seen = FileState()
    private(set) var configuration = ResolverConfiguration("")

    init(path: String) {
        self.path = path
        reread()
    }

    /// Whether what it says is another thing than before. Where no file is there, or none that can
    /// be read, it is being replaced: what was read stays.
    @discardableResult
    mutating func reread() -> Bool {
        guard let state = FileState(path), state != seen else { return false }
        guard let text = HostsFile.read(path) else { return false }
        seen = state
        let new = ResolverConfiguration(text)
        defer { configuration = new }
        return new != configuration
    }
}

/// Where a name server is asked.
struct NamePlace: Equatable {
    let address: SocketAddress
    /// The interface that a link-local address is one of.
    private(set) var binding = LocalBinding()

    init(_ address: SocketAddress) { self.address = address }

    /// Reads `192.0.2.1:53`, `[2001:db8::1]:53` or, with a zone, `[fe80::1%eth0]:53`; nil for
    /// anything else.
    init?(_ text: String) {
        var text = text
        if let zone = text.firstIndex(of: "%"), let end = text.lastIndex(of: "]"), zone < end {
            let name = text[text.index(after: zone)..<end]
            guard let interface = Self.interface(String(name)) else { return nil }
            binding.interface = interface
            text.removeSubrange(zone..<end)
        }
        guard let address = SocketAddress(text) else { return nil }
        self.address = address
    }

    /// A zone is an interface's name or its number (RFC 4007 section 11.2); nil where it is empty
    /// or a number that none has.
    private static func interface(_ zone: String) -> String? {
        guard let number = UInt32(zone) else { return zone.isEmpty ? nil : zone }
        var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        guard if_indextoname(number, &name) != nil else { return nil }
        return String(
            decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Keeps a socket to the place's interface; false where that can't be.
    func bind(_ descriptor: Int32) -> Bool {
        (try? binding.bind(descriptor, isIPv4: address.address.isIPv4)) != nil
    }
}

import Glibc
import Measures
import Shell

/// A configuration that was read and found right.
public enum Configuration: Equatable, Sendable {
    case proxy(ProxyConfiguration)
    case concentrator(ConcentratorConfiguration)
}

/// The two kinds of file.
public enum ConfigurationKind: String, Sendable {
    case proxy, concentrator

    /// The kind of file that alone has the key; nil where both or none have it.
    static func only(having key: String) -> ConfigurationKind? {
        switch (ProxyKey(rawValue: key) != nil, ConcentratorKey(rawValue: key) != nil) {
        case (true, false): .proxy
        case (false, true): .concentrator
        default: nil
        }
    }
}

/// What flags of the command line say; they win over the file.
public struct Overrides: Sendable {
    var settings: [(path: [String], flag: String, values: [String], isList: Bool)] = []

    public init() {}

    /// Lets `value` of the flag `flag` stand at `path`; nil changes nothing.
    public mutating func set(_ path: String..., flag: String, to value: String?) {
        if let value { settings.append((path, flag, [value], false)) }
    }

    /// Lets the values of a repeatable flag stand at `path` as a list; none changes nothing.
    public mutating func set(_ path: String..., flag: String, toList values: [String]) {
        if !values.isEmpty { settings.append((path, flag, values, true)) }
    }

    /// Whether no flag was given, so that a file is needed.
    public var isEmpty: Bool { settings.isEmpty }

    func apply(to root: inout Item) {
        for var setting in settings {
            // An address by itself stands for the whole table, which may say more.
            if setting.path == ["status"], root.hasTable("status") {
                setting.path.append(StatusKey.address.rawValue)
            }
            let place = Place.flag(setting.flag)
            let items = setting.values.map {
                setting.flag == "--uplink" ? Item.uplink($0, place) : .text($0, place)
            }
            root.set(
                setting.path,
                to: setting.isList ? Item(content: .list(items), place: place) : items[0])
        }
    }
}

extension Item {
    fileprivate func hasTable(_ key: String) -> Bool {
        guard case .table(let entries) = content,
            let entry = entries.first(where: { $0.key == key })
        else { return false }
        if case .table = entry.value.content { return true }
        return false
    }

    /// `wlan0`, `wwan0,backup`, `192.0.2.7` or `192.0.2.0/24,backup` as an entry of `uplinks`.
    fileprivate static func uplink(_ text: String, _ place: Place) -> Item {
        let parts = text.split(
            separator: ",", maxSplits: 1,
            omittingEmptySubsequences: false
        ).map(String.init)
        let key = Subnet(parts[0]) == nil ? UplinkKey.interface : .address
        var item = Item(content: .table([]), place: place)
        item.set([key.rawValue], to: .text(parts[0], place))
        if parts.count == 2 { item.set([UplinkKey.role.rawValue], to: .text(parts[1], place)) }
        return item
    }
}

extension Configuration {
    /// Reads the configuration of `kind` from a file (nil: from flags alone).
    public static func load(
        _ kind: ConfigurationKind, file: String?, overrides: Overrides = Overrides()
    ) throws(ConfigurationErrors) -> Configuration {
        let report = Report()
        var root: Item
        if let file {
            root = try tree(of: file, report: report)
            // The file's own kind first: every key of the other kind would be reported as unknown.
            if let found = root.kind, found != kind {
                let start = "braid \(found.rawValue) --config \(file)"
                report.say(
                    .file(file),
                    "is a configuration of the \(found.rawValue); start it with: \(start)")
                throw ConfigurationErrors(problems: report.sorted)
            }
        } else {
            guard !overrides.isEmpty else {
                report.say(
                    .commandLine,
                    "no configuration; give a file with --config, or see braid \(kind.rawValue) --help"
                )
                throw ConfigurationErrors(problems: report.sorted)
            }
            root = Item(content: .table([]), place: .commandLine)
        }
        overrides.apply(to: &root)
        return try read(root, kind: kind, folder: file.map(folder) ?? "", report: report)
    }

    /// Reads a configuration whose kind is told by its keys.
    public static func check(file: String) throws(ConfigurationErrors) -> Configuration {
        let report = Report()
        let root = try tree(of: file, report: report)
        guard let kind = root.kind else {
            report.say(.file(file), root.whyOfNoKind)
            throw ConfigurationErrors(problems: report.sorted)
        }
        return try read(root, kind: kind, folder: folder(of: file), report: report)
    }

    private static func read(
        _ root: Item, kind: ConfigurationKind, folder: String, report: Report
    ) throws(ConfigurationErrors) -> Configuration {
        let found: Configuration? =
            switch kind {
            case .proxy: ProxyConfiguration(root, folder: folder, report: report).map { .proxy($0) }
            case .concentrator:
                ConcentratorConfiguration(
                    root, folder: folder,
                    report: report
                ).map { .concentrator($0) }
            }
        guard report.problems.isEmpty, let found else {
            precondition(!report.problems.isEmpty, "a configuration was refused without a reason")
            throw ConfigurationErrors(problems: report.sorted)
        }
        return found
    }

    private static func tree(of file: String, report: Report) throws(ConfigurationErrors) -> Item {
        if let text = contents(of: file, report: report),
            let root = Item(yaml: text, file: file, report: report)
        {
            return root
        }
        throw ConfigurationErrors(problems: report.sorted)
    }

    /// A file of the users' directory; nil after saying what is wrong with it. One that has just
    /// been removed is none.
    static func tree(ofUser file: String, report: Report) -> Item? {
        guard access(file, F_OK) == 0 || errno != ENOENT else { return nil }
        return contents(of: file, report: report).flatMap {
            Item(yaml: $0, file: file, report: report)
        }
    }

    /// The path up to and with the last slash: names in a file are relative to where it lies.
    private static func folder(of file: String) -> String {
        file.lastIndex(of: "/").map { String(file[...$0]) } ?? ""
    }

    /// A configuration of more than a mebibyte is some other file.
    private static let largestFile = 1 << 20
    /// For the next piece of one that somebody writes meanwhile: a program that runs waits with
    /// everything it does.
    private static let maximumWaitMilliseconds: Int32 = 1_000

    private static func contents(of file: String, report: Report) -> String? {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            report.say(.file(file), "can't be read: \(String(cString: strerror(errno)))")
            return nil
        }
        defer { close(descriptor) }
        var watch = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        var bytes = [UInt8](repeating: 0, count: largestFile + 1), count = 0
        while count < bytes.count {
            let n = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            if n < 0, errno == EINTR { continue }
            if n < 0, errno == EAGAIN {
                if poll(&watch, 1, maximumWaitMilliseconds) > 0 { continue }
                report.say(.file(file), "can't be read: whoever is to write it says nothing")
                return nil
            }
            if n < 0 {
                report.say(.file(file), "can't be read: \(String(cString: strerror(errno)))")
                return nil
            }
            if n == 0 { break }
            count += n
        }
        guard count <= largestFile, let text = String(validating: bytes[..<count], as: UTF8.self)
        else {
            report.say(
                .file(file), "is not a configuration (it is not UTF-8 text of at most 1 MiB)")
            return nil
        }
        return text
    }
}

extension Item {
    /// Which kind of file this is, by the keys that only one kind has; nil where they don't tell.
    fileprivate var kind: ConfigurationKind? {
        let (proxy, concentrator) = keysOfOneKind
        if proxy.count == concentrator.count { return nil }
        return proxy.count > concentrator.count ? .proxy : .concentrator
    }

    /// The file's keys that only one kind has, in the order of the file.
    private var keysOfOneKind: (proxy: [String], concentrator: [String]) {
        guard case .table(let entries) = content else { return ([], []) }
        let keys = entries.map(\.key)
        return (
            keys.filter { ConfigurationKind.only(having: $0) == .proxy },
            keys.filter { ConfigurationKind.only(having: $0) == .concentrator }
        )
    }

    /// The end of a sentence about a file whose keys don't tell its kind.
    fileprivate var whyOfNoKind: String {
        let (proxy, concentrator) = keysOfOneKind
        guard !proxy.isEmpty else {
            return
                "is neither a proxy's configuration (key concentrator) nor a concentrator's (key users)"
        }
        return "has keys of a proxy (\(proxy.joined(separator: ", "))) and of a concentrator"
            + " (\(concentrator.joined(separator: ", "))); each of the two has a file of its own"
    }
}

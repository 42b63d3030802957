import Glibc
import Measures
import Multipath
import Proxy
import Rules
import Shell
import Tunnel

/// Keys of one of the `rules`.
enum RuleKey: String, CaseIterable {
    case to, ports, transport = "protocol", listener, from, user
    case then, uplink, mode, udp, open, uplinks
}

/// Keys of a member of `to` that is a file.
enum RuleFileKey: String, CaseIterable { case file }

/// The words for what a rule has done.
enum RuleAction: String, CaseIterable { case tunnel, direct, block }

/// Reads `rules`, which name things of the rest of the file.
struct RuleSection {
    /// Where the proxy listens.
    var listeners: [SocketAddress]
    /// Empty: whatever has a default route.
    var uplinks: [UplinkSelector]
    /// Empty, or with a slash at its end.
    var folder: String

    /// What is wrong stands in the report.
    func read(_ field: Field) -> RuleSet {
        guard let fields = field.list() else { return RuleSet() }
        if fields.isEmpty {
            field.complain("is empty; write - { to: .example.org, then: direct }, or leave it out")
        }
        var left = Defaults.ruleEntries
        var rules: [Rule] = []
        for (i, field) in fields.enumerated() {
            guard let table = Table<RuleKey>(field), let rule = read(table, left: &left) else {
                continue
            }
            let isAboutAll = !RuleKey.conditions.contains { table.has($0) }
            if isAboutAll, i + 1 < fields.count {
                field.complain(
                    "is about everything, so that no rule behind it counts; put it last")
            }
            rules.append(rule)
        }
        if left < 0 {
            field.complain(
                "the rules have more than \(Defaults.ruleEntries) names and ranges together")
        }
        return RuleSet(rules)
    }

    private func read(_ table: Table<RuleKey>, left: inout Int) -> Rule? {
        guard let action = action(table) else { return nil }
        var rule = Rule(action)
        rule.destinations = table[.to].map { destinations($0, left: &left) }
        rule.ports = (table[.ports]?.list() ?? []).compactMap { $0.ports() }
        rule.transport = table[.transport]?.choice(FlowFacts.Transport.self)
        rule.entries = (table[.listener]?.list() ?? []).compactMap { entry($0) }
        for field in table[.from]?.list() ?? [] {
            if let range = field.subnet() { rule.sources.insert(range) }
        }
        rule.sources.sort()
        rule.users = (table[.user]?.list() ?? []).compactMap { $0.user() }
        for key in RuleKey.conditions {
            guard let field = table[key], case .list(let members) = field.item.content,
                members.isEmpty
            else { continue }
            field.complain("is empty, so that the rule fits nothing; leave the key out")
        }
        return rule
    }

    // MARK: What is done

    private func action(_ table: Table<RuleKey>) -> Action? {
        let word = table[.then].map { $0.choice(RuleAction.self) } ?? .tunnel
        guard let word else { return nil }
        if word != .tunnel {
            for key in [RuleKey.mode, .udp, .open, .uplinks] {
                table[key]?.complain(
                    "is about what goes through the tunnel, and this rule says \(word.rawValue)")
            }
        }
        if word != .direct {
            table[.uplink]?.complain(
                word == .tunnel
                    ? "is for then: direct; for the tunnel write uplinks: [NAME, ...]"
                    : "is for then: direct, and this rule says block")
        }
        switch word {
        case .block: return .block
        case .direct: return .direct(uplink: table[.uplink].flatMap { uplink($0) })
        case .tunnel:
            var options = TunnelOptions()
            options.mode = table[.mode]?.choice(HandoverMode.self)
            options.open = table[.open]?.choice(OpenPolicy.self)
            options.datagrams = table[.udp]?.datagramChoice()
            if let field = table[.uplinks] {
                let names = (field.list() ?? []).compactMap { uplink($0) }
                if case .list(let members) = field.item.content, members.isEmpty {
                    field.complain("is empty, so that nothing could be sent; leave the key out")
                }
                options.uplinks = names
            }
            return .tunnel(options)
        }
    }

    /// One of those of the configuration, where it names some.
    private func uplink(_ field: Field) -> String? {
        guard let text = field.text() else { return nil }
        let known = uplinks.map(\.description)
        if known.isEmpty || known.contains(text) { return text }
        // An address of the configuration without its prefix.
        if let range = Subnet(text), known.contains("\(range)") { return "\(range)" }
        let hint = nearestName(to: text, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
        return field.wrong(
            "\"\(text)\" is none of the uplinks \(known.joined(separator: ", "))\(hint)")
    }

    // MARK: What it is about

    private func entry(_ field: Field) -> FlowFacts.Entry? {
        guard let text = field.text() else { return nil }
        if text == "captured" { return .captured }
        if let address = SocketAddress(text), listeners.contains(address) {
            return .listener(address)
        }
        let known = listeners.map(\.description) + ["captured"]
        let hint = nearestName(to: text, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
        return field.wrong("\"\(text)\" is none of \(known.joined(separator: ", "))\(hint)")
    }

    private func destinations(_ field: Field, left: inout Int) -> Rule.Destinations {
        var destinations = Rule.Destinations()
        for member in field.list() ?? [] {
            if case .table = member.item.content {
                guard
                    let path = Table<RuleFileKey>(member)?.required(
                        .file, "a member of \(field.name) is a name, a range or { file: PATH }")?
                        .path(relativeTo: folder)
                else { continue }
                ListFile(path: path, field: member).read(into: &destinations, left: &left)
            } else if let text = member.text() {
                left -= 1
                if let wrong = destinations.insert(text) { member.complain(wrong) }
            }
        }
        destinations.ranges.sort()
        return destinations
    }
}

extension RuleKey {
    static var conditions: [RuleKey] { [.to, .ports, .transport, .listener, .from, .user] }
}

extension Rule.Destinations {
    /// Takes `example.org` (that name), `.example.org` (and all below it), an address or a range.
    /// Nil, or what is wrong with it.
    fileprivate mutating func insert(_ text: some StringProtocol) -> String? {
        let first = text.utf8.first ?? 0
        let mayBeRange = (0x30...0x39).contains(first) || text.utf8.contains(UInt8(ascii: ":"))
        if mayBeRange, let range = Subnet(text) {
            ranges.insert(range)
            return nil
        }
        if text.hasPrefix("*.") {
            return "\"\(text)\": write \(text.dropFirst()) for a name and all below it"
        }
        let isSuffix = text.hasPrefix(".")
        let name = isSuffix ? text.dropFirst() : text[...]
        // Digits and dots alone are a broken address.
        if name.utf8.contains(where: { ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7a }),
            names.insert(name, isSuffix ? .suffix : .exact)
        {
            return nil
        }
        return "\"\(text)\" is neither a name such as example.org or .example.org"
            + " nor a range such as 192.168.0.0/16"
    }
}

/// A file of names and ranges, one a line; what stands behind `#` is for people.
private struct ListFile {
    let path: String
    let field: Field
    /// Of one file; who took the wrong file need not see all of it.
    private static let maximumProblems = 20

    func read(into destinations: inout Rule.Destinations, left: inout Int) {
        guard let bytes = contents() else { return }
        var problems = 0, line = 0
        for piece in bytes.split(separator: 10, omittingEmptySubsequences: false) {
            line += 1
            let said = piece.prefix { $0 != UInt8(ascii: "#") }
            let isSpace = { (byte: UInt8) in byte == 32 || byte == 9 || byte == 13 }
            let trimmed = said.drop(while: isSpace)
            let length = trimmed.reversed().drop(while: isSpace).count
            guard length > 0 else { continue }
            left -= 1
            guard left >= 0 else { return }
            guard let text = String(validating: trimmed.prefix(length), as: UTF8.self) else {
                complain(line, "is not UTF-8 text")
                problems += 1
                continue
            }
            guard let wrong = destinations.insert(text) else { continue }
            complain(line, wrong)
            problems += 1
            if problems == Self.maximumProblems {
                field.report.say(.file(path), "more lines may be wrong; they were not looked at")
                return
            }
        }
    }

    private func complain(_ line: Int, _ sentence: String) {
        field.report.say(.line(line, of: path), sentence)
    }

    private func contents() -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            return field.wrong("\(path) can't be read: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var about = stat()
        guard fstat(descriptor, &about) == 0, about.st_mode & S_IFMT == S_IFREG else {
            return field.wrong("\(path) is not a file")
        }
        guard about.st_size <= Defaults.ruleFileBytes else {
            return field.wrong("\(path) is larger than \(Defaults.ruleFileBytes >> 20) MiB")
        }
        var bytes = [UInt8](repeating: 0, count: Int(about.st_size)), count = 0
        while count < bytes.count {
            let n = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            guard n >= 0 else {
                return field.wrong("\(path) can't be read: \(String(cString: strerror(errno)))")
            }
            if n == 0 { break }
            count += n
        }
        bytes.removeSubrange(count...)
        return bytes
    }
}

extension Field {
    /// `443` or `8000-8999`.
    fileprivate func ports() -> ClosedRange<UInt16>? {
        guard let text = text() else { return nil }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { end in
            end.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(end) : nil
        }
        guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1],
            first > 0, first <= last
        else {
            return wrong("\"\(text)\" is not a port such as 443 or ports such as 8000-8999")
        }
        return first...last
    }

    /// A user of this machine, by name or number.
    fileprivate func user() -> UInt32? {
        guard let text = text() else { return nil }
        if let number = UInt32(text), text.first != "+" { return number }
        guard let user = Privileges.User(name: text) else {
            return wrong("\"\(text)\" is no user of this machine, nor a user's number")
        }
        return user.number
    }

    /// How datagrams use the uplinks, or `off`.
    fileprivate func datagramChoice() -> DatagramChoice? {
        guard let text = text() else { return nil }
        if text == "off" { return .off }
        if let policy = DatagramPolicy.allCases.first(where: { $0.label == text }) {
            return .policy(policy)
        }
        let names = DatagramPolicy.allCases.map(\.label) + ["off"]
        let hint = nearestName(to: text, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
        return wrong("\"\(text)\" is none of \(names.joined(separator: ", "))\(hint)")
    }
}

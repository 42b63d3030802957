import Glibc
import Measures
import Shell

/// Keys of `capture`.
enum CaptureKey: String, CaseIterable {
    case machine, networks, include, exclude, excludeUsers = "exclude_users", udp, method
    case onExit = "on_exit"
}

extension CapturePlan {
    /// Reads `capture`; nil where it captures nothing, or after saying what is wrong.
    init?(_ field: Field) {
        guard let table = Table<CaptureKey>(field) else { return nil }
        self.init()
        machine = table[.machine]?.choice(Truth.self) == .true
        networks = table[.networks].flatMap { Self.networks($0) } ?? []
        include = (table[.include]?.list() ?? []).compactMap { Self.range($0) }
        exclude = (table[.exclude]?.list() ?? []).compactMap { Self.range($0) }
        excludeUsers = (table[.excludeUsers]?.list() ?? []).compactMap { Self.user($0) }
        udp = table[.udp].map { $0.choice(Truth.self) == .true } ?? true
        method = table[.method].flatMap { $0.choice(Method.self) } ?? Defaults.captureMethod
        exit = table[.onExit].flatMap { $0.choice(Exit.self) } ?? Defaults.onExit
        if !machine, networks.isEmpty {
            field.complain(
                "captures nothing; say machine: true, or networks: [br-lan], or leave it out")
            return nil
        }
        if !machine, !excludeUsers.isEmpty {
            table[.excludeUsers]?.complain(
                "only programs of this machine have users; say machine: true, or leave it out")
        }
    }

    private static func networks(_ field: Field) -> [String]? {
        guard let fields = field.list() else { return nil }
        var found: [String] = []
        for field in fields {
            guard let name = field.text() else { continue }
            // The kernel's rule for names of interfaces; quotes would end the name in nftables.
            let isName =
                (1...15).contains(name.utf8.count) && name != "lo"
                && name.utf8.allSatisfy { $0 > 32 && $0 < 127 && !"/:\"*{}".utf8.contains($0) }
            if !isName {
                field.complain(
                    "\"\(name)\" is no interface whose clients could be captured, such as br-lan")
            } else if found.contains(name) {
                field.complain("\(name) is listed twice; leave one of them out")
            } else {
                found.append(name)
            }
        }
        return found
    }

    private static func range(_ field: Field) -> Subnet? {
        guard let text = field.text() else { return nil }
        guard let range = Subnet(text) else {
            return field.wrong("\"\(text)\" is no range of addresses, such as 192.168.0.0/16")
        }
        guard range.prefix > 0 else {
            return field.wrong("\(text) is every address; name networks")
        }
        return range
    }

    private static func user(_ field: Field) -> UInt32? {
        guard let text = field.text() else { return nil }
        if let number = UInt32(text), number != UInt32.max { return number }
        guard let entry = getpwnam(text) else {
            return field.wrong("this machine has no user \"\(text)\"; give a name or a number")
        }
        return entry.pointee.pw_uid
    }
}

import CMnl
import Glibc
import Measures

/// The rules and the route by which captured packets come in again, for each family: what carries
/// a program's mark, or a client's and comes by the interface of its network, is routed by a table
/// of its own to this machine.
///
/// Both have a protocol number of Braid's own (`ip rule` and `ip route` show it), so that they are
/// known again after a crash, and nothing of others is ever taken away.
struct CaptureRoutes: Equatable {
    /// None of iproute2's list; whoever uses it, too, has other marks.
    static let protocolNumber: UInt8 = 177
    /// The first number of a table, and of a rule's priority, that are tried; others' are left
    /// alone.
    static let firstTable: UInt32 = 8684, firstPriority: UInt32 = 90
    static let tries: UInt32 = 10

    var table = CaptureRoutes.firstTable
    var priority = CaptureRoutes.firstPriority
    /// Interfaces whose clients are captured.
    var networks: [String] = []
    /// Those of the machine; a kernel without IPv6 has IPv4 only.
    var hasIPv6 = true

    /// The mark of what is routed so, and by which interface it came; nil: by any.
    struct Rule: Equatable {
        var mark = CaptureMark.captured
        var interface: String?
    }
    private var rules: [Rule] {
        [Rule()] + networks.map { Rule(mark: CaptureMark.capturedNetwork, interface: $0) }
    }

    /// As ip(8) would be told.
    var commands: [String] {
        (hasIPv6 ? ["-4", "-6"] : ["-4"]).flatMap { family in
            rules.map { rule in
                "ip \(family) rule add\(rule.interface.map { " iif \($0)" } ?? "") fwmark "
                    + "\(CaptureMark.hex(rule.mark))/\(CaptureMark.hex(CaptureMark.mask))"
                    + " lookup \(table) priority \(priority) protocol \(Self.protocolNumber)"
            } + [
                "ip \(family) route add local default dev lo table \(table)"
                    + " proto \(Self.protocolNumber)"
            ]
        }
    }

    /// Sets them, in place of those that a crash has left. Needs CAP_NET_ADMIN.
    static func install(_ networks: [String]) throws(SystemError) -> CaptureRoutes {
        let socket = try RouteSocket()
        try removeAll(socket)
        var routes = CaptureRoutes()
        routes.networks = networks
        let (tables, priorities) = try socket.inUse()
        while tables.contains(routes.table), routes.table < firstTable + tries {
            routes.table += 1
        }
        // Ahead of others' (the kernel's own is 0): a VPN's may be about everything.
        if let first = priorities.subtracting([0]).min(), first <= routes.priority {
            routes.priority = max(first - 1, 1)
        }
        while priorities.contains(routes.priority), routes.priority < firstPriority + tries {
            routes.priority += 1
        }
        try routes.add(socket, isIPv4: true)
        do throws(SystemError) {
            try routes.add(socket, isIPv4: false)
        } catch {
            guard [EAFNOSUPPORT, EOPNOTSUPP, EACCES, EPERM, ENODEV].contains(error.code) else {
                try removeAll(socket)
                throw error
            }
            // Disabled, or not built in.
            routes.hasIPv6 = false
        }
        return routes
    }

    /// Those that stand, where they are just the ones for these networks; else nil.
    static func present(_ networks: [String]) throws(SystemError) -> CaptureRoutes? {
        let found = try RouteSocket().ownRules()
        guard var routes = found.first?.routes else { return nil }
        routes.networks = networks
        routes.hasIPv6 = found.contains { !$0.isIPv4 }
        for isIPv4 in routes.hasIPv6 ? [true, false] : [true] {
            let own = found.filter { $0.isIPv4 == isIPv4 }
            guard own.count == routes.rules.count,
                own.allSatisfy({
                    $0.routes.table == routes.table && $0.routes.priority == routes.priority
                        && routes.rules.contains($0.rule)
                })
            else { return nil }
        }
        return try routes.areInForce() ? routes : nil
    }

    /// Takes away what carries the protocol number and the mark; nothing where there is nothing.
    static func removeAll() throws(SystemError) { try removeAll(RouteSocket()) }

    /// Whether captured packets come in again, programs' and those of every network's clients:
    /// somebody may have taken the rules or the route away, as a loopback that goes down does, or
    /// have put another ahead of them.
    func areInForce() throws(SystemError) -> Bool {
        let socket = try RouteSocket()
        guard try socket.ownRules().count == rules.count * (hasIPv6 ? 2 : 1) else { return false }
        let origins = try clients()
        for isIPv4 in hasIPv6 ? [true, false] : [true] {
            guard socket.way(CaptureMark.captured, isIPv4: isIPv4) == .here else { return false }
            for origin in origins where origin.client.isIPv4 == isIPv4 {
                // Where the kernel does not say it is no reason to set everything anew.
                let way = socket.way(CaptureMark.capturedNetwork, isIPv4: isIPv4, from: origin)
                if way == .elsewhere { return false }
            }
        }
        return true
    }

    /// For each network's interface an address that a client of it could have.
    private func clients() throws(SystemError) -> [Origin] {
        guard !networks.isEmpty else { return [] }
        let snapshot = try Netlink.snapshot()
        let own = Set(snapshot.addresses.map(\.address))
        return networks.flatMap { name -> [Origin] in
            guard let link = snapshot.links.first(where: { $0.name == name && $0.isUp }) else {
                return []
            }
            return snapshot.addresses.filter { $0.interface == link.index }.compactMap { found in
                Self.neighbour(of: found.address, prefix: found.prefix, besides: own)
                    .map { Origin(interface: UInt32(link.index), client: $0) }
            }
        }
    }

    /// Another address of the same subnet, neither its first nor its last one.
    static func neighbour(
        of address: IPAddress, prefix: Int, besides own: Set<IPAddress>
    ) -> IPAddress? {
        guard prefix <= (address.isIPv4 ? 29 : 64) else { return nil }
        for change in UInt32(1)...7 {
            guard address.isIPv4 else {
                let other = IPAddress(v6High: address.high, low: address.low ^ UInt64(change))
                if !own.contains(other) { return other }
                continue
            }
            let other = IPAddress(v4: address.v4 ^ change), hosts = UInt32.max >> UInt32(prefix)
            let host = other.v4 & hosts
            if host != 0, host != hosts, !own.contains(other) { return other }
        }
        return nil
    }

    /// Where a packet comes from.
    struct Origin {
        var interface: UInt32
        var client: IPAddress
    }

    /// As ip(8) would be told what is set now.
    static func current() throws(SystemError) -> [String] {
        let found = try RouteSocket().ownRules()
        guard var routes = found.first?.routes else { return [] }
        routes.hasIPv6 = found.contains { !$0.isIPv4 }
        routes.networks = found.compactMap { $0.isIPv4 ? $0.rule.interface : nil }
        return routes.commands
    }

    private static func removeAll(_ socket: RouteSocket) throws(SystemError) {
        for (routes, rule, isIPv4) in try socket.ownRules() {
            try socket.change(rule, of: routes, isIPv4: isIPv4, isNew: false)
        }
        for (table, isIPv4) in try socket.ownRoutes() {
            try socket.changeRoute(table, isIPv4: isIPv4, isNew: false)
        }
    }

    private func add(_ socket: RouteSocket, isIPv4: Bool) throws(SystemError) {
        try socket.changeRoute(table, isIPv4: isIPv4, isNew: true)
        var done: [Rule] = []
        do throws(SystemError) {
            for rule in rules {
                try socket.change(rule, of: self, isIPv4: isIPv4, isNew: true)
                done.append(rule)
            }
        } catch {
            for rule in done {
                try? socket.change(rule, of: self, isIPv4: isIPv4, isNew: false)
            }
            try? socket.changeRoute(table, isIPv4: isIPv4, isNew: false)
            throw error
        }
    }
}

/// rtnetlink for rules and routes.
private final class RouteSocket {
    private let socket: OpaquePointer
    private let loopback: UInt32

    init() throws(SystemError) {
        loopback = if_nametoindex("lo")
        socket = try Netlink.open(NETLINK_ROUTE)
    }

    deinit { mnl_socket_close(socket) }

    func change(
        _ rule: CaptureRoutes.Rule, of routes: CaptureRoutes, isIPv4: Bool, isNew: Bool
    ) throws(SystemError) {
        var head = fib_rule_hdr()
        head.family = UInt8(isIPv4 ? AF_INET : AF_INET6)
        head.action = UInt8(FR_ACT_TO_TBL)
        try Netlink.change(
            socket, isNew ? Int(RTM_NEWRULE) : Int(RTM_DELRULE), isNew: isNew, head,
            "change the routing rules"
        ) {
            mnl_attr_put_u32($0, UInt16(FRA_PRIORITY), routes.priority)
            if let interface = rule.interface {
                mnl_attr_put_strz($0, UInt16(FRA_IIFNAME), interface)
            }
            mnl_attr_put_u32($0, UInt16(FRA_FWMARK), rule.mark)
            mnl_attr_put_u32($0, UInt16(FRA_FWMASK), CaptureMark.mask)
            mnl_attr_put_u32($0, UInt16(FRA_TABLE), routes.table)
            mnl_attr_put_u8($0, UInt16(FRA_PROTOCOL), CaptureRoutes.protocolNumber)
        }
    }

    func changeRoute(_ table: UInt32, isIPv4: Bool, isNew: Bool) throws(SystemError) {
        var head = rtmsg()
        head.rtm_family = UInt8(isIPv4 ? AF_INET : AF_INET6)
        head.rtm_protocol = CaptureRoutes.protocolNumber
        head.rtm_type = UInt8(RTN_LOCAL)
        head.rtm_scope = UInt8(isIPv4 ? RT_SCOPE_HOST.rawValue : RT_SCOPE_UNIVERSE.rawValue)
        let loopback = loopback
        try Netlink.change(
            socket, isNew ? Int(RTM_NEWROUTE) : Int(RTM_DELROUTE), isNew: isNew, head,
            "change the routes"
        ) {
            mnl_attr_put_u32($0, UInt16(RTA_TABLE.rawValue), table)
            mnl_attr_put_u32($0, UInt16(RTA_OIF.rawValue), loopback)
        }
    }

    /// What the kernel would do with a packet: deliver it to this machine, or something else.
    enum Way { case here, elsewhere, unknown }

    /// Where a packet with this mark would go on its way to an address that nobody has (RFC 5737,
    /// RFC 3849); `from`: nil: it is this machine's.
    func way(
        _ mark: UInt32, isIPv4: Bool, from origin: CaptureRoutes.Origin? = nil
    ) -> Way {
        var head = rtmsg()
        head.rtm_family = UInt8(isIPv4 ? AF_INET : AF_INET6)
        head.rtm_dst_len = isIPv4 ? 32 : 128
        if origin != nil { head.rtm_src_len = head.rtm_dst_len }
        let target =
            isIPv4
            ? IPAddress(v4: 0xc000_0201) : IPAddress(v6High: 0x2001_0db8_0000_0000, low: 1)
        var way = Way.unknown
        Netlink.ask(socket, Int(RTM_GETROUTE), head) { message in
            Self.put(target, RTA_DST, message)
            mnl_attr_put_u32(message, UInt16(RTA_MARK.rawValue), mark)
            guard let origin else { return }
            Self.put(origin.client, RTA_SRC, message)
            mnl_attr_put_u32(message, UInt16(RTA_IIF.rawValue), origin.interface)
        } _: { answer in
            switch Int32(answer.pointee.nlmsg_type) {
            case NLMSG_ERROR:
                let code = -(Netlink.payload(answer, as: nlmsgerr.self)?.error ?? 0)
                let isNowhere = [EHOSTUNREACH, ENETUNREACH, EACCES].contains(code)
                if isNowhere { way = .elsewhere }
            case Int32(RTM_NEWROUTE):
                guard let found = Netlink.payload(answer, as: rtmsg.self) else { return }
                way = Int(found.rtm_type) == Int(RTN_LOCAL) ? .here : .elsewhere
            default: break
            }
        }
        return way
    }

    private static func put(
        _ address: IPAddress, _ type: rtattr_type_t, _ message: UnsafeMutablePointer<nlmsghdr>
    ) {
        if address.isIPv4 {
            mnl_attr_put_u32(message, UInt16(type.rawValue), address.v4.bigEndian)
        } else {
            var words = (address.high.bigEndian, address.low.bigEndian)
            mnl_attr_put(message, UInt16(type.rawValue), 16, &words)
        }
    }

    typealias Found = (routes: CaptureRoutes, rule: CaptureRoutes.Rule, isIPv4: Bool)

    /// Rules with Braid's protocol number and marks.
    func ownRules() throws(SystemError) -> [Found] {
        var out: [Found] = []
        try forEachRule { head, numbers, interface in
            guard numbers[FRA_PROTOCOL] == UInt32(CaptureRoutes.protocolNumber),
                let mark = numbers[FRA_FWMARK],
                mark == CaptureMark.captured || mark == CaptureMark.capturedNetwork,
                numbers[FRA_FWMASK] == CaptureMark.mask
            else { return }
            let rule = CaptureRoutes.Rule(mark: mark, interface: interface)
            var routes = CaptureRoutes()
            routes.table = numbers[FRA_TABLE] ?? UInt32(head.table)
            routes.priority = numbers[FRA_PRIORITY] ?? 0
            out.append((routes, rule, Int32(head.family) == AF_INET))
        }
        return out
    }

    /// The tables that hold a route of Braid's.
    func ownRoutes() throws(SystemError) -> [(table: UInt32, isIPv4: Bool)] {
        var out: [(table: UInt32, isIPv4: Bool)] = []
        try forEachRoute { head, table in
            guard head.rtm_protocol == CaptureRoutes.protocolNumber,
                Int(head.rtm_type) == Int(RTN_LOCAL), head.rtm_dst_len == 0
            else { return }
            out.append((table, Int32(head.rtm_family) == AF_INET))
        }
        return out
    }

    /// Tables with routes of others, and priorities of others' rules.
    func inUse() throws(SystemError) -> (tables: Set<UInt32>, priorities: Set<UInt32>) {
        var tables: Set<UInt32> = [], priorities: Set<UInt32> = []
        try forEachRoute { _, table in tables.insert(table) }
        try forEachRule { head, numbers, _ in
            tables.insert(numbers[FRA_TABLE] ?? UInt32(head.table))
            priorities.insert(numbers[FRA_PRIORITY] ?? 0)
        }
        return (tables, priorities)
    }

    private func forEachRule(
        _ take: (fib_rule_hdr, [Int: UInt32], _ interface: String?) -> Void
    ) throws(SystemError) {
        try forEach(Int(RTM_GETRULE), Int(RTM_NEWRULE), fib_rule_hdr(), \.family) {
            head, message in
            var numbers: [Int: UInt32] = [:], interface: String?
            Netlink.forEachAttribute(message, after: MemoryLayout<fib_rule_hdr>.size) {
                if $0 == Int(FRA_IIFNAME) {
                    interface = String(decoding: $1.prefix { $0 != 0 }, as: UTF8.self)
                } else if $1.count == 4 {
                    numbers[$0] = $1.loadUnaligned(as: UInt32.self)
                } else if $1.count == 1 {
                    numbers[$0] = UInt32($1[0])
                }
            }
            take(head, numbers, interface)
        }
    }

    private func forEachRoute(_ take: (rtmsg, UInt32) -> Void) throws(SystemError) {
        try forEach(Int(RTM_GETROUTE), Int(RTM_NEWROUTE), rtmsg(), \.rtm_family) {
            head, message in
            var table = UInt32(head.rtm_table)
            Netlink.forEachAttribute(message, after: MemoryLayout<rtmsg>.size) {
                if $0 == Int(RTA_TABLE.rawValue), $1.count == 4 {
                    table = $1.loadUnaligned(as: UInt32.self)
                }
            }
            take(head, table)
        }
    }

    /// Dumps both families, one after the other, by messages of `request`; hands over what is of
    /// the type `answer`.
    private func forEach<Head>(
        _ request: Int, _ answer: Int, _ empty: Head, _ family: WritableKeyPath<Head, UInt8>,
        _ take: (Head, UnsafePointer<nlmsghdr>) -> Void
    ) throws(SystemError) {
        for wanted in [UInt8(AF_INET), UInt8(AF_INET6)] {
            var head = empty
            head[keyPath: family] = wanted
            try Netlink.dump(socket, UInt16(request), head) { message in
                guard Int(message.pointee.nlmsg_type) == answer,
                    let head = Netlink.payload(message, as: Head.self),
                    head[keyPath: family] == wanted
                else { return }
                take(head, message)
            }
        }
    }
}

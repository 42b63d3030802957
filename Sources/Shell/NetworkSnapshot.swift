import CMnl
import Glibc
import Measures

/// Links, addresses and default routes as rtnetlink shows them at one moment.
struct NetworkSnapshot: Equatable {
    struct Link: Equatable {
        var index: Int
        var name: String
        var mtu: Int
        /// Administratively up, with a carrier.
        var isUp: Bool
        var isLoopback: Bool
    }
    struct Address: Equatable {
        var interface: Int
        var address: IPAddress
        /// Bits of its subnet.
        var prefix = 128
        /// Replaced every so often (RFC 8981); of use only where there is no other.
        var isTemporary: Bool
    }
    struct DefaultRoute: Hashable {
        var interface: Int
        var isIPv4: Bool
    }
    var links: [Link] = []
    var addresses: [Address] = []
    var defaultRoutes: Set<DefaultRoute> = []
}

/// What rtnetlink(7) says of links, addresses and routes.
extension Netlink {
    /// Asks the kernel for everything; a fraction of a millisecond.
    static func snapshot() throws(SystemError) -> NetworkSnapshot {
        let socket = try open(NETLINK_ROUTE)
        defer { mnl_socket_close(socket) }
        var out = NetworkSnapshot()
        for request in [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE] {
            try dump(socket, UInt16(request)) { read($0, into: &out) }
        }
        return out
    }

    /// Takes what a message says, whatever it is of.
    static func read(_ message: UnsafePointer<nlmsghdr>, into snapshot: inout NetworkSnapshot) {
        if let link = readLink(message) { snapshot.links.append(link) }
        if let address = readAddress(message) { snapshot.addresses.append(address) }
        readDefaultRoute(message, into: &snapshot.defaultRoutes)
    }

    /// Everything the kernel delivers to this machine: the addresses of its interfaces, link-local
    /// ones and those of interfaces that are down too, and whatever `ip route add local` names.
    static func localRanges() throws(SystemError) -> Set<Subnet> {
        let socket = try open(NETLINK_ROUTE)
        defer { mnl_socket_close(socket) }
        var out: Set<Subnet> = []
        try dump(socket, UInt16(RTM_GETADDR)) { message in
            guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWADDR) else { return }
            var local: IPAddress?, other: IPAddress?
            forEachAttribute(message, after: MemoryLayout<ifaddrmsg>.size) { type, bytes in
                if type == Int(IFA_LOCAL) { local = address(bytes) }
                if type == Int(IFA_ADDRESS) { other = address(bytes) }
            }
            // The far end of a point-to-point link (IFA_ADDRESS beside IFA_LOCAL) is another
            // machine.
            if let found = local ?? other { out.insert(Subnet(found, prefix: 128)) }
        }
        try dump(socket, UInt16(RTM_GETROUTE)) { message in
            guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWROUTE),
                let head = payload(message, as: rtmsg.self),
                [Int(RTN_LOCAL), Int(RTN_ANYCAST)].contains(Int(head.rtm_type))
            else { return }
            forEachAttribute(message, after: MemoryLayout<rtmsg>.size) { type, bytes in
                if type == Int(RTA_DST.rawValue), let found = address(bytes) {
                    out.insert(Subnet(found, prefix: Int(head.rtm_dst_len)))
                }
            }
        }
        return out
    }

    private static func readLink(_ message: UnsafePointer<nlmsghdr>) -> NetworkSnapshot.Link? {
        guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWLINK),
            let head = payload(message, as: ifinfomsg.self)
        else { return nil }
        // net/if.h; Glibc shows them under differing types.
        let up: UInt32 = 0x1, loopback: UInt32 = 0x8, running: UInt32 = 0x40,
            lowerUp: UInt32 = 0x10000
        // The carrier (LOWER_UP) is the newer news: RUNNING follows it up to a second later.
        let wanted = up | running | lowerUp
        var link = NetworkSnapshot.Link(
            index: Int(head.ifi_index), name: "", mtu: 1500,
            isUp: head.ifi_flags & wanted == wanted,
            isLoopback: head.ifi_flags & loopback != 0)
        forEachAttribute(message, after: MemoryLayout<ifinfomsg>.size) { type, bytes in
            switch type {
            case Int(IFLA_IFNAME):
                link.name = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            case Int(IFLA_MTU): link.mtu = number(bytes) ?? link.mtu
            default: break
            }
        }
        return link.name.isEmpty ? nil : link
    }

    private static func readAddress(_ message: UnsafePointer<nlmsghdr>) -> NetworkSnapshot.Address?
    {
        guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWADDR),
            let head = payload(message, as: ifaddrmsg.self)
        else { return nil }
        let isIPv4 = Int32(head.ifa_family) == AF_INET
        guard isIPv4 || Int32(head.ifa_family) == AF_INET6 else { return nil }
        var flags = Int(head.ifa_flags), local: IPAddress?, other: IPAddress?
        forEachAttribute(message, after: MemoryLayout<ifaddrmsg>.size) { type, bytes in
            switch type {
            case Int(IFA_LOCAL): local = address(bytes)
            case Int(IFA_ADDRESS): other = address(bytes)
            case Int(IFA_FLAGS): flags = number(bytes) ?? flags
            default: break
            }
        }
        // IFA_LOCAL is the near end of a point-to-point link, and missing for IPv6 otherwise.
        guard let address = local ?? other, address.isIPv4 == isIPv4 else { return nil }
        // linux/if_addr.h: not yet, or never, usable as a source.
        let secondaryOrTemporary = 0x01, failed = 0x08, tentative = 0x40, optimistic = 0x04
        if !isIPv4, flags & failed != 0 || (flags & tentative != 0 && flags & optimistic == 0) {
            return nil
        }
        guard Int32(head.ifa_scope) != Int32(RT_SCOPE_LINK.rawValue) else { return nil }
        return NetworkSnapshot.Address(
            interface: Int(head.ifa_index), address: address,
            prefix: Int(head.ifa_prefixlen),
            isTemporary: !isIPv4 && flags & secondaryOrTemporary != 0)
    }

    private static func readDefaultRoute(
        _ message: UnsafePointer<nlmsghdr>,
        into routes: inout Set<NetworkSnapshot.DefaultRoute>
    ) {
        guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWROUTE),
            let head = payload(message, as: rtmsg.self),
            head.rtm_dst_len == 0, Int(head.rtm_type) == Int(RTN_UNICAST)
        else { return }
        let isIPv4 = Int32(head.rtm_family) == AF_INET
        guard isIPv4 || Int32(head.rtm_family) == AF_INET6 else { return }
        var found: [Int] = []
        forEachAttribute(message, after: MemoryLayout<rtmsg>.size) { type, bytes in
            if type == Int(RTA_OIF.rawValue), let index = number(bytes) { found.append(index) }
            if type == Int(RTA_MULTIPATH.rawValue) { found += nextHops(bytes) }
        }
        for index in found { routes.insert(.init(interface: index, isIPv4: isIPv4)) }
    }

    /// The interfaces of a multipath route: struct rtnexthop, each `rtnh_len` long.
    private static func nextHops(_ bytes: UnsafeRawBufferPointer) -> [Int] {
        var out: [Int] = [], at = 0
        while at + MemoryLayout<rtnexthop>.size <= bytes.count {
            let hop = bytes.loadUnaligned(fromByteOffset: at, as: rtnexthop.self)
            guard Int(hop.rtnh_len) >= MemoryLayout<rtnexthop>.size else { break }
            out.append(Int(hop.rtnh_ifindex))
            at += (Int(hop.rtnh_len) + 3) & ~3
        }
        return out
    }
}

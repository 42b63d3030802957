import CMnl
import Glibc
import Measures

/// Addresses of uplinks that are gone, while captured connections of this machine's programs have
/// them: a program's connection ends with its own address, whatever becomes of the tunnel, and so
/// the address stays, on the loopback.
///
/// They carry Braid's protocol number and a label, by which they are known after a crash.
final class KeptAddresses {
    private let socket: OpaquePointer
    private var known: Set<IPAddress>
    private(set) var kept: Set<IPAddress> = []

    /// Of an IPv4 address, as `ip address` shows it.
    private static let label = "lo:braid"

    /// Looks for the first time. Needs CAP_NET_ADMIN when it keeps one. `adopts`: those that
    /// another process keeps are this one's from now on.
    init(adopts: Bool = false) throws(SystemError) {
        socket = try Netlink.open(NETLINK_ROUTE)
        known = Self.elsewhere(try Netlink.snapshot())
        if adopts { kept = Set(try Self.leftovers(socket)) }
    }

    deinit { mnl_socket_close(socket) }

    /// Keeps what has gone and `isUsed`; lets go what came back, and what nobody has any more.
    func look(_ snapshot: NetworkSnapshot, isUsed: (IPAddress) -> Bool) throws(SystemError) {
        let now = Self.elsewhere(snapshot)
        for address in kept where now.contains(address) || !isUsed(address) {
            try Self.change(address, isNew: false, socket)
            kept.remove(address)
        }
        for address in known.subtracting(now) where isUsed(address) {
            try Self.change(address, isNew: true, socket)
            kept.insert(address)
        }
        known = now
    }

    /// Lets go all of them.
    func removeAll() {
        for address in kept { try? Self.change(address, isNew: false, socket) }
        kept = []
    }

    /// Takes away what a crash has left.
    static func removeLeftovers() throws(SystemError) {
        let socket = try Netlink.open(NETLINK_ROUTE)
        defer { mnl_socket_close(socket) }
        for address in try leftovers(socket) { try change(address, isNew: false, socket) }
    }

    /// Those of the loopback that some process of Braid's keeps, or kept.
    private static func leftovers(_ socket: OpaquePointer) throws(SystemError) -> [IPAddress] {
        var left: [IPAddress] = []
        let loopback = if_nametoindex("lo")
        try Netlink.dump(socket, UInt16(RTM_GETADDR), ifaddrmsg()) { message in
            guard Int(message.pointee.nlmsg_type) == Int(RTM_NEWADDR),
                let head = Netlink.payload(message, as: ifaddrmsg.self),
                head.ifa_index == loopback
            else { return }
            var isOurs = false, address: IPAddress?
            Netlink.forEachAttribute(message, after: MemoryLayout<ifaddrmsg>.size) { type, bytes in
                switch type {
                case Int(IFA_LABEL):
                    isOurs = isOurs || bytes.prefix { $0 != 0 }.elementsEqual(label.utf8)
                case protocolAttribute:
                    isOurs = isOurs || bytes.first == CaptureRoutes.protocolNumber
                case Int(IFA_ADDRESS): address = Netlink.address(bytes)
                default: break
                }
            }
            if isOurs, let address { left.append(address) }
        }
        return left
    }

    /// Those of other interfaces than the loopback.
    private static func elsewhere(_ snapshot: NetworkSnapshot) -> Set<IPAddress> {
        let loopbacks = Set(snapshot.links.filter(\.isLoopback).map(\.index))
        return Set(
            snapshot.addresses.filter { !loopbacks.contains($0.interface) }.map(\.address))
    }

    private static func change(
        _ address: IPAddress, isNew: Bool, _ socket: OpaquePointer
    ) throws(SystemError) {
        var head = ifaddrmsg()
        head.ifa_family = UInt8(address.isIPv4 ? AF_INET : AF_INET6)
        head.ifa_prefixlen = address.isIPv4 ? 32 : 128
        head.ifa_scope = UInt8(address.isIPv4 ? RT_SCOPE_HOST.rawValue : RT_SCOPE_UNIVERSE.rawValue)
        head.ifa_index = if_nametoindex("lo")
        do throws(SystemError) {
            try Netlink.change(
                socket, isNew ? Int(RTM_NEWADDR) : Int(RTM_DELADDR), isNew: isNew, head,
                "keep \(address)"
            ) { message in
                put(address, message)
                guard isNew else { return }
                mnl_attr_put_u8(
                    message, UInt16(protocolAttribute), CaptureRoutes.protocolNumber)
                if address.isIPv4 {
                    mnl_attr_put_strz(message, UInt16(IFA_LABEL), label)
                } else {
                    // No new connection takes it: its preferred lifetime is over (RFC 4862).
                    mnl_attr_put_u32(message, UInt16(IFA_FLAGS), 0x02)  // IFA_F_NODAD
                    var lifetimes: (UInt32, UInt32, UInt32, UInt32) = (0, .max, 0, 0)
                    mnl_attr_put(message, UInt16(IFA_CACHEINFO), 16, &lifetimes)
                }
            }
        } catch {
            // It is there already, or gone already.
            guard error.code == EEXIST || error.code == EADDRNOTAVAIL else { throw error }
        }
    }

    private static func put(_ address: IPAddress, _ message: UnsafeMutablePointer<nlmsghdr>) {
        for type in [Int(IFA_LOCAL), Int(IFA_ADDRESS)] {
            if address.isIPv4 {
                mnl_attr_put_u32(message, UInt16(type), address.v4.bigEndian)
            } else {
                var words = (address.high.bigEndian, address.low.bigEndian)
                mnl_attr_put(message, UInt16(type), 16, &words)
            }
        }
    }

    /// IFA_PROTO of Linux 5.18, which older headers lack.
    private static let protocolAttribute = 11
}

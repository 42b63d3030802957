import Measures

/// The addresses of this machine's interfaces by which others may reach it.
public enum MachineAddresses {
    /// Those of interfaces with a default route, IPv4 first, the public ones before the private
    /// ones; none where the kernel can't be asked.
    public static func global() -> [IPAddress] {
        let found = ((try? uplinks([.everyDefaultRoute])) ?? []).flatMap(\.addresses)
        let ordered = found.filter(\.isIPv4) + found.filter { !$0.isIPv4 }
        return ordered.filter { !isPrivate($0) } + ordered.filter(isPrivate)
    }

    /// What can be used as an uplink now, in the order of the selectors. Throws where the kernel
    /// can't be asked.
    public static func uplinks(
        _ selectors: [UplinkSelector]
    ) throws(SystemError) -> [UplinkCandidate] {
        UplinkMonitor.candidates(
            in: try Netlink.snapshot(), selectors: selectors, families: (true, true))
    }

    /// Not of the public Internet, as a network behind a NAT has them.
    public static func isPrivate(_ address: IPAddress) -> Bool {
        let ranges = [
            "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8",
            "169.254.0.0/16", "fc00::/7", "fe80::/10", "::1"
        ]
        return ranges.compactMap { Subnet($0) }.contains { $0.contains(address) }
    }
}

extension IPAddress {
    /// 0.0.0.0 or ::, which as a listening address means every interface.
    public var isWildcard: Bool { self == .unspecifiedV4 || self == .unspecifiedV6 }
}

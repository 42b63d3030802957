import Foundation

/// Why nothing may ever be heard on an uplink that sends: what the kernel's settings say.
public enum UplinkDiagnosis {
    /// One sentence for the log and the status.
    /// - Parameter others: the uplinks that are there besides.
    /// - Parameter setting: reads a setting of net.ipv4.conf; nil where there is none.
    public static func reason(
        _ uplink: UplinkCandidate, isIPv4: Bool, others: [UplinkCandidate],
        setting: (_ interface: String, _ name: String) -> Int? = kernelSetting
    ) -> String {
        let neighbour = others.first { other in
            other.interface != uplink.interface
                && other.subnets.contains { subnet in
                    subnet.address.isIPv4 == isIPv4
                        && uplink.addresses.contains(where: subnet.contains)
                }
        }
        // The stricter of the two values holds (ip-sysctl.rst).
        let filter = max(
            setting("all", "rp_filter") ?? 0, setting(uplink.interface, "rp_filter") ?? 0)
        if isIPv4, filter == 1 {
            return
                "rp_filter is strict there and drops what is answered: set net.ipv4.conf.all.rp_filter and "
                + "net.ipv4.conf.\(uplink.interface).rp_filter to 2, or route by source address"
        }
        if let neighbour {
            return "it is in one subnet with \(neighbour.name), which may answer for its address: "
                + "set net.ipv4.conf.all.arp_ignore to 1 and arp_announce to 2"
        }
        if !(isIPv4 ? uplink.hasDefaultRouteV4 : uplink.hasDefaultRouteV6) {
            return
                "no default route leads over it, so that nothing reaches another network: "
                + "ip route add default via ROUTER dev \(uplink.interface) metric 200"
        }
        return "nothing comes back from its network: is UDP to the concentrator let through?"
    }

    /// As the calling thread's network namespace has it.
    public static func kernelSetting(_ interface: String, _ name: String) -> Int? {
        guard !interface.contains("/") else { return nil }
        return kernelSetting("net/ipv4/conf/\(interface)/\(name)")
    }

    /// A number below /proc/sys; nil where there is none.
    public static func kernelSetting(_ path: String) -> Int? {
        guard let text = try? String(contentsOfFile: "/proc/sys/\(path)", encoding: .utf8) else {
            return nil
        }
        return Int(text.trimmingCharacters(in: .whitespacesAndNewlines))
    }
}

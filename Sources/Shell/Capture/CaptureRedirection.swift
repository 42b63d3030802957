/// The chains of the capture's table where the kernel has no TPROXY: NAT puts the proxy's ports in
/// the destination's place.
extension CaptureTable {
    var redirections: [Chain] {
        let towards: [(family: String, proto: Int, port: UInt16?)] = [
            ("ipv4", 6, ports.tcp4), ("ipv6", 6, ports.tcp6),
            ("ipv4", 17, ports.udp4), ("ipv6", 17, ports.udp6)
        ]
        func redirect(_ hook: String, _ packets: String) -> [String] {
            ["type nat hook \(hook) priority -100"]
                + towards.compactMap { family, proto, port in
                    port.map {
                        "\(packets) meta nfproto \(family) meta l4proto \(proto)"
                            + " redirect to :\($0)"
                    }
                }
        }
        let others = towards.compactMap { family, proto, port in
            port.map {
                "meta nfproto \(family) meta l4proto \(proto) th dport \($0)"
                    + (proto == 6 ? " reject with tcp reset" : " reject")
            }
        }
        return [
            ("redirect_machine", plan.machine ? redirect("output", Self.isMachines) : []),
            (
                "redirect_network",
                plan.networks.isEmpty
                    ? [] : redirect("prerouting", Self.carries(CaptureMark.capturedNetwork))
            ),
            (
                "guard",
                ["type filter hook input priority \(Self.priority)", "ct status dnat accept"]
                    + others
            )
        ]
    }
}

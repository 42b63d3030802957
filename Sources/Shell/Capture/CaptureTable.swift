import Measures

/// The capture's nftables, as text: one table of Braid's own, and a second one where the kernel
/// queues packets by the older interface only.
///
/// The walk of a captured packet. Of a program of this machine: `machine` decides by a connection's
/// first packet and marks the connection, `hold_machine` lets a SYN wait for the dial, and
/// `turn_machine` answers what was refused and marks the rest, so that it is routed to the loopback
/// and comes in again. Of a client: `network` and `hold_network` do the same on its way in. Then
/// `deliver` gives it to the proxy's socket with its destination kept (TPROXY), or answers what was
/// refused. A program is answered on its way out, since an ICMP error needs a route that is not the
/// loopback's.
///
/// Without TPROXY `redirect_machine` and `redirect_network` put the proxy's address in the place of
/// the destination's (NAT), `guard` keeps everybody else from those ports, and of UDP only
/// questions for names come through.
///
/// An answer of the proxy's may be a flow's first packet, as connection tracking sees it: of a peer
/// that speaks first, after a long silence, or when somebody has emptied its table. `answers` marks
/// such a flow, so that what the program says in it is captured and not taken for the reply to a
/// stranger.
///
/// What is captured and does not come in again, since the rule or the route is gone or a program's
/// socket is bound to an interface, stops at `leaving`.
///
/// Protocols stand by their numbers (6 TCP, 17 UDP, 1 and 58 ICMP, 2 IGMP): their names would need
/// /etc/protocols, which small images lack.
struct CaptureTable {
    static let name = "braid"
    /// Of the chain in which packets are queued by xt_NFQUEUE.
    static let holdName = "braid_hold"

    /// How SYNs can be held by this kernel.
    enum Hold: Equatable {
        case none
        /// nftables' own `queue`.
        case native(UInt16)
        /// By the target that `hold` in the table `braid_hold` gets.
        case compatible(UInt16)
    }

    var plan: CapturePlan
    var ports: CapturePorts
    var hold: Hold
    /// Networks this machine stands in.
    var attached: [Subnet]
    /// Ports of this machine with TCP connections that are older than the capture.
    var older: Set<UInt16> = []
    /// Whether those are told from others.
    var knowsOlder: Bool { plan.machine && plan.exit == .open }
    /// The kernel takes the table away with the process (Linux 5.12).
    var isOwned: Bool
    /// By TPROXY, or else by `redirect`.
    var isTransparent = true
    /// The kernel can say whether a packet is a connection's of the proxy's (nft_socket).
    var findsSockets = true
    /// No new flow is captured any more; the living ones go on.
    var isEnding = false
    /// Datagrams that older processes carry on.
    var elsewhere: [CapturedElsewhere] = []

    /// One transaction, in place of the tables of these names that are there.
    func text(replacing present: [String]) -> String { Self.removal(of: present) + text }

    /// What nft(8) would be told where there is none yet.
    var text: String {
        var out = "table inet \(Self.name) {\n"
        if isOwned { out += "    flags owner\n" }
        out += set("outside4", type: "ipv4_addr", excluded(isIPv4: true))
        out += set("outside6", type: "ipv6_addr", excluded(isIPv4: false))
        out += set("attached4", type: "ipv4_addr", attached.filter(\.address.isIPv4))
        out += set("attached6", type: "ipv6_addr", attached.filter { !$0.address.isIPv4 })
        if knowsOlder {
            let ports = older.sorted().map(String.init).joined(separator: ", ")
            out += "    set older {\n        type inet_service\n"
            out += (ports.isEmpty ? "" : "        elements = { \(ports) }\n") + "    }\n"
        }
        if isTransparent { out += elsewhere.map(\.sets).joined() }
        for (name, rules) in chains where !rules.isEmpty {
            out += "    chain \(name) {\n"
            for rule in rules { out += "        \(rule)\n" }
            out += "    }\n"
        }
        out += "}\n"
        if case .compatible = hold { out += Self.holdText }
        return out
    }

    /// The second table, without the rule that queues.
    private static var holdText: String {
        """
        table inet \(holdName) {
            chain held {
            }
            chain hold_machine {
                type filter hook output priority \(priority - 1)
                \(heldOfMachine) jump held
            }
            chain hold_network {
                type filter hook prerouting priority \(priority - 1)
                \(heldOfNetwork) jump held
            }
        }

        """
    }

    /// Takes the tables of these names away.
    static func removal(of present: [String]) -> String {
        present.map { "delete table inet \($0)\n" }.joined()
    }

    /// Other networks of this machine in place of those of the set.
    func update(_ attached: [Subnet]) -> String {
        [("attached4", true), ("attached6", false)].map { name, isIPv4 in
            let elements = attached.filter { $0.address.isIPv4 == isIPv4 }.map(\.description)
            var text = "flush set inet \(Self.name) \(name)\n"
            if !elements.isEmpty {
                text +=
                    "add element inet \(Self.name) \(name) { "
                    + elements.joined(separator: ", ") + " }\n"
            }
            return text
        }.joined()
    }

    // MARK: Sets

    private func excluded(isIPv4: Bool) -> [Subnet] {
        let always =
            isIPv4
            ? ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"]
            : ["::/127", "fe80::/10", "ff00::/8"]
        let all = always.compactMap { Subnet($0) } + plan.exclude
        return all.filter { $0.address.isIPv4 == isIPv4 }
    }

    private func set(_ name: String, type: String, _ elements: [Subnet]) -> String {
        """
            set \(name) {
                type \(type)
                flags interval
                auto-merge
                \(elements.isEmpty ? "" : "elements = { \(elements.map(\.description).joined(separator: ", ")) }")
            }

        """
    }

    // MARK: Chains

    /// Behind connection tracking (-200) and before whoever marks packets for routes of his own
    /// (-150).
    static let priority = -160
    /// Behind those who filter by the way back (firewalld's stands at 10): a packet that has its
    /// socket is taken for one that came by another interface.
    static let deliveryPriority = 200
    private static let mask = CaptureMark.hex(CaptureMark.mask)
    private static let others = CaptureMark.hex(~CaptureMark.mask)
    private static func carries(_ mark: UInt32, _ what: String = "meta mark") -> String {
        "\(what) & \(mask) == \(CaptureMark.hex(mark))"
    }
    /// Of a program or a client.
    private static let isCaptured =
        "meta mark & \(CaptureMark.hex(CaptureMark.eitherMask))"
        + " == \(CaptureMark.hex(CaptureMark.captured))"
    private static func give(_ mark: UInt32, _ what: String = "meta mark") -> String {
        "\(what) set \(what) & \(others) | \(CaptureMark.hex(mark))"
    }
    private static let isSYN = "tcp flags & (fin | syn | rst | ack) == syn"
    private static let isNoSYN = "tcp flags & (fin | syn | rst | ack) != syn"
    /// The SYNs that wait for a dial.
    private static let heldOfMachine =
        "\(isSYN) ct direction original \(carries(CaptureMark.captured, "ct mark"))"
        + " \(carries(0)) oifname != \"lo\""
    private static let heldOfNetwork =
        "\(isSYN) ct direction original \(carries(CaptureMark.own, "ct mark"))"
        + " \(carries(CaptureMark.capturedNetwork))"

    private var chains: [(String, [String])] {
        [
            (
                "outside",
                [
                    "fib daddr type { local, broadcast, anycast, multicast } accept",
                    "ip daddr @outside4 accept", "ip6 daddr @outside6 accept",
                    // The name server of a network that this machine stands in hears no name.
                    "meta l4proto { 6, 17 } th dport 53 return",
                    "ip daddr @attached4 accept", "ip6 daddr @attached6 accept"
                ]
            ),
            ("answers", isTransparent ? answers : []),
            ("machine", plan.machine ? machine : []),
            ("hold_machine", plan.machine ? holdRules("output", Self.heldOfMachine) : []),
            ("turn_machine", plan.machine ? turn : []),
            ("network", plan.networks.isEmpty ? [] : network),
            (
                "hold_network",
                plan.networks.isEmpty ? [] : holdRules("prerouting", Self.heldOfNetwork)
            ),
            ("deliver", deliver),
            (
                "leaving",
                [
                    "type filter hook postrouting priority \(Self.priority)",
                    "\(Self.isCaptured) oifname != \"lo\" drop"
                ]
            )
        ] + (isTransparent ? [] : redirections)
    }

    private static let wasAnswered = carries(CaptureMark.answeredMachine, "ct mark")

    /// What the proxy says in others' names.
    private var answers: [String] {
        let begins =
            "\(Self.carries(CaptureMark.own)) meta l4proto { 6, 17 } ct direction original"
            + " \(Self.carries(0, "ct mark")) fib saddr type != local"
        return [
            "type filter hook output priority \(Self.priority - 3)",
            "\(begins) oifname \"lo\" \(Self.give(CaptureMark.answeredMachine, "ct mark"))",
            "\(begins) \(Self.give(CaptureMark.answeredNetwork, "ct mark"))"
        ]
    }

    private static let isMachines =
        "ct direction original \(carries(CaptureMark.captured, "ct mark"))"

    /// A program's packet on its way out.
    private var machine: [String] {
        var rules = ["type filter hook output priority \(Self.priority - 2)"]
        rules.append("\(Self.carries(CaptureMark.own)) accept")
        rules.append("\(Self.isMachines) accept")
        rules.append("\(Self.wasAnswered) accept")
        rules.append("oifname \"lo\" accept")
        // A socket with another's mark has its route chosen by whoever marked it, such as a VPN.
        rules.append("meta mark & \(Self.others) != 0 accept")
        rules.append("ct direction reply accept")
        if !plan.excludeUsers.isEmpty {
            let users = plan.excludeUsers.map(String.init).joined(separator: ", ")
            rules.append("meta skuid { \(users) } accept")
        }
        // An uplink's lease, renewed with a server that may be behind routers (RFC 2131, RFC 8415).
        rules.append("ip protocol 17 th sport 68 th dport 67 accept")
        rules.append("ip6 nexthdr 17 th sport 546 th dport 547 accept")
        rules.append("jump outside")
        rules += new(
            older: olderOfMachine,
            other: "meta l4proto { 1, 58 } reject with icmpx type admin-prohibited",
            // Neighbours and routers must be found (RFC 4890 section 4.4).
            needed: [
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit,"
                    + " nd-router-advert, mld2-listener-report } accept",
                "ip protocol 2 accept"
            ])
        guard !isEnding else { return rules }
        rules.append(Self.give(CaptureMark.captured, "ct mark"))
        return rules
    }

    /// Behind the dial: answered, or turned round.
    private var turn: [String] {
        var rules = ["type route hook output priority \(Self.priority)"]
        // To a program whose address has just gone with its uplink.
        rules.append(
            "\(Self.carries(CaptureMark.own)) ct direction reply"
                + " \(Self.carries(CaptureMark.captured, "ct mark")) oifname != \"lo\" drop")
        rules.append(
            "\(Self.carries(CaptureMark.own)) \(Self.wasAnswered) oifname != \"lo\" drop")
        rules.append("\(Self.carries(CaptureMark.own)) accept")
        rules += hold == .none ? [] : refusals
        guard isTransparent else { return rules }
        rules.append("\(Self.isMachines) oifname != \"lo\" \(Self.give(CaptureMark.captured))")
        rules.append("\(Self.wasAnswered) oifname != \"lo\" \(Self.give(CaptureMark.captured))")
        return rules
    }

    /// A client's packet on its way in.
    private var network: [String] {
        let names = plan.networks.map { "\"\($0)\"" }.joined(separator: ", ")
        var rules = ["type filter hook prerouting priority \(Self.priority - 2)"]
        rules.append("iifname != { \(names) } accept")
        rules.append(
            "ct direction original \(Self.carries(CaptureMark.own, "ct mark"))"
                + " \(Self.give(CaptureMark.capturedNetwork)) accept")
        rules.append(
            "\(Self.carries(CaptureMark.answeredNetwork, "ct mark"))"
                + " \(Self.give(CaptureMark.capturedNetwork)) accept")
        // In a stranger's name a client could begin a flow to itself, and speak in it as one who
        // only replies.
        rules.append(
            "fib saddr . iif oif missing"
                + " fib daddr type != { broadcast, anycast, multicast } drop")
        if isTransparent, findsSockets {
            // Of a connection that connection tracking has forgotten.
            rules.append(
                "\(Self.isNoSYN) socket transparent 1 \(Self.give(CaptureMark.capturedNetwork)) accept"
            )
        }
        rules.append("ct direction reply accept")
        rules.append("jump outside")
        let end = plan.exit == .open ? "accept" : "reject with tcp reset"
        rules += new(older: ["\(Self.isNoSYN) \(end)"], other: nil, needed: [])
        guard !isEnding else { return rules }
        rules.append(Self.give(CaptureMark.own, "ct mark"))
        rules.append(Self.give(CaptureMark.capturedNetwork))
        return rules
    }

    /// A segment of a program's connection that nobody has captured: others have opened it, it is
    /// older than the capture, or connection tracking has forgotten it. The last is turned round:
    /// the proxy's socket has it, or its listener answers with a reset; by NAT nothing could know
    /// it.
    private var olderOfMachine: [String] {
        guard !isEnding else { return ["\(Self.isNoSYN) accept"] }
        // What is not tracked can't carry the mark by which it would be turned round.
        return (plan.exit == .closed ? ["ct state untracked drop"] : [])
            + ["\(Self.isNoSYN) tcp sport < 32768 accept"]
            + (plan.exit == .open ? ["\(Self.isNoSYN) tcp sport @older accept"] : [])
            + ["\(Self.isNoSYN) ct state invalid drop"]
            + (isTransparent ? [] : ["\(Self.isNoSYN) reject with tcp reset"])
    }

    /// What is said of a flow's first packet seen: of a connection that is not new, and of what is
    /// neither TCP nor UDP. `needed`: what the machine can't do without.
    private func new(older: [String], other: String?, needed: [String]) -> [String] {
        guard plan.exit == .closed else {
            return [plan.udp ? "meta l4proto != { 6, 17 } accept" : "meta l4proto != 6 accept"]
                + older + (isEnding ? ["accept"] : refused)
        }
        // The rest would be a leak.
        return needed + (other.map { [$0] } ?? []) + [
            "meta l4proto != { 6, 17 } drop"
        ] + older + (plan.udp ? [] : ["meta l4proto 17 drop"]) + (isEnding ? ["drop"] : refused)
    }

    /// What can't be carried, so that programs go on with what can: IPv6 where the machine had none
    /// at the start, and by NAT most datagrams.
    private var refused: [String] {
        let other = "reject with icmpx type admin-prohibited"
        return (ports.tcp6 == nil ? ["meta nfproto ipv6 reject with icmpx type no-route"] : [])
            + (plan.udp && !isTransparent ? ["meta l4proto 17 th dport != 53 \(other)"] : [])
    }

    // MARK: Redirection

    private var redirections: [(String, [String])] {
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

    private func holdRules(_ hook: String, _ packets: String) -> [String] {
        guard case .native(let queue) = hold else { return [] }
        return [
            "type filter hook \(hook) priority \(Self.priority - 1)",
            // Without a process behind the queue packets go on as if it were not there.
            "\(packets) queue flags bypass to \(queue)"
        ]
    }

    /// A verdict says by the mark how a held packet is answered.
    private var refusals: [String] {
        ["\(Self.carries(CaptureMark.refused)) meta l4proto 6 reject with tcp reset"]
            + [
                (CaptureMark.unreachable, "host-unreachable"),
                (CaptureMark.prohibited, "admin-prohibited"), (CaptureMark.noRoute, "no-route")
            ].map { mark, word in "\(Self.carries(mark)) reject with icmpx type \(word)" }
    }

    private var deliver: [String] {
        var rules = ["type filter hook prerouting priority \(Self.deliveryPriority)"]
        func take(_ family: String, _ proto: Int, _ port: UInt16?) {
            guard let port else { return }
            let target = family == "ipv4" ? "ip to 127.0.0.1:\(port)" : "ip6 to [::1]:\(port)"
            rules.append(
                "\(Self.isCaptured) meta nfproto \(family) meta l4proto \(proto) tproxy \(target) accept"
            )
        }
        for older in elsewhere {
            for (isIPv4, port) in older.families {
                let (family, address) = isIPv4 ? ("ip", "127.0.0.1") : ("ip6", "[::1]")
                rules.append(
                    "\(Self.isCaptured) meta l4proto 17 \(family) saddr . th sport"
                        + " @\(older.setName(isIPv4: isIPv4))"
                        + " tproxy \(family) to \(address):\(port) accept")
            }
        }
        take("ipv4", 6, ports.tcp4)
        take("ipv6", 6, ports.tcp6)
        take("ipv4", 17, ports.udp4)
        take("ipv6", 17, ports.udp6)
        // Here only where nobody listens.
        rules.append("\(Self.isCaptured) drop")
        if !isTransparent { rules = [rules[0]] }
        return rules + (hold == .none || plan.networks.isEmpty ? [] : refusals)
    }
}

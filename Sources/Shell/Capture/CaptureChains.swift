// The chains of the capture's table, in the order in which a packet meets them; see `CaptureTable`.
extension CaptureTable {
    /// Behind connection tracking (-200) and before other programs mark packets for their own
    /// routes (-150).
    static let priority = -160
    /// Behind those who filter by the way back (firewalld's stands at 10): a packet that has its
    /// socket is taken for one that came by another interface. Behind those who mark, too.
    static let deliveryPriority = 200
    private static let mask = CaptureMark.hex(CaptureMark.mask)
    private static let others = CaptureMark.hex(~CaptureMark.mask)
    static func carries(_ mark: UInt32, _ what: String = "meta mark") -> String {
        "\(what) & \(mask) == \(CaptureMark.hex(mark))"
    }
    private static func carries(oneOf marks: [UInt32], _ what: String = "meta mark") -> String {
        "\(what) & \(mask) == { \(marks.map(CaptureMark.hex).joined(separator: ", ")) }"
    }
    /// Whatever of Braid's.
    static let isMarked = "meta mark & \(mask) != 0"
    /// Of a program or a client.
    private static let isCaptured =
        "meta mark & \(CaptureMark.hex(CaptureMark.eitherMask))"
        + " == \(CaptureMark.hex(CaptureMark.captured))"
    private static func give(_ mark: UInt32, _ what: String = "meta mark") -> String {
        "\(what) set \(what) & \(others) | \(CaptureMark.hex(mark))"
    }
    private static let isSYN = "tcp flags & (fin | syn | rst | ack) == syn"
    static let isNoSYN = "tcp flags & (fin | syn | rst | ack) != syn"
    /// The SYNs that wait for a dial.
    static let heldOfMachine =
        "\(isSYN) ct direction original \(carries(CaptureMark.captured, "ct mark"))"
        + " \(carries(0)) oifname != \"lo\""
    static let heldOfNetwork =
        "\(isSYN) ct direction original \(carries(CaptureMark.own, "ct mark"))"
        + " \(carries(CaptureMark.capturedNetwork))"

    var chains: [Chain] {
        [
            ("outside", outside),
            ("arriving", arriving),
            ("strangers", plan.machine && findsSockets ? Self.strangers : []),
            ("answers", isTransparent ? answers : []),
            ("machine", plan.machine ? machine : []),
            ("hold_machine", plan.machine ? holdRules("output", Self.heldOfMachine) : []),
            ("turn_machine", plan.machine ? turn : []),
            ("turn_again", plan.machine && isTransparent ? turnAgain : []),
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
                    "\(Self.isCaptured) oifname != \"lo\" drop",
                    "\(Self.isMachines) oifname != \"lo\" \(Self.isNotOwn) drop"
                ]
            )
        ] + (isTransparent ? [] : redirections)
    }

    /// Destinations that are left alone.
    var outside: [String] {
        ["fib daddr type { local, broadcast, anycast, multicast } accept"]
            + (plan.include.isEmpty
                ? [] : ["ip daddr @included4 return", "ip6 daddr @included6 return"])
            + Self.outsideAnyhow
    }

    private static let outsideAnyhow = [
        "ip daddr @outside4 accept", "ip6 daddr @outside6 accept",
        // The name server of a network that this machine stands in hears no name.
        "meta l4proto { 6, 17 } th dport 53 return",
        "ip daddr @attached4 accept", "ip6 daddr @attached6 accept"
    ]

    /// The interfaces whose clients are captured, as a set.
    private var networkNames: String {
        "{ " + plan.networks.map { "\"\($0)\"" }.joined(separator: ", ") + " }"
    }

    /// A packet that comes by none of them.
    var isNoClients: String {
        let numbers = interfaces.map(String.init).joined(separator: ", ")
        return "iifname != \(networkNames)" + (interfaces.isEmpty ? "" : " iif != { \(numbers) }")
    }

    private static let isNotOwn = "meta mark & \(mask) != \(CaptureMark.hex(CaptureMark.own))"
    private static let wasAnswered = carries(CaptureMark.answeredMachine, "ct mark")
    static let isMachines =
        "ct direction original \(carries(CaptureMark.captured, "ct mark"))"
    private static let isClients = "ct direction original \(carries(CaptureMark.own, "ct mark"))"
    private static let clientWasAnswered = carries(CaptureMark.answeredNetwork, "ct mark")

    // MARK: Strangers

    /// In a captured flow's name the proxy speaks, and nobody from outside.
    private var arriving: [String] {
        let captured = [CaptureMark.captured, CaptureMark.own]
        let answered = [CaptureMark.answeredMachine, CaptureMark.answeredNetwork]
        return [
            "type filter hook prerouting priority \(Self.priority - 3)",
            "iifname \"lo\" accept", "\(Self.carries(0, "ct mark")) accept",
            "ct direction reply \(Self.carries(oneOf: captured, "ct mark")) drop",
            "ct direction original \(Self.carries(oneOf: answered, "ct mark")) drop"
        ]
    }

    /// As the kernel itself would, but before connection tracking remembers the flow.
    private static let strangers = [
        "type filter hook input priority \(deliveryPriority)",
        "iifname \"lo\" accept", "meta l4proto != { 6, 17 } accept", "ct state != new accept",
        "fib daddr type != local accept", "socket transparent <= 1 accept",
        "meta l4proto 6 reject with tcp reset", "reject with icmpx type port-unreachable"
    ]

    // MARK: Programs and clients

    /// What the proxy says in others' names: to programs and clients alone, whatever address they
    /// had.
    private var answers: [String] {
        let begins =
            "\(Self.carries(CaptureMark.own)) meta l4proto { 6, 17 } ct direction original"
            + " \(Self.carries(0, "ct mark"))"
        let isAnothers = "fib saddr type != local"
        let inside = plan.networks.isEmpty ? "\"lo\"" : "{ \"lo\", \(networkNames.dropFirst(2))"
        return [
            "type filter hook output priority \(Self.priority - 3)",
            "\(Self.carries(CaptureMark.own)) oifname != \(inside) \(isAnothers) drop",
            "\(begins) oifname \"lo\" \(isAnothers)"
                + " \(Self.give(CaptureMark.answeredMachine, "ct mark"))"
        ]
            + (plan.networks.isEmpty
                ? []
                : [
                    "\(begins) oifname \(networkNames) \(isAnothers)"
                        + " \(Self.give(CaptureMark.answeredNetwork, "ct mark"))"
                ])
    }

    /// A program's packet on its way out.
    private var machine: [String] {
        var rules = ["type filter hook output priority \(Self.priority - 2)"]
        rules.append("\(Self.carries(CaptureMark.own)) accept")
        rules.append("\(Self.isMachines) accept")
        rules.append("\(Self.wasAnswered) accept")
        rules += leftAloneOfMachine
        rules += new(
            older: olderOfMachine,
            other: "meta l4proto { 1, 58 } reject with icmpx type admin-prohibited",
            needed: Self.neededByMachine)
        guard !isEnding else { return rules }
        if plan.exit == .closed {
            rules.append(
                "meta l4proto 17 ct direction reply"
                    + " \(Self.give(CaptureMark.answeredMachine, "ct mark")) accept")
        } else {
            rules.append("ct state untracked accept")
        }
        rules.append("ct direction original \(Self.give(CaptureMark.captured, "ct mark"))")
        rules.append("\(Self.isMachines) accept")
        // What can't carry the mark would not be turned round.
        rules.append("drop")
        return rules
    }

    /// What this machine sends that is nobody's to capture.
    var leftAloneOfMachine: [String] {
        var rules = ["oifname \"lo\" accept"]
        // A socket with another's mark has its route chosen by whoever marked it, such as a VPN.
        rules.append("meta mark & \(Self.others) != 0 accept")
        // Answers to what others have opened, which no SYN is.
        let isService =
            plan.exit == .closed ? " th sport < \(firstEphemeralPort)" : ""
        rules.append("\(Self.isNoSYN) ct direction reply\(isService) accept")
        rules.append("meta l4proto 17 ct direction reply\(isService) accept")
        rules.append("meta l4proto != { 6, 17 } ct direction reply accept")
        if !plan.excludeUsers.isEmpty {
            let users = plan.excludeUsers.map(String.init).joined(separator: ", ")
            rules.append("meta skuid { \(users) } accept")
        }
        // An uplink's lease, renewed with a server that may be behind routers (RFC 2131, RFC 8415).
        rules.append("ip protocol 17 th sport 68 th dport 67 accept")
        rules.append("ip6 nexthdr 17 th sport 546 th dport 547 accept")
        rules.append("jump outside")
        return rules
    }

    /// Neighbours and routers must be found (RFC 4890 section 4.4).
    static let neededByMachine = [
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit,"
            + " nd-router-advert, mld2-listener-report } accept",
        "ip protocol 2 accept"
    ]

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
        rules.append("\(Self.isMachines) oifname != \"lo\" \(Self.give(CaptureMark.captured))")
        guard isTransparent else { return rules }
        rules.append("\(Self.wasAnswered) oifname != \"lo\" \(Self.give(CaptureMark.captured))")
        return rules
    }

    /// Somebody may have written another mark over it meanwhile.
    private var turnAgain: [String] {
        let isTurned = "meta mark & \(Self.mask) != \(CaptureMark.hex(CaptureMark.captured))"
        return [
            "type route hook output priority \(Self.deliveryPriority)",
            "\(Self.carries(0, "ct mark")) accept", "\(Self.carries(CaptureMark.own)) accept",
            "\(Self.isMachines) oifname != \"lo\" \(isTurned) \(Self.give(CaptureMark.captured))",
            "\(Self.wasAnswered) ct direction reply oifname != \"lo\" \(isTurned)"
                + " \(Self.give(CaptureMark.captured))"
        ]
    }

    /// A client's packet on its way in.
    private var network: [String] {
        var rules = ["type filter hook prerouting priority \(Self.priority - 2)"]
        rules.append("\(isNoClients) accept")
        rules.append("\(Self.isClients) \(Self.give(CaptureMark.capturedNetwork)) accept")
        rules.append("\(Self.clientWasAnswered) \(Self.give(CaptureMark.capturedNetwork)) accept")
        rules.append(Self.fromStrangers)
        if isTransparent, findsSockets {
            // Of a connection that connection tracking has forgotten.
            rules.append(
                "\(Self.isNoSYN) socket transparent 1 \(Self.give(CaptureMark.capturedNetwork)) accept"
            )
        }
        rules += answersOfNetwork
        rules.append("jump outside")
        let end = plan.exit == .open ? "accept" : "reject with tcp reset"
        rules += new(older: ["\(Self.isNoSYN) \(end)"], other: nil, needed: [])
        guard !isEnding else { return rules }
        if plan.exit == .closed {
            rules.append(
                "meta l4proto 17 ct direction reply"
                    + " \(Self.give(CaptureMark.answeredNetwork, "ct mark"))")
        }
        rules.append("ct direction original \(Self.give(CaptureMark.own, "ct mark"))")
        rules.append(Self.give(CaptureMark.capturedNetwork))
        return rules
    }

    /// In a stranger's name a client could begin a flow to itself, and speak in it as one who only
    /// replies.
    static let fromStrangers =
        "fib saddr . iif oif missing fib daddr type != { broadcast, anycast, multicast } drop"

    /// To what others have opened to a client: under `closed` by a rule of somebody's (DNAT).
    var answersOfNetwork: [String] {
        let isForwarded = plan.exit == .closed ? " ct status dnat" : ""
        return [
            "\(Self.isNoSYN) ct direction reply\(isForwarded) accept",
            "meta l4proto 17 ct direction reply\(isForwarded) accept",
            "meta l4proto != { 6, 17 } ct direction reply accept"
        ]
    }

    /// A segment of a program's connection that nobody has captured: others have opened it, it is
    /// older than the capture, or connection tracking has forgotten it. The last is turned round:
    /// the proxy's socket has it, or its listener answers with a reset; by NAT nothing could know
    /// it.
    private var olderOfMachine: [String] {
        guard !isEnding else { return ["\(Self.isNoSYN) accept"] }
        // What is not tracked can't carry the mark by which it would be turned round.
        return (plan.exit == .closed ? ["ct state untracked drop"] : [])
            + [isOfService]
            + (plan.exit == .open ? ["\(Self.isNoSYN) tcp sport @older accept"] : [])
            + ["\(Self.isNoSYN) ct state invalid drop"]
            + (isTransparent ? [] : ["\(Self.isNoSYN) reject with tcp reset"])
    }

    /// So that a remote login stays.
    var isOfService: String { "\(Self.isNoSYN) tcp sport < \(firstEphemeralPort) accept" }

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

    // MARK: Holding and delivering

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
        if isTransparent {
            // The proxy's own answers, should somebody have given them the connection's mark.
            rules.append(
                "iifname \"lo\" ct direction reply"
                    + " \(Self.carries(CaptureMark.captured, "ct mark")) accept")
            rules.append("iifname \"lo\" ct direction original \(Self.wasAnswered) accept")
            rules += markedAgain
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
        }
        return rules + (hold == .none || plan.networks.isEmpty ? [] : refusals)
    }

    /// Somebody may have written another mark over it meanwhile, such as the connection's
    /// (wg-quick(8) does so with all datagrams).
    private var markedAgain: [String] {
        guard !plan.networks.isEmpty else { return [] }
        let others = [0, CaptureMark.own, CaptureMark.captured]
        let again = Self.give(CaptureMark.capturedNetwork)
        return [
            "iifname \(networkNames) \(Self.carries(oneOf: others)) \(Self.isClients) \(again)",
            "iifname \(networkNames)"
                + " \(Self.carries(oneOf: others + [CaptureMark.answeredNetwork]))"
                + " \(Self.clientWasAnswered) \(again)"
        ]
    }
}

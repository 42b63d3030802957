import Measures

/// The capture's nftables, as text: one table of Braid's own, a second one as a kill switch under
/// `closed`, and another where the kernel queues packets by the older interface only.
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
/// socket is bound to an interface, stops at `leaving`. Marks that others have written over are
/// given once more (`turn_again`, `deliver`).
///
/// A stranger could speak first in the name of whom a program is about to ask, so that the question
/// would count as an answer to a stranger. `strangers` refuses what no socket waits for before
/// connection tracking remembers it, and `arriving` drops what comes from outside in a captured
/// flow's name.
///
/// The capture's table belongs to the process and goes with it. The kill switch (`CaptureClosed`)
/// stays, and has nothing to do while the capture stands: who empties the packet filter (`nft flush
/// ruleset`) takes it away, but no table that belongs to a process.
///
/// Protocols stand by their numbers (6 TCP, 17 UDP, 1 and 58 ICMP, 2 IGMP): their names would need
/// /etc/protocols, which small images lack.
struct CaptureTable {
    static let name = "braid"
    /// The kill switch.
    static let closedName = "braid_closed"
    /// Of the chain in which packets are queued by xt_NFQUEUE.
    static let holdName = "braid_hold"

    static let allNames = [name, closedName, holdName]

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
    /// The networks' interfaces by number: a name may be given to another one, or another name.
    var interfaces: [Int] = []
    /// Ports of this machine with TCP connections that are older than the capture.
    var older: Set<UInt16> = []
    /// Whether those are told from others.
    var knowsOlder: Bool { plan.machine && plan.exit == .open }
    /// The kernel takes the table away with the process, and lets nobody else change it (Linux
    /// 5.12).
    var isOwned = true
    /// The first port that programs get where they choose none; those below are services'.
    var firstEphemeralPort: UInt16 = 32_768
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
        out += sets
        if knowsOlder {
            let ports = older.sorted().map(String.init).joined(separator: ", ")
            out += "    set older {\n        type inet_service\n"
            out += (ports.isEmpty ? "" : "        elements = { \(ports) }\n") + "    }\n"
        }
        if isTransparent { out += elsewhere.map(\.sets).joined() }
        out += Self.text(chains) + "}\n"
        if case .compatible = hold { out += Self.holdText }
        if plan.exit == .closed {
            out += "table inet \(Self.closedName) {\n" + sets + Self.text(closedChains) + "}\n"
        }
        return out
    }

    /// A chain's name and its rules, the first of which says where it stands; none: there is no
    /// such chain.
    typealias Chain = (name: String, rules: [String])

    private static func text(_ chains: [Chain]) -> String {
        chains.filter { !$0.rules.isEmpty }.map { name, rules in
            "    chain \(name) {\n" + rules.map { "        \($0)\n" }.joined() + "    }\n"
        }.joined()
    }

    private var sets: String {
        let kinds: [(String, (Bool) -> [Subnet])] = [
            ("outside", excluded),
            ("included", { isIPv4 in plan.include.filter { $0.address.isIPv4 == isIPv4 } }),
            ("attached", { isIPv4 in attached.filter { $0.address.isIPv4 == isIPv4 } })
        ]
        return kinds.filter { $0.0 != "included" || !plan.include.isEmpty }.map { name, elements in
            set("\(name)4", type: "ipv4_addr", elements(true))
                + set("\(name)6", type: "ipv6_addr", elements(false))
        }.joined()
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
        var out = ""
        for table in plan.exit == .closed ? [Self.name, Self.closedName] : [Self.name] {
            for (name, isIPv4) in [("attached4", true), ("attached6", false)] {
                let elements = attached.filter { $0.address.isIPv4 == isIPv4 }.map(\.description)
                out += "flush set inet \(table) \(name)\n"
                guard !elements.isEmpty else { continue }
                out += "add element inet \(table) \(name) { \(elements.joined(separator: ", ")) }\n"
            }
        }
        return out
    }

    // MARK: Sets

    private static let outside = [
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
        "::/127", "fe80::/10", "ff00::/8"
    ].compactMap { Subnet($0) }

    private func excluded(isIPv4: Bool) -> [Subnet] {
        (Self.outside + plan.exclude).filter { $0.address.isIPv4 == isIPv4 }
    }

    /// Whether what is sent to this address is never captured, whatever the configuration excludes
    /// besides.
    func leavesAlone(_ address: IPAddress) -> Bool {
        !plan.include.contains { $0.contains(address) }
            && (Self.outside.contains { $0.contains(address) }
                || attached.contains { $0.contains(address) })
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
}

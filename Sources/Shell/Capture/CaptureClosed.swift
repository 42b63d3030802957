/// The kill switch: what would be captured is dropped where nobody has captured it, since the
/// process is gone, or its table.
///
/// It decides as the capture does, right behind it, and lets go on whatever has a mark of Braid's
/// by then.
extension CaptureTable {
    private static let closedPriority = priority + 1

    var closedChains: [Chain] {
        [
            ("outside", outside),
            ("machine", plan.machine ? closedMachine : []),
            ("network", plan.networks.isEmpty ? [] : closedNetwork)
        ]
    }

    private var closedMachine: [String] {
        [
            "type filter hook output priority \(Self.closedPriority)",
            "\(Self.isMarked) accept"
        ] + leftAloneOfMachine + Self.neededByMachine + [
            isOfService, "meta l4proto { 1, 58 } reject with icmpx type admin-prohibited", "drop"
        ]
    }

    private var closedNetwork: [String] {
        [
            "type filter hook prerouting priority \(Self.closedPriority)",
            "\(isNoClients) accept", "\(Self.isMarked) accept", Self.fromStrangers
        ] + answersOfNetwork + ["jump outside", "drop"]
    }
}

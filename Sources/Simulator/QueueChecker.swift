import Measures

/// Watches that no queue stands: once nothing has happened to the uplinks for a while, what BBR has
/// in flight leaves no second of a line's time in its queue for good.
///
/// A queue that shrinks is let be: what was sent before a line became slower must leave it first.
struct QueueChecker {
    /// What may stand in a queue, beside the least windows of all streams.
    static let longest = Interval.seconds(1)
    /// For how long more may.
    static let patience = Interval.seconds(10)
    /// How much shorter it must become within that time.
    static let shrinking = 0.75

    private static let bin = Interval.milliseconds(200)
    private static let bins = Int(patience.nanoseconds / bin.nanoseconds)
    /// Of each link: what stood there, by bin, while it was too much.
    private var queues: [[Int]] = []
    private var binEnds = Instant.zero + bin
    private var isDisturbed = false
    /// The first thing that was wrong.
    private(set) var failure: String?

    /// Something happened to an uplink.
    mutating func disturbed() { isDisturbed = true }

    /// A link's direction: what waits, and how much may.
    struct Link {
        var name: String
        var backlog: Int
        /// Nil: nothing is asked.
        var limit: Int?
    }

    /// Looks at all links once the present bin is over.
    mutating func look(at now: Instant, _ links: () -> [Link]) {
        guard now >= binEnds else { return }
        let links = links()
        if queues.count != links.count { queues = Array(repeating: [], count: links.count) }
        // Where the world slept through several bins, nothing waited.
        let behind = (now - binEnds).nanoseconds / Self.bin.nanoseconds
        for (i, link) in links.enumerated() {
            guard let limit = link.limit, link.backlog > limit, !isDisturbed, behind == 0 else {
                queues[i].removeAll()
                continue
            }
            queues[i].append(link.backlog)
            guard queues[i].count > Self.bins else { continue }
            let before = queues[i][queues[i].count - 1 - Self.bins]
            if Double(link.backlog) > Self.shrinking * Double(before), failure == nil {
                failure =
                    "\(link.name): \(link.backlog) bytes stand in a queue of which \(limit) may"
            }
        }
        isDisturbed = false
        binEnds += Self.bin * (behind + 1)
    }
}

extension World {
    /// Both directions of every uplink.
    func queuedLinks() -> [QueueChecker.Link] {
        let isAsked =
            options.connection.subflow.congestion == .bbr && options.second == nil
            && options.associations == 0 && call == nil
        // Four segments of each stream and path are always on their way (`minimumWindow`).
        let open = streams.count { $0.handles.proxy != nil || $0.handles.concentrator != nil }
        return lanes.enumerated().flatMap { i, lane in
            [("up", lane.ups[0]), ("down", lane.downs[0])].map { name, link in
                let rate = link.conditions.outage == .none ? link.conditions.rate : nil
                let limit = rate.map {
                    $0.bytes(in: QueueChecker.longest) + (open + 1) * 6 * 1500
                }
                return QueueChecker.Link(
                    name: "\(name) \(i)", backlog: link.backlog,
                    limit: isAsked && !lane.isDown && rate != .zero ? limit : nil)
            }
        }
    }
}

import Measures
import Multipath

/// What a path of a user moved, over all sessions of this process.
public struct PathUsage: Equatable, Sendable {
    /// The user's name.
    public var user: String
    /// The path's number on the wire.
    public var path: PathID
    /// Bytes of IP packets with records, headers included, that were made for it.
    public var sent: Int
    /// The same for those that arrived and were authentic.
    public var received: Int
}

/// Round trips by length, as probes measured them.
public struct RoundTripCounts: Equatable, Sendable {
    /// Upper bounds of the ranges, ascending; what is beyond has a range of its own.
    public static let bounds: [Interval] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000
    ].map { .milliseconds($0) }

    /// The uplink's name at a proxy; empty at a concentrator.
    public let uplink: String
    /// One for each bound, and one for what is beyond; not cumulative.
    public private(set) var counts = [Int](repeating: 0, count: RoundTripCounts.bounds.count + 1)
    /// Of all of them.
    public private(set) var sum = Interval.zero

    init(uplink: String) { self.uplink = uplink }

    mutating func add(_ sample: Interval) {
        counts[Self.bounds.firstIndex { sample <= $0 } ?? Self.bounds.count] &+= 1
        sum = sum + sample
    }
}

/// Round trips by uplink, in the order in which these were first seen.
struct RoundTripTable {
    /// Names come and go with interfaces; those beyond are not counted.
    static let maximum = 64
    private(set) var uplinks: [RoundTripCounts] = []

    mutating func add(_ sample: Interval, uplink: String) {
        if let place = uplinks.firstIndex(where: { $0.uplink == uplink }) {
            uplinks[place].add(sample)
        } else if uplinks.count < Self.maximum {
            uplinks.append(RoundTripCounts(uplink: uplink))
            uplinks[uplinks.count - 1].add(sample)
        }
    }
}

/// What a user's paths moved in sessions that are over, by the paths' numbers.
struct PastUsage {
    private(set) var paths: [(sent: Int, received: Int)] = []

    /// The session ends: what its paths counted is kept.
    mutating func keep(_ path: Path) {
        while paths.count <= path.id.number { paths.append((0, 0)) }
        let usage = path.usage
        paths[path.id.number].sent &+= usage.sent
        paths[path.id.number].received &+= usage.received
    }
}

extension Path {
    /// Bytes of IP packets since the path is known, headers included.
    var usage: (sent: Int, received: Int) {
        let header = DatagramSizes.packetHeader(isIPv4: remote.address.isIPv4)
        return (
            traffic.sent.total &+ traffic.sent.count &* header,
            traffic.received.total &+ traffic.received.count &* header
        )
    }
}

extension Endpoint {
    /// Concentrator: what each path of each user has moved so far, in sessions that live or are
    /// over; only those that moved anything.
    public var usage: [PathUsage] {
        var found: [PathUsage] = []
        for user in users {
            var paths = user.past.paths
            for slot in user.sessions {
                guard let session = sessions[slot] else { continue }
                for case let path? in session.paths {
                    while paths.count <= path.id.number { paths.append((0, 0)) }
                    let usage = path.usage
                    paths[path.id.number].sent &+= usage.sent
                    paths[path.id.number].received &+= usage.received
                }
            }
            for (number, path) in paths.enumerated() where path.sent &+ path.received > 0 {
                found.append(
                    PathUsage(
                        user: user.name, path: PathID(number), sent: path.sent,
                        received: path.received))
            }
        }
        return found
    }
}

import Measures
import Multipath

/// How an association's datagrams use the paths.
public enum DatagramPolicy: UInt8, CaseIterable, Sendable {
    /// A small steady flow redundant in full mode, a bulk one spread, all else with lowest delay.
    case auto = 0
    /// On the path on which it arrives first; on every regular one while that is uncertain.
    case lowestDelay = 1
    /// Each datagram on two paths.
    case redundant = 2
    /// What the best path does not take goes over the next as well.
    case spread = 3

    /// As configuration and status name it.
    public var label: String {
        switch self {
        case .auto: "auto"
        case .lowestDelay: "lowest-delay"
        case .redundant: "redundant"
        case .spread: "spread"
        }
    }
}

/// What a datagram's choice of paths goes by; made anew for every turn.
struct DatagramPath {
    /// Which one.
    var id: PathID
    /// Of the path that has the number now.
    var incarnation: UInt64 = 0
    /// The number of its uplink.
    var uplink: UplinkNumber = 0
    /// Answered lately; where no path is, those that are open take what there is.
    var isUsable: Bool
    /// Of a link that is paid for, in backup mode.
    var isBackup: Bool
    /// Its silence is being asked about, or it has just been opened.
    var isUncertain: Bool
    /// Until a datagram arrives that leaves now.
    var delay: Interval
    /// Bytes that may be sent now.
    var space: Int
    /// Bytes that one more datagram adds to `delay`, by bytes a second; zero: unknown.
    var rate: Double
    /// The longest frame.
    var limit: Int

    mutating func take(_ bytes: Int) {
        space -= bytes
        if rate >= DatagramWindow.minimumRate {
            delay = delay + Interval(seconds: Double(bytes) / rate)
        }
    }
}

/// The paths that an association's datagrams may take.
enum AllowedPaths {
    case all
    /// At the proxy: those of some uplinks.
    case uplinks(UplinkRestriction)
    /// At the concentrator: those by which its datagrams have come, each by its incarnation.
    case arrived(by: [UInt64])

    var isAll: Bool {
        if case .all = self { return true }
        return false
    }

    func contains(_ path: DatagramPath) -> Bool {
        switch self {
        case .all: true
        case .uplinks(let restriction): restriction.allows(path.uplink)
        case .arrived(let incarnations):
            incarnations.indices.contains(path.id.number)
                && incarnations[path.id.number] == path.incarnation
        }
    }

    /// A datagram has come by a path.
    mutating func noteArrival(by path: PathID, incarnation: UInt64) {
        let number = path.number
        guard case .arrived(var incarnations) = self, (0..<Limits.paths).contains(number),
            !incarnations.indices.contains(number) || incarnations[number] != incarnation
        else { return }
        if incarnations.isEmpty {
            incarnations = Array(repeating: .max, count: Limits.paths)
        }
        incarnations[number] = incarnation
        self = .arrived(by: incarnations)
    }
}

extension DatagramPolicy {
    /// What `auto` means for a flow that behaves so.
    func effective(for kind: FlowMeter.Kind, _ mode: HandoverMode) -> DatagramPolicy {
        guard self == .auto else { return self }
        switch kind {
        case .steady: return mode == .full ? .redundant : .lowestDelay
        case .bulk: return .spread
        case .other: return .lowestDelay
        }
    }

    /// The paths a datagram of a flow with this effective policy takes, a bit each by their index;
    /// zero where none has space for it. `only`: the paths that it may take. `former`: a path that
    /// is left out.
    func choose(
        _ paths: [DatagramPath], only allowed: AllowedPaths = .all,
        besides former: PathID? = nil
    ) -> UInt32 {
        let mayTake = { (path: DatagramPath) in
            path.id != former && allowed.contains(path)
        }
        let anyUsable = paths.contains { $0.isUsable && mayTake($0) }
        let anyRegular = paths.contains { $0.isUsable && !$0.isBackup && mayTake($0) }
        var first: Int?, second: Int?
        for i in paths.indices {
            let path = paths[i]
            guard path.space > 0, !anyUsable || path.isUsable, !anyRegular || !path.isBackup,
                mayTake(path)
            else { continue }
            if first.map({ path.delay < paths[$0].delay }) ?? true {
                second = first
                first = i
            } else if second.map({ path.delay < paths[$0].delay }) ?? true {
                second = i
            }
        }
        guard let best = first else { return 0 }
        var choice = UInt32(1) << UInt32(best)
        if self == .redundant, let second { choice |= 1 << UInt32(second) }
        // What is uncertain is worth what copies cost, whoever pays for them.
        if self != .spread || !anyUsable, paths[best].isUncertain || !anyUsable {
            for i in paths.indices
            where paths[i].space > 0 && (!anyUsable || paths[i].isUsable) && mayTake(paths[i]) {
                choice |= 1 << UInt32(i)
            }
        }
        return choice
    }
}

/// What a flow is like, by a quarter of a second at a time.
struct FlowMeter {
    enum Kind: Sendable { case other, steady, bulk }
    private static let span = Interval.milliseconds(250)
    private static let pause = Interval.seconds(2)
    /// Bytes in a span from which on a flow is bulk, and below which it is not any more: 2 Mbit/s
    /// and 1.
    private static let bulkBytes = 62_500
    private static let thinBytes = 31_250
    /// Datagrams in a span of a steady flow, and their bytes on average and together.
    private static let steadyCount = 2...60
    private static let steadySize = 640
    private static let steadyBytes = 12_000

    private(set) var kind = Kind.other
    private var since = Instant.zero
    private var count = 0
    private var bytes = 0
    private var steadySpans = 0

    mutating func note(_ size: Int, at now: Instant) {
        let gone = now - since
        if gone >= Self.span { roll(gone, at: now) }
        count += 1
        bytes += size
        if bytes >= Self.bulkBytes { kind = .bulk; steadySpans = 0 }
    }

    /// Steady, and not ended.
    func isSteady(at now: Instant) -> Bool { kind == .steady && now - since < Self.span * 4 }

    private mutating func roll(_ gone: Interval, at now: Instant) {
        let isSteady =
            gone < Self.span * 2 && Self.steadyCount.contains(count)
            && bytes <= Self.steadyBytes && bytes <= count * Self.steadySize
        if gone > Self.pause { steadySpans = 0 }
        steadySpans = isSteady ? min(steadySpans + 1, 8) : steadySpans / 2
        if kind == .bulk, gone < Self.span * 2, bytes >= Self.thinBytes {
            steadySpans = 0
        } else {
            kind = steadySpans >= 2 ? .steady : .other
        }
        since = now
        count = 0
        bytes = 0
    }
}

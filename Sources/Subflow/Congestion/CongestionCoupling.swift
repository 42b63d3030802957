import Measures

/// What the subflows of one connection know of each other's congestion control: LIA (RFC 6356),
/// OLIA and BALIA make the growth of each window depend on all of them, so that the connection
/// takes no more of a bottleneck that several of its subflows cross than one TCP would.
///
/// One per connection; each coupled controller keeps its own place here up to date.
public final class CongestionCoupling {
    /// A subflow as the others see it.
    struct Path: Equatable, Sendable {
        /// Bytes that may be in flight, those between two whole ones included.
        var window: Double
        /// Seconds, SRTT; zero while unknown.
        var rtt: Double
        /// Bytes acknowledged between two losses, the greater of the last such stretch and the
        /// present one (OLIA).
        var lossDistance = 0.0
        /// When data last left on it or was acknowledged.
        var usedAt = Instant.zero
    }

    /// A subflow that has carried nothing for so long is not counted: what an idle backup or a dead
    /// path has for a window is no share of any bottleneck.
    static let idleAfter = Interval.seconds(2)

    private var paths: [Path?] = []
    /// Those counted at present, for a rule that looks at them several times; kept for its memory.
    private var counted: [Path] = []

    /// Of a connection without subflows.
    public init() {}

    /// A place for one more subflow.
    func join() -> Int {
        if let free = paths.firstIndex(where: { $0 == nil }) {
            paths[free] = Path(window: 0, rtt: 0)
            return free
        }
        paths.append(Path(window: 0, rtt: 0))
        return paths.count - 1
    }

    /// Whether others carry data, too, at `now`.
    func hasOthers(than place: Int, at now: Instant) -> Bool {
        withCounted(from: place, at: now) { $0.count > 1 }
    }

    func leave(_ place: Int) { paths[place] = nil }

    func update(_ place: Int, _ path: Path) { paths[place] = path }

    /// The paths that carry data at `now` and whose round trip is known, the one at `place` first.
    func withCounted<Result>(
        from place: Int, at now: Instant, _ body: ([Path]) -> Result
    ) -> Result {
        counted.removeAll(keepingCapacity: true)
        if let own = paths[place] { counted.append(own) }
        for (i, path) in paths.enumerated() where i != place {
            guard let path, path.rtt > 0, path.window > 0, now - path.usedAt <= Self.idleAfter
            else { continue }
            counted.append(path)
        }
        return body(counted)
    }
}

import Measures

/// What went over a path.
struct PathTraffic {
    var sent = RateMeter()
    var received = RateMeter()
    var loss = LossMeter()

    /// A datagram of `bytes` arrived; `highest` is the greatest packet number of all that did.
    @inline(__always) mutating func arrived(_ bytes: Int, highest: UInt64, at now: Instant) {
        loss.note(highest: highest)
        received.add(bytes, at: now)
    }
}

/// Bytes per second over the last fraction of a second, and their total.
struct RateMeter {
    private(set) var total = 0
    /// Datagrams.
    private(set) var count = 0
    private var bytes = 0
    private var since = Instant.zero
    private var rate = Rate.zero
    private static let window = Interval.milliseconds(250)

    @inline(__always) mutating func add(_ n: Int, at now: Instant) {
        if now - since >= Self.window { roll(at: now) }
        total &+= n
        count &+= 1
        bytes &+= n
    }
    private mutating func roll(at now: Instant) {
        let span = now - since
        let fresh = Rate(bytes: bytes, in: span)
        rate =
            span > .seconds(2)
            ? fresh : Rate(bytesPerSecond: (rate.bytesPerSecond + fresh.bytesPerSecond) / 2)
        bytes = 0
        since = now
    }
    func value(at now: Instant) -> Rate {
        // A window begins with its first datagram: what this one holds is older than a second and a
        // half.
        if now - since > .seconds(2) { return .zero }
        var copy = self
        if now - since >= Self.window { copy.roll(at: now) }
        return copy.rate
    }
}

/// The share of datagrams that did not arrive, from the packet numbers of those that did.
struct LossMeter {
    private(set) var share = 0.0
    private var first: UInt64 = 1
    private var received: UInt64 = 0
    private static let span: UInt64 = 256

    @inline(__always) mutating func note(highest: UInt64) {
        received &+= 1
        if highest &- first >= Self.span { close(highest) }
    }
    /// Numbers begin again; what was measured stays.
    mutating func restart() {
        first = 1
        received = 0
    }
    private mutating func close(_ highest: UInt64) {
        let expected = highest &+ 1 &- first
        let lost = expected > received ? Double(expected - received) / Double(expected) : 0
        share += (lost - share) / 4
        first = highest &+ 1
        received = 0
    }
}

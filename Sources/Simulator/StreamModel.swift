import Measures

/// What an application sends: how many bytes of its stream it has produced, as a function of the
/// time since it began and of what it has received. Both ends know both supplies, so that every
/// byte and both lengths can be checked.
public enum Supply: Hashable, Sendable {
    case nothing
    /// All at once: a file.
    case bulk(Int)
    /// `chunk` bytes every `period`, `total` in all: voice, video. Chunk 0 at the beginning.
    case constantRate(chunk: Int, period: Interval, total: Int)
    /// What came in goes back; `total` is the length of the other stream, whose pattern this one
    /// repeats.
    case echo(total: Int)
    /// One request at a time; the next follows the whole response to the last.
    case requests(count: Int, size: Int, responseSize: Int)
    /// A response to every whole request.
    case responses(count: Int, size: Int, requestSize: Int)

    /// Bytes in all.
    public var total: Int {
        switch self {
        case .nothing: 0
        case .bulk(let n), .constantRate(_, _, let n), .echo(let n): n
        case .requests(let count, let size, _), .responses(let count, let size, _): count * size
        }
    }

    /// Bytes produced so far.
    public func produced(after elapsed: Interval, received: Int) -> Int {
        switch self {
        case .nothing: 0
        case .bulk(let n): n
        case .constantRate(let chunk, let period, let n):
            min(n, chunk * Int(elapsed.nanoseconds / period.nanoseconds + 1))
        case .echo(let n): min(n, received)
        case .requests(let count, let size, let responseSize):
            min(count, received / responseSize + 1) * size
        case .responses(let count, let size, let requestSize):
            min(count, received / requestSize) * size
        }
    }

    /// How long after the beginning time alone next produces something; nil where it doesn't.
    public func nextProduction(after elapsed: Interval) -> Interval? {
        guard case .constantRate(let chunk, let period, let n) = self else { return nil }
        let next = elapsed.nanoseconds / period.nanoseconds + 1
        return Int(next) * chunk < n + chunk - 1 ? period * next : nil
    }
}

/// How fast an application reads.
public enum Reader: Hashable, Sendable {
    case eager
    /// At most this much on average: back-pressure.
    case slow(Rate)
    /// Reads eagerly, but after `offset` bytes stops once for `pause`.
    case pausing(at: Int, for: Interval)
}

/// When bytes arrived at an application.
public struct ReceptionLog: Sendable {
    /// How late a chunk was.
    public struct Sample: Hashable, Sendable {
        /// When it was complete.
        public var at: Instant
        /// Since the sending application produced it.
        public var delay: Interval
        /// A chunk that took `delay` and was complete at `at`.
        public init(at: Instant, delay: Interval) { self.at = at; self.delay = delay }
    }
    /// Bytes per bin of `binWidth` since time zero.
    public private(set) var bins: [Int] = []
    /// To be set before the first byte.
    public var binWidth = Interval.milliseconds(200)
    /// When the first byte came; nil: none yet.
    public private(set) var first: Instant?
    /// When the last one came.
    public private(set) var last: Instant?
    /// The longest time without a byte between two arrivals, and when it began.
    public private(set) var longestGap = Interval.zero
    /// When the last byte before it came.
    public private(set) var longestGapBegan = Instant.zero
    /// Application delay of every chunk of a constant-rate stream.
    public private(set) var delays: [Sample] = []
    /// Every arrival with its total, where `keepsArrivals` is set.
    public private(set) var arrivals: [(at: Instant, total: Int)] = []
    /// Costs 24 bytes an arrival.
    public var keepsArrivals = false

    public init() {}

    /// `n` bytes came, `total` with those before.
    public mutating func note(_ n: Int, total: Int, at now: Instant) {
        if let last, now - last > longestGap {
            longestGap = now - last
            longestGapBegan = last
        }
        if first == nil { first = now }
        last = now
        let bin = Int(now.nanoseconds / binWidth.nanoseconds)
        while bins.count <= bin { bins.append(0) }
        bins[bin] += n
        if keepsArrivals { arrivals.append((now, total)) }
    }

    /// Takes down the delay of every chunk that is complete with `total` bytes, sent by `supply`
    /// from `began` on; nothing for a supply that is not of constant rate.
    public mutating func noteDelays(of supply: Supply, began: Instant, total: Int, at now: Instant)
    {
        guard case .constantRate(let chunk, let period, let end) = supply else { return }
        while delays.count * chunk < end, min((delays.count + 1) * chunk, end) <= total {
            let produced = began + period * Int64(delays.count)
            delays.append(.init(at: produced, delay: now - produced))
        }
    }

    /// The longest gap that ends at or after `from` and begins before `to`; needs `keepsArrivals`.
    public func longestGap(from: Instant, to: Instant) -> Interval {
        var longest = Interval.zero, i = 1
        while i < arrivals.count {
            if arrivals[i].at >= from, arrivals[i - 1].at < to {
                longest = max(longest, arrivals[i].at - arrivals[i - 1].at)
            }
            i += 1
        }
        return longest
    }

    /// From `moment` to the end of the first gap as long as `gap`, or later, from where on four
    /// fifths of `rate` arrive for 200 ms; nil: never. Needs `keepsArrivals`.
    public func recovery(after moment: Instant, gap: Interval, rate: Rate) -> Interval? {
        let window = Interval.milliseconds(200)
        let wanted = rate.bytes(in: window) * 4 / 5
        var end = 0, isOver = false
        for start in arrivals.indices where arrivals[start].at >= moment && start > 0 {
            isOver = isOver || arrivals[start].at - arrivals[start - 1].at >= gap
            while end < arrivals.count, arrivals[end].at <= arrivals[start].at + window { end += 1 }
            if isOver, arrivals[end - 1].total - arrivals[start - 1].total >= wanted {
                return arrivals[start].at - moment
            }
        }
        return nil
    }
}

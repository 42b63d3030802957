import Measures
import Multipath

/// A scripted transfer over one uplink, or two, whose lines change.
///
/// It tells what arrived, how long the queue was, and whether the path was taken for a black hole.
public struct LineTrial: Sendable {
    /// How it is called on the command line.
    public var name: String
    /// Uplinks, streams, what happens.
    public var scenario: Scenario
    /// Whether the transfer is an upload.
    public var isUpload = false
    /// When it ends.
    public var end: Instant

    /// What happened between two faults.
    public struct Part: Sendable {
        /// When it began and ended.
        public var from = Instant.zero, to = Instant.zero
        /// Payload that was read, over what the first uplink's line carries in that time.
        public var share = 0.0
        /// Of the first uplink's queue: the longest, and the mean.
        public var longest = Interval.zero, mean = Interval.zero
        /// From its begin until the queue stays below 150 ms; `.max` where it never does.
        public var queueGoneAfter = Interval.zero
        /// From its begin until half a second brings 0.8 of what the line carries; `.max`: never.
        public var filledAfter = Interval.max
        /// How often datagrams became shorter.
        public var shrinkings = 0
        /// Of the sender's datagrams at the end of it, with IP and UDP headers; zero: not known.
        public var packetSize = 0
    }

    /// Runs it to its end: what went wrong, if anything did, and what happened between the changes;
    /// `dropped` by the queue.
    public func run() -> (failure: String?, parts: [Part], dropped: Int) {
        let world = World(scenario, seed: 1)
        let step = Interval.milliseconds(20)
        // Stalls come by the hundred; the first one parts them from what was before.
        let stalls = [Fault.Change.outage(.stall, .up), .outage(.stall, .down)]
        var times = scenario.faults.map(\.at)
        if scenario.faults.contains(where: { stalls.contains($0.change) }) {
            times = [.zero + .seconds(4)]
        }
        times = [.zero] + times.filter { $0 < end } + [end]
        var parts: [Part] = []
        for (from, to) in zip(times, times.dropFirst()) where to - from >= .milliseconds(400) {
            parts.append(part(world, from: from, to: to, step: step))
        }
        let failure = world.failure
        for stream in world.streams { stream.handles = (nil, nil) }
        let lane = world.lanes[0], link = isUpload ? lane.ups[0] : lane.downs[0]
        return (failure, parts, link.statistics.droppedQueue)
    }

    private func part(_ world: World, from: Instant, to: Instant, step: Interval) -> Part {
        var part = Part(from: from, to: to)
        let read = {
            world.streams.reduce(0) { $0 + (isUpload ? $1.listener.read : $1.initiator.read) }
        }
        let before = read()
        var now = from, bins: [Int] = [], last = before, queues = 0.0, count = 0
        var size = packetSize(world)
        var due = 0, lineRate = Rate.zero
        while now < to, world.failure == nil {
            now = min(now + step, to)
            world.rates.disturbed()
            world.queues.disturbed()
            world.run(until: now, mayStop: true)
            let link = isUpload ? world.lanes[0].ups[0] : world.lanes[0].downs[0]
            let rate = link.conditions.rate ?? .zero
            if now < to { lineRate = rate }
            due += lineRate.bytes(in: step)
            let queue = rate > .zero ? rate.time(for: link.backlog) : .zero
            part.longest = max(part.longest, queue)
            queues += queue.seconds
            count += 1
            if queue > .milliseconds(150) { part.queueGoneAfter = now - from }
            let total = read()
            bins.append(total - last)
            last = total
            let latest = bins.suffix(25).reduce(0, +)
            if part.filledAfter == .max, bins.count >= 25,
                latest >= rate.bytes(in: step * 25) * 8 / 10
            {
                part.filledAfter = now - from
            }
            let latestSize = packetSize(world)
            if latestSize > 0 {
                if latestSize < size { part.shrinkings += 1 }
                size = latestSize
            }
        }
        part.share = Double(read() - before) / Double(max(1, due))
        part.mean = .nanoseconds(Int64(queues / Double(max(1, count)) * 1e9))
        part.packetSize = size
        return part
    }

    private func packetSize(_ world: World) -> Int {
        let report = (isUpload ? world.proxy : world.concentrator).report(at: world.now)
        return report.sessions.first?.paths.first?.packetSize ?? 0
    }
}

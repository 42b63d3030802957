import Glibc
import Measures
import Simulator

/// One download over simulated links, as a share of the links' sum, and beside the best link alone.
///
/// What counts: the application's bytes, from opening the stream until the last one was read, over
/// the sum of the links' rates. Headers count against it, so do handshake, startup and tail. A
/// download lasts about twenty seconds. "Fresh" also counts the session's first handshake and the
/// paths' opening; in the others the session has stood for a second, as with a proxy that runs.
enum GoodputBenchmark {
    static let pairs: [(Double, Double)] = [(8, 2), (50, 20), (100, 100)]
    static let lossSeeds: UInt64 = 7
    /// Of a full datagram of 1,500 bytes, IP header included, this many are payload.
    static let payload = 1_436.0
    static let standing = Instant.zero + .seconds(1)

    static func run() -> [Figure] {
        var figures = [
            Figure(name: "goodput, most that the headers leave", value: payload / 1_500, unit: ""),
            Figure(name: "goodput, most with 1 % loss", value: payload / 1_500 * 0.99, unit: "")
        ]
        var simulated = 0.0, taken = 0.0
        for (first, second) in pairs {
            for loss in [0.0, 0.01] {
                let lossName = loss == 0 ? "" : ", 1 % loss"
                let links = [
                    link(first, delay: 15, queue: 0.2, loss),
                    link(second, delay: 50, queue: second <= 2 ? 2 : 0.2, loss)
                ]
                let name = "goodput \(Int(first))+\(Int(second)) Mbit/s\(lossName)"
                let aim = loss == 0 ? "≥ 0.94" : "≥ 0.92"
                for (label, begin) in [("", standing), (", fresh", Instant.zero)] {
                    let start = threadTime()
                    let shares = (1...(loss == 0 ? 1 : lossSeeds)).map {
                        megabitsPerSecond(links, from: begin, seed: $0, simulated: &simulated)
                            / (first + second)
                    }.sorted()
                    taken += (threadTime() - start) / 1e9
                    figures.append(
                        Figure(
                            name: name + label + ", share of the sum",
                            value: shares[shares.count / 2],
                            unit: loss == 0
                                ? ""
                                : "(\(thousandth(shares.first!)) to \(thousandth(shares.last!)))",
                            aim: aim))
                }
                let both = figures[figures.count - 2].value * (first + second)
                let alone = (1...(loss == 0 ? 1 : lossSeeds)).map {
                    megabitsPerSecond([links[0]], from: standing, seed: $0, simulated: nil)
                }.sorted()
                figures.append(
                    Figure(
                        name: name + ", against the first link alone",
                        value: both / alone[alone.count / 2],
                        unit: "times", aim: "≥ 1"))
            }
        }
        figures.append(
            Figure(
                name: "simulation speed", value: simulated / taken, unit: "times real time",
                aim: "≥ 100 on the paper's links"))
        return figures
    }

    static func thousandth(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }

    static func link(_ rate: Double, delay: Int64, queue: Double, _ loss: Double) -> UplinkPlan {
        UplinkPlan(
            LinkConditions(
                rate: .megabitsPerSecond(rate), delay: .milliseconds(delay),
                queue: Interval(seconds: queue)
            )
            .with { if loss > 0 { $0.loss = .random(loss) } })
    }

    static func megabitsPerSecond(
        _ links: [UplinkPlan], from start: Instant, seed: UInt64,
        simulated: UnsafeMutablePointer<Double>?
    ) -> Double {
        let sum = links.reduce(0) { $0 + $1.down.rate!.megabitsPerSecond }
        return DownloadRun(links, flows: 1, bytes: Int(sum * 125_000 * 20), from: start, seed: seed)
            .megabitsPerSecond(simulated: simulated)
    }
}

/// `flows` equal downloads that begin at one instant.
struct DownloadRun {
    let world: World
    let start: Instant
    let bytes: Int

    init(_ links: [UplinkPlan], flows: Int, bytes: Int, from start: Instant, seed: UInt64) {
        let plans = (0..<flows).map { _ in
            StreamPlan(at: start, initiator: .nothing, listener: .bulk(bytes / flows))
        }
        world = World(Scenario(uplinks: links, streams: plans), seed: seed)
        self.start = start
        self.bytes = bytes / flows * flows
    }

    /// All bytes, from the start to the last byte of the last flow.
    func megabitsPerSecond(simulated: UnsafeMutablePointer<Double>? = nil) -> Double {
        world.run(until: .zero + .seconds(600))
        if let failure = world.failure {
            print("download: \(failure)")
            return 0
        }
        simulated?.pointee += Double(world.now.nanoseconds) / 1e9
        let finished = world.streams.reduce(start) { max($0, $1.initiator.log.last ?? world.now) }
        return Double(bytes) * 8e3 / Double((finished - start).nanoseconds)
    }
}

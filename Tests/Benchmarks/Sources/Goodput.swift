import Glibc
import Measures
import Simulator

/// One download over simulated links, as a share of the links' sum, and beside the best link alone.
enum GoodputBenchmark {
    static let pairs: [(Double, Double)] = [(8, 2), (50, 20), (100, 100)]

    static func run() -> [Figure] {
        var figures: [Figure] = []
        var simulated = 0.0, taken = 0.0
        for (first, second) in pairs {
            for loss in [0.0, 0.01] {
                let lossName = loss == 0 ? "" : ", 1 % loss"
                let links = [link(first, delay: 15, queue: 0.2, loss),
                             link(second, delay: 50, queue: second <= 2 ? 2 : 0.2, loss)]
                let start = threadTime()
                let both = megabitsPerSecond(links, simulated: &simulated)
                taken += (threadTime() - start) / 1e9
                let alone = megabitsPerSecond([links[0]], simulated: nil)
                let name = "goodput \(Int(first))+\(Int(second)) Mbit/s\(lossName)"
                figures.append(Figure(name: name + ", share of the sum", value: both / (first + second), unit: "", aim: "≥ 0.90"))
                figures.append(Figure(name: name + ", against the first link alone", value: both / alone, unit: "times", aim: "≥ 1"))
            }
        }
        figures.append(Figure(name: "simulation speed", value: simulated / taken, unit: "times real time", aim: "≥ 100 on the paper's links"))
        return figures
    }

    static func link(_ rate: Double, delay: Int64, queue: Double, _ loss: Double) -> UplinkPlan {
        UplinkPlan(LinkConditions(rate: .megabitsPerSecond(rate), delay: .milliseconds(delay), queue: Interval(seconds: queue))
            .with { if loss > 0 { $0.loss = .random(loss) } })
    }

    /// Of a download that takes about twenty seconds, from opening the stream to its last byte.
    static func megabitsPerSecond(_ links: [UplinkPlan], simulated: UnsafeMutablePointer<Double>?) -> Double {
        let sum = links.reduce(0) { $0 + $1.down.rate!.megabitsPerSecond }
        let bytes = Int(sum * 125_000 * 20)
        let world = World(Scenario(uplinks: links, streams: [StreamPlan(initiator: .nothing, listener: .bulk(bytes))]), seed: 1)
        world.run(until: .zero + .seconds(600))
        if let failure = world.failure {
            print("goodput: \(failure)")
            return 0
        }
        simulated?.pointee += world.now.nanoseconds == 0 ? 0 : Double(world.now.nanoseconds) / 1e9
        let finished = world.streams[0].initiator.log.last ?? world.now
        return Double(bytes) * 8e3 / Double(finished.nanoseconds)
    }
}

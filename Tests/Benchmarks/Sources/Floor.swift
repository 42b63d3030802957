import Measures
import Simulator

/// Whether two links together are ever slower than the better of them alone: 16 profiles of rate,
/// delay, loss and queue, with 1, 8 and 64 flows. Each number is the quotient of two runs with the
/// same bytes, seed and flows.
enum FloorBenchmark {
    struct Link {
        var rate: Double
        /// Milliseconds, one way.
        var delay: Int64
        /// Seconds.
        var queue = 0.2
        var loss = 0.0
        var plan: UplinkPlan {
            var link = LinkConditions(
                rate: .megabitsPerSecond(rate), delay: .milliseconds(delay),
                queue: Interval(seconds: queue))
            if loss > 0 { link.loss = .random(loss) }
            return UplinkPlan(link)
        }
    }

    /// From alike to as unlike as uplinks get: DSL, WiFi, LTE, 5G, satellite, a jammed WiFi, EDGE.
    static let profiles: [(name: String, first: Link, second: Link)] = [
        ("8/30 + 2/100", Link(rate: 8, delay: 15), Link(rate: 2, delay: 50, queue: 2)),
        ("8/30 + 8/30", Link(rate: 8, delay: 15), Link(rate: 8, delay: 15)),
        ("50/30 + 20/100", Link(rate: 50, delay: 15), Link(rate: 20, delay: 50)),
        ("100/20 + 100/20", Link(rate: 100, delay: 10), Link(rate: 100, delay: 10)),
        ("100/30 + 100/100", Link(rate: 100, delay: 15), Link(rate: 100, delay: 50)),
        ("100/10 + 2/100", Link(rate: 100, delay: 5), Link(rate: 2, delay: 50, queue: 2)),
        (
            "100/10 + 0.2/300, EDGE", Link(rate: 100, delay: 5),
            Link(rate: 0.2, delay: 150, queue: 3)
        ),
        (
            "20/30 + 20/600, satellite", Link(rate: 20, delay: 15),
            Link(rate: 20, delay: 300, queue: 0.5)
        ),
        ("2/100 + 1/40", Link(rate: 2, delay: 50, queue: 2), Link(rate: 1, delay: 20)),
        (
            "50/30 + 50/30, 2 % loss", Link(rate: 50, delay: 15),
            Link(rate: 50, delay: 15, loss: 0.02)
        ),
        (
            "50/30 + 10/60, 10 % loss", Link(rate: 50, delay: 15),
            Link(rate: 10, delay: 30, loss: 0.1)
        ),
        (
            "both 1 % loss, 50/30 + 20/100", Link(rate: 50, delay: 15, loss: 0.01),
            Link(rate: 20, delay: 50, loss: 0.01)
        ),
        (
            "queues of 10 ms, 50/30 + 20/60", Link(rate: 50, delay: 15, queue: 0.01),
            Link(rate: 20, delay: 30, queue: 0.01)
        ),
        (
            "queues of 3 s, 10/40 + 10/80", Link(rate: 10, delay: 20, queue: 3),
            Link(rate: 10, delay: 40, queue: 3)
        ),
        ("20/100 + 50/20", Link(rate: 20, delay: 50), Link(rate: 50, delay: 10)),
        ("200/4 + 10/20", Link(rate: 200, delay: 2, queue: 0.05), Link(rate: 10, delay: 10))
    ]
    static let flows = [1, 8, 64]
    /// What the better link alone carries in so many seconds.
    static let seconds = 5.0

    static func run() -> [Figure] {
        var figures: [Figure] = []
        for (name, first, second) in profiles {
            let better = max(first.rate * (1 - first.loss), second.rate * (1 - second.loss))
            let bytes = Int(better * 125_000 * seconds)
            for count in flows {
                func rate(_ links: [Link]) -> Double {
                    DownloadRun(
                        links.map(\.plan), flows: count, bytes: bytes,
                        from: GoodputBenchmark.standing, seed: 1
                    )
                    .megabitsPerSecond()
                }
                // One that is far slower is not the best of the two, and would take hours.
                let isClose = min(first.rate, second.rate) * 4 > max(first.rate, second.rate)
                let best =
                    isClose
                    ? max(rate([first]), rate([second]))
                    : rate([first.rate > second.rate ? first : second])
                figures.append(
                    Figure(
                        name:
                            "\(name), \(count) flow\(count == 1 ? "" : "s"), against the best link alone",
                        value: rate([first, second]) / best, unit: "times", aim: "≥ 1"))
            }
        }
        figures.append(
            Figure(
                name: "the least of them", value: figures.map(\.value).min() ?? 0, unit: "times",
                aim: "≥ 1"))
        return figures
    }
}

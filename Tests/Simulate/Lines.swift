import Measures
import Simulator

/// `simulate lines [NAME...]`: transfers over lines that change; names begin with one of those given.
enum Lines {
    static func run(_ words: [String]) {
        func ms(_ i: Interval) -> String {
            i == .max ? "never" : String(Int(i.milliseconds.rounded()))
        }
        for trial in LineTrial.all
        where words.isEmpty || words.contains(where: { trial.name.hasPrefix($0) }) {
            let outcome = trial.run()
            var text = trial.name
            for part in outcome.parts.prefix(10) {
                let share = (part.share * 1000).rounded() / 1000
                text +=
                    " | \(part.from.nanoseconds / 1_000_000_000): \(share) q \(ms(part.longest))/\(ms(part.mean)) gone \(ms(part.queueGoneAfter)) filled \(ms(part.filledAfter)) size \(part.packetSize) shrank \(part.shrinkings)"
            }
            print(text, "dropped", outcome.dropped, outcome.failure ?? "")
        }
    }
}

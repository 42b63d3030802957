import Measures
import Simulator

/// `simulate day`: days with a phone in every mode, and `auto` beside them.
///
///     simulate day [WIFI CELLULAR] [full] [backup] [single] [auto] [hints] [--seeds A..B] [--trace]
enum Days {
    static func run(_ words: [String], seeds: Range<UInt64>) -> Bool {
        var names = ["wifi-n950", "3g-n950"]
        for word in words where RadioProfile.named(word) != nil {
            names[word.hasPrefix("wifi-") ? 0 : 1] = word
        }
        let radios = names.compactMap(RadioProfile.named)
        let named = Day.Choice.allCases.filter {
            words.contains($0 == .hinted ? "hints" : $0.rawValue)
        }
        let choices = named.isEmpty ? Day.Choice.allCases : named
        print(
            "seed choice J J-WiFi J-cellular waited-s pages transfers film call pauses longest-s MB-cellular"
        )
        var sums: [Day.Choice: (joules: Double, waited: Double, pauses: Int)] = [:]
        for seed in seeds {
            for choice in choices {
                let outcome = Day(seed: seed, choice: choice, radios: radios)
                    .run(telling: words.contains("--trace") ? { print($0) } : nil)
                if let wrong = outcome.failure {
                    print("failure \(seed) \(choice.rawValue): \(wrong)")
                    return false
                }
                let all = outcome.waiting
                let numbers = [
                    outcome.joules, outcome.energies[0].joules, outcome.energies[1].joules,
                    all.time.seconds, outcome.pages.time.seconds, outcome.transfers.time.seconds,
                    outcome.film.time.seconds, outcome.call.time.seconds, Double(all.pauses),
                    all.longest.seconds, Double(outcome.bytes[1]) / 1e6
                ].map { "\(($0 * 10).rounded() / 10)" }
                print("\(seed) \(choice.rawValue): \(numbers.joined(separator: " "))")
                var sum = sums[choice] ?? (0, 0, 0)
                sum.joules += outcome.joules
                sum.waited += all.time.seconds
                sum.pauses += all.pauses
                sums[choice] = sum
            }
        }
        guard let full = sums[.full], let single = sums[.single] else { return true }
        for choice in Day.Choice.allCases {
            guard let sum = sums[choice] else { continue }
            let share = { (value: Double) in (value * 1000).rounded() / 10 }
            print(
                "all \(choice.rawValue): energy \(share(sum.joules / single.joules)) % of single's, "
                    + "waited \(share(sum.waited / full.waited)) % of full's, \(sum.pauses) pauses")
        }
        return true
    }
}

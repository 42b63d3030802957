import Measures
import Multipath
import Simulator

/// `simulate commute`: twenty minutes on the way in each mode, with an uplink that costs something,
/// and by use.
///
///     simulate commute [WIFI CELLULAR] [--seeds A..B]
enum Commutes {
    static func run(_ words: [String], seeds: Range<UInt64>) -> Bool {
        var names = ["wifi-n950", "3g-n950"]
        for word in words where RadioProfile.named(word) != nil {
            names[word.hasPrefix("wifi-") ? 0 : 1] = word
        }
        let radios = names.compactMap(RadioProfile.named)
        print("seed choice: waited-s longest-s J-WiFi J-cellular MB-cellular money-at-5-a-GB")
        for seed in seeds {
            var choices = HandoverMode.allCases.map {
                ($0.rawValue, Commute(seed: seed, mode: $0, radios: radios))
            }
            var dear = Commute(seed: seed, mode: .full, radios: radios)
            dear.cost = .dear
            var byUse = Commute(seed: seed, mode: .single, radios: radios)
            byUse.followsUse = true
            choices += [("full prefer-cheap", dear), ("auto", byUse)]
            for (name, commute) in choices {
                let outcome = commute.run()
                if let wrong = outcome.failure {
                    print("failure \(seed) \(name): \(wrong)")
                    return false
                }
                let numbers = [
                    outcome.waited.seconds, outcome.longest.seconds, outcome.energies[0].joules,
                    outcome.energies[1].joules, Double(outcome.bytes[1]) / 1e6, outcome.money
                ].map { "\(($0 * 1000).rounded() / 1000)" }
                print("\(seed) \(name): \(numbers.joined(separator: " "))")
            }
        }
        return true
    }
}

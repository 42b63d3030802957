import Measures
import Multipath
import Simulator

/// `simulate energy`: downloads on a phone with two radios. Prints every packet at the phone and
/// what the model makes of them, for `Tests/energy.py`, which works it out by itself.
///
///     simulate energy [WIFI CELLULAR] [wifi|cellular|both] [MODE] [warm] [spaced] [--seed N]
enum Energy {
    /// Whether `run` knows what it means.
    static func isWord(_ word: String) -> Bool {
        RadioProfile.named(word) != nil || EnergyTrial.Uses(rawValue: word) != nil
            || HandoverMode(rawValue: word) != nil
            || ["warm", "spaced", "auto", "hints"].contains(word)
    }

    static func run(_ words: [String], seed: UInt64) -> Bool {
        var names = ["wifi-n950", "3g-n950"], uses = EnergyTrial.Uses.both
        for word in words {
            if RadioProfile.named(word) != nil { names[word.hasPrefix("wifi-") ? 0 : 1] = word }
            if let chosen = EnergyTrial.Uses(rawValue: word) { uses = chosen }
        }
        let radios = names.compactMap(RadioProfile.named)
        var random = SeededRandom(seed: seed ^ 0x656e_6572_6779)
        let isSpaced = words.contains("spaced")
        var trial = EnergyTrial(
            uses, rate: .megabitsPerSecond(0.2 + 5 * random.unit()), radios: radios,
            size: isSpaced ? 100_000 : 1_000_000, count: 3,
            pause: isSpaced ? .milliseconds(500 + Int64(15_000 * random.unit())) : .zero,
            seed: seed)
        trial.mode = words.compactMap(HandoverMode.init).first ?? .full
        trial.isWarm = words.contains("warm")
        let outcome = trial.run()
        if let wrong = outcome.failure {
            print("failure \(wrong)")
            return false
        }
        for packet in outcome.trace.packets {
            print(
                "packet \(packet.at.nanoseconds) \(packet.radio) \(packet.isUp ? "up" : "down") "
                    + "\(packet.bytes)")
        }
        let start = EnergyTrial.start.nanoseconds
        print("span \(start) \(start + outcome.duration.nanoseconds)")
        for (i, energy) in outcome.energies.enumerated() {
            print("energy \(i) \(names[i]) \(energy.joules)")
        }
        return true
    }
}

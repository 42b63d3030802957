import Measures

/// What a radio draws and how long it takes to rest: a state machine with a power for each state.
///
/// From `idle` a packet wakes it (`promotion`). Then it falls from level to level as time goes by
/// without a packet, and from the last one back to idle. Whatever the state, each bit up and down
/// costs its part besides: a power that grows with the throughput is an energy for each bit.
public struct RadioProfile: Hashable, Sendable {
    /// A power for a time.
    public struct Stretch: Hashable, Sendable {
        /// Power in this state, in watts.
        public var power: Double
        /// How long it lasts.
        public var length: Interval
        /// `power` in watts.
        public init(power: Double, length: Interval) {
            self.power = power
            self.length = length
        }
        /// Joules of all of it.
        public var energy: Double { power * length.seconds }
    }
    /// Awake, until nothing was carried for a while.
    public struct Level: Hashable, Sendable {
        /// As the technology calls it: DCH, FACH, continuous reception, long DRX.
        public var name: String
        /// Watts without the bits', and how long after the last packet (or after the level above)
        /// it falls further.
        public var stretch: Stretch
        /// What a packet costs that comes here: the way back up to the first level.
        public var promotion: Stretch
    }

    /// Of the file.
    public var name: String
    /// Watts on average while it rests, paging and beacons included.
    public var idlePower: Double
    /// From idle to the first level.
    public var promotion: Stretch
    /// From the most awake to the one before idle; at least one.
    public var levels: [Level]
    /// Joules for each bit sent.
    public var energyPerBitUp: Double
    /// Joules for each bit received.
    public var energyPerBitDown: Double

    /// From the last packet until it is idle.
    public var tail: Interval { levels.reduce(.zero) { $0 + $1.stretch.length } }
    /// Joules from the last packet until it is idle.
    public var tailEnergy: Double { levels.reduce(0) { $0 + $1.stretch.energy } }

    /// As the world's links know it: asleep after the tail, awake after the promotion. Nil where
    /// waking takes no time.
    public var plan: UplinkPlan.RadioPlan? {
        promotion.length > .zero
            ? .init(sleepsAfter: tail, wakeTime: promotion.length) : nil
    }

    /// Why a profile can't be read.
    public struct Problem: Error, CustomStringConvertible {
        /// The line and what is wrong with it.
        public let description: String
    }

    /// Reads a profile: lines of words, comments from `#` on.
    ///
    ///     name WORD
    ///     idle MILLIWATTS
    ///     promotion MILLIWATTS MILLISECONDS
    ///     level NAME MILLIWATTS MILLISECONDS [promotion MILLIWATTS MILLISECONDS]
    ///     up MILLIWATTS-FOR-EACH-MBIT/S
    ///     down MILLIWATTS-FOR-EACH-MBIT/S
    public init(_ text: String) throws(Problem) {
        self.init(
            name: "", idlePower: 0, promotion: .init(power: 0, length: .zero), levels: [],
            energyPerBitUp: 0, energyPerBitDown: 0)
        var number = 0
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            number += 1
            let words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
            guard let first = words.first else { continue }
            let rest = Array(words.dropFirst())
            guard take(first, rest) else {
                throw Problem(description: "line \(number): \"\(words.joined(separator: " "))\"")
            }
        }
        guard !name.isEmpty, !levels.isEmpty else {
            throw Problem(description: "no name, or no level")
        }
    }

    private init(
        name: String, idlePower: Double, promotion: Stretch, levels: [Level],
        energyPerBitUp: Double, energyPerBitDown: Double
    ) {
        self.name = name
        self.idlePower = idlePower
        self.promotion = promotion
        self.levels = levels
        self.energyPerBitUp = energyPerBitUp
        self.energyPerBitDown = energyPerBitDown
    }

    private mutating func take(_ key: String, _ words: [String]) -> Bool {
        switch (key, words.count) {
        case ("name", 1): name = words[0]
        case ("idle", 1):
            guard let power = Self.number(words[0]) else { return false }
            idlePower = power / 1000
        case ("promotion", 2):
            guard let stretch = Self.stretch(words[0], words[1]) else { return false }
            promotion = stretch
        case ("level", 3), ("level", 6):
            guard let stretch = Self.stretch(words[1], words[2]) else { return false }
            var back = Stretch(power: 0, length: .zero)
            if words.count == 6 {
                guard words[3] == "promotion", let way = Self.stretch(words[4], words[5]) else {
                    return false
                }
                back = way
            }
            levels.append(.init(name: words[0], stretch: stretch, promotion: back))
        case ("up", 1):
            guard let power = Self.number(words[0]) else { return false }
            energyPerBitUp = power * 1e-9  // mW for each Mbit/s: mJ for each Mbit
        case ("down", 1):
            guard let power = Self.number(words[0]) else { return false }
            energyPerBitDown = power * 1e-9
        default: return false
        }
        return true
    }

    private static func stretch(_ power: String, _ length: String) -> Stretch? {
        guard let power = number(power), let length = number(length) else { return nil }
        return Stretch(
            power: power / 1000, length: Interval(nanoseconds: Int64(length * 1e6)))
    }

    /// Within reason, at least zero.
    private static func number(_ word: String) -> Double? {
        guard let value = Double(word), value >= 0, value <= 1e9 else { return nil }
        return value
    }
}

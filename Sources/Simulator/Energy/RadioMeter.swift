import Measures

/// The energy of one radio, from its packets: `RadioProfile` run along time.
///
/// A packet that is sent while the radio rests wakes it and waits for the promotion to end. One
/// that arrives has waited already: its promotion lies before it, as far as the radio rested that
/// long.
public struct RadioMeter: Sendable {
    private enum State {
        case idle(since: Instant)
        /// Waking at this power.
        case promoting(until: Instant, power: Double)
        /// Awake; the levels count from its last packet.
        case awake(last: Instant)
    }

    /// What it is the meter of.
    public let profile: RadioProfile
    /// Joules so far.
    public private(set) var energy = 0.0
    /// Of `energy`, what the bits cost.
    public private(set) var energyOfBits = 0.0
    /// How often it was woken from idle.
    public private(set) var promotions = 0
    private var state: State
    private var now: Instant

    /// At rest from `start` on.
    public init(_ profile: RadioProfile, from start: Instant) {
        self.profile = profile
        state = .idle(since: start)
        now = start
    }

    /// A packet of `bytes`, headers included, was given to the radio at `at` (`isUp`) or came out
    /// of it.
    public mutating func packet(_ bytes: Int, isUp: Bool, at: Instant) {
        advance(to: at)
        let bits = Double(8 * bytes)
        let cost = bits * (isUp ? profile.energyPerBitUp : profile.energyPerBitDown)
        energy += cost
        energyOfBits += cost
        switch state {
        case .promoting: break
        case .idle(let since):
            promotions += 1
            wake(profile.promotion, from: profile.idlePower, since: since, isUp: isUp)
        case .awake(let last):
            let (level, since) = level(last: last)
            wake(level.promotion, from: level.stretch.power, since: since, isUp: isUp)
        }
    }

    /// Lets time go by; earlier than what was seen already: nothing.
    public mutating func advance(to end: Instant) {
        while now < end {
            switch state {
            case .idle:
                spend(profile.idlePower, until: end)
            case .promoting(let until, let power):
                spend(power, until: min(end, until))
                if now == until { state = .awake(last: until) }
            case .awake(let last):
                let (level, since) = level(last: last)
                spend(level.stretch.power, until: min(end, since + level.stretch.length))
                if now >= last + profile.tail { state = .idle(since: last + profile.tail) }
            }
        }
    }

    private mutating func spend(_ power: Double, until end: Instant) {
        energy += power * (end - now).seconds
        now = end
    }

    /// The level at `now`, and when it began.
    private func level(last: Instant) -> (RadioProfile.Level, since: Instant) {
        var since = last
        for level in profile.levels.dropLast() {
            if now < since + level.stretch.length { return (level, since) }
            since += level.stretch.length
        }
        return (profile.levels[profile.levels.count - 1], since)
    }

    private mutating func wake(
        _ promotion: RadioProfile.Stretch, from power: Double, since: Instant, isUp: Bool
    ) {
        if isUp, promotion.length > .zero {
            state = .promoting(until: now + promotion.length, power: promotion.power)
            return
        }
        // It came out of the radio, which was on its way up before.
        let length = min(promotion.length, now - since)
        energy += (promotion.power - power) * length.seconds
        state = .awake(last: now)
    }
}

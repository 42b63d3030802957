import Measures
import Multipath
import Tunnel

extension World {
    /// What a world has besides its scenario.
    public struct Options: Sendable {
        /// Of the connections at both ends.
        public var connection = ConnectionConfiguration()
        /// Of all connections, at the beginning.
        public var mode = HandoverMode.full
        /// The proxy's mode follows from use instead.
        public var followsUse = false
        /// Strangers send garbage and copies of true datagrams to every port.
        public var hasStrangers = false
        /// How long the concentrator takes to dial.
        public var dialDelay = Interval.milliseconds(1)
        /// The proxy waits for the dial before it writes (`open: checked`).
        public var waitsForDial = false
        /// Anything but `.reliable` is an experiment.
        public var signaling = Signaling.reliable
        /// The way to a second address of the concentrator, each way; nil: there is none.
        public var second: LinkConditions?
        /// Whether further paths may lead to the first.
        public var joinsFirst = true
        /// Associations with datagrams beside the streams.
        public var associations = 0
        public init() {}
    }
}

extension World.Options {
    /// What the owners chose, drawn from `seed`.
    public static func drawn(seed: UInt64) -> World.Options {
        var random = SeededRandom(seed: seed ^ 0x6f70_7469_6f6e_7300)
        var options = World.Options()
        if random.chance(0.3) { options.mode = .allCases[random.number(0...2)] }
        options.hasStrangers = random.chance(0.3)
        options.dialDelay = random.interval(.zero, .milliseconds(random.chance(0.2) ? 800 : 20))
        options.waitsForDial = random.chance(0.3)
        if random.chance(0.3) { options.connection.sendLimit = random.number(20_000...300_000) }
        if random.chance(0.3) { options.connection.receiveLimit = random.number(20_000...300_000) }
        if random.chance(0.3) { options.connection.subflow.congestion = .newReno }
        var further = SeededRandom(seed: seed ^ 0x616e_6e6f_756e_6365)
        if further.chance(0.4) {
            options.second = .drawn(hardship: further.unit(), from: &further)
            if further.chance(0.2) { options.second?.outage = .blackHole }
            options.joinsFirst = further.chance(0.7)
        }
        return options
    }
}

extension World.Options {
    /// For `Scenario.drawnLong`: what owners usually choose.
    public static func drawnLong(seed: UInt64) -> World.Options {
        var options = drawn(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x6c6f_6e67_0000_0001)
        guard random.chance(0.9) else { return options }
        options.connection = ConnectionConfiguration()
        options.second = nil
        options.joinsFirst = true
        options.mode = .allCases[random.number(0...2)]
        return options
    }
}

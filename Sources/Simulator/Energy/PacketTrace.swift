import Measures

/// What the phone's radios carried: enough to know their energy, by this model or another.
public struct PacketTrace: Sendable {
    /// One packet at the phone.
    public struct Packet: Hashable, Sendable {
        /// When it was given to the radio (`isUp`) or came out of it.
        public var at: Instant
        /// The number of its uplink.
        public var radio: Int
        /// With IP and UDP headers.
        public var bytes: Int
        /// Sent by the phone.
        public var isUp: Bool

        /// See the properties.
        public init(at: Instant, radio: Int, bytes: Int, isUp: Bool) {
            self.at = at
            self.radio = radio
            self.bytes = bytes
            self.isUp = isUp
        }
    }

    /// In the order of their times.
    public private(set) var packets: [Packet] = []

    /// Of a world that has yet to run.
    public init() {}

    /// A packet more, no earlier than the last.
    public mutating func note(_ packet: Packet) { packets.append(packet) }

    /// Joules of each radio between two moments. It is at rest at time zero, and what came before
    /// `from` says in what state it then is.
    public func energies(_ profiles: [RadioProfile], from: Instant, to: Instant) -> [RadioEnergy] {
        var meters = profiles.map { RadioMeter($0, from: .zero) }
        var before = meters.map(\.energy), woken = meters.map(\.promotions), hasBegun = false
        func begin() {
            hasBegun = true
            for i in meters.indices {
                meters[i].advance(to: from)
                before[i] = meters[i].energy
                woken[i] = meters[i].promotions
            }
        }
        for packet in packets where packet.at <= to && packet.radio < meters.count {
            if !hasBegun, packet.at >= from { begin() }
            meters[packet.radio].packet(packet.bytes, isUp: packet.isUp, at: packet.at)
        }
        if !hasBegun { begin() }
        for i in meters.indices { meters[i].advance(to: to) }
        return meters.indices.map {
            RadioEnergy(
                joules: meters[$0].energy - before[$0],
                promotions: meters[$0].promotions - woken[$0])
        }
    }
}

/// What one radio took in a time.
public struct RadioEnergy: Hashable, Sendable {
    /// Energy used, in joules.
    public var joules: Double
    /// How often it was woken.
    public var promotions: Int
}

extension World {
    /// Calls `note` for every datagram that the phone's radios carry, as the trace of energy has
    /// it: sent by the proxy, or arrived at it.
    func traceRadios(_ note: @escaping (PacketTrace.Packet) -> Void) {
        let observed = observer, arrived = arriving
        observer = { now, fromProxy, uplink, bytes in
            observed?(now, fromProxy, uplink, bytes)
            guard fromProxy else { return }
            note(
                .init(at: now, radio: uplink, bytes: bytes.count + Self.headerBytes, isUp: true))
        }
        arriving = { now, atConcentrator, uplink, bytes in
            arrived?(now, atConcentrator, uplink, bytes)
            guard !atConcentrator else { return }
            note(
                .init(at: now, radio: uplink, bytes: bytes.count + Self.headerBytes, isUp: false))
        }
    }
}

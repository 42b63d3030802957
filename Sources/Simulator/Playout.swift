import Measures

/// How a player hears a voice stream: it waits `buffer` longer than the first block took, then
/// plays on; a block that is not there in time is awaited in silence, and everything after it is
/// played as much later.
public struct Playout: Hashable, Sendable {
    /// Filled before the first block is played.
    public var buffer: Interval
    /// 60 ms: of the order that voice over IP takes on good networks.
    public init(buffer: Interval = .milliseconds(60)) { self.buffer = buffer }

    /// Silence inserted from `from` on.
    public func silence(_ delays: [ReceptionLog.Sample], from: Instant = .zero) -> Interval {
        guard let first = delays.first else { return .zero }
        var playedAfter = first.delay + buffer, silence = Interval.zero
        for sample in delays where sample.delay > playedAfter {
            if sample.at + playedAfter >= from { silence += sample.delay - playedAfter }
            playedAfter = sample.delay
        }
        return silence
    }
}

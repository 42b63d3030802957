/// What a process remembers of itself: its events, its usage, how long its handovers took.
///
/// Proxy and concentrator report into it; the page, the command line, the metrics and allowances
/// read from it. For the loop's thread alone.
public final class Recorder {
    /// See there.
    public let events: EventJournal
    /// See there.
    public var usage = UsageLedger()
    /// How long connections and calls stood still when an uplink went.
    public var handoverPauses = Histogram()
    private let clock: () -> Int64

    /// `clock`: the wall clock in ms since 1970 UTC; tests have their own.
    public init(
        events: EventJournal = EventJournal(),
        clock: @escaping () -> Int64 = WallClock.milliseconds
    ) {
        self.events = events
        self.clock = clock
    }

    /// Now, ms since 1970 UTC.
    public var time: Int64 { clock() }

    /// Something happened now; the event's sequence number, by which it can be amended.
    @discardableResult public func note(
        _ kind: Event.Kind, uplink: String? = nil, user: String? = nil, other: String? = nil,
        detail: String? = nil, numbers: Event.Numbers = Event.Numbers()
    ) -> UInt64 {
        events.append(
            Event(
                time: clock(), kind, uplink: uplink, user: user, other: other, detail: detail,
                numbers: numbers))
    }

    /// Traffic that was counted just now.
    public func count(_ volume: UsageLedger.Volume, of source: UsageLedger.Source) {
        usage.add(volume, of: source, in: UsageHour(milliseconds: clock()))
    }
}

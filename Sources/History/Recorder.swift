import Tunnel

/// What a process remembers of itself: its events, its usage, how long its handovers took.
///
/// Proxy and concentrator report into it; the page, the command line, the metrics and allowances
/// read from it. For the loop's thread alone.
public final class Recorder {
    /// What has happened of late.
    public let events: EventJournal
    /// Bytes that were moved, and by what.
    public var usage = UsageLedger()
    /// How long connections and calls stood still when an uplink went.
    public var handoverPauses = Histogram()
    /// How many events there were of each kind.
    public private(set) var counts: [Event.Kind: Int] = [:]
    /// What writes the past down; nil: it is forgotten with the process.
    public private(set) var writer: HistoryWriter?
    private let clock: () -> Int64
    private let steady: () -> Int64
    private var subscription: EventJournal.Subscription?
    /// An event is about to be written: what was moved until now is to be counted and saved soon,
    /// so that it is written with it. Not to be done within the call.
    public var wantsCount: (() -> Void)?
    /// When it was last asked for.
    private var askedAt = Int64.min / 2

    /// `clock`: the wall clock in ms since 1970 UTC, `steady`: one that is never set, ms; tests
    /// have their own.
    public init(
        events: EventJournal = EventJournal(),
        clock: @escaping () -> Int64 = WallClock.milliseconds,
        steady: @escaping () -> Int64 = SteadyClock.milliseconds
    ) {
        self.events = events
        self.clock = clock
        self.steady = steady
    }

    /// Now, ms since 1970 UTC.
    public var time: Int64 { clock() }
    /// For how long something took, ms, whatever becomes of the wall clock meanwhile.
    public var steadyTime: Int64 { steady() }

    /// Something happened now; the event's sequence number, by which it can be amended.
    @discardableResult public func note(
        _ kind: Event.Kind, uplink: String? = nil, user: String? = nil, other: String? = nil,
        detail: String? = nil, numbers: Event.Numbers = Event.Numbers()
    ) -> UInt64 {
        counts[kind, default: 0] += 1
        return events.append(
            Event(
                time: clock(), kind, uplink: uplink, user: user, other: other, detail: detail,
                numbers: numbers))
    }

    /// Writes down what there is and what comes, until `close()`.
    public func keep(by writer: HistoryWriter) {
        self.writer = writer
        subscription = events.subscribe { [weak self] in self?.save($0) }
        for entry in events.entries() where entry.sequence > events.restored { save(entry) }
    }

    private func save(_ entry: EventJournal.Entry) {
        var batch = HistoryBatch()
        batch.events = [entry]
        guard let writer else { return }
        writer.add(batch)
        // While the disk hangs every event would ask.
        let now = steady()
        guard writer.untilCount == 0, now - askedAt >= HistoryWriter.gathering
        else { return }
        askedAt = now
        wantsCount?()
    }

    /// After how long what is moved from now on is to be counted and saved, ms: just ahead of the
    /// next transaction; of the one behind it, where that one has its count already.
    public var untilCount: Int64 {
        let until = writer?.untilCount ?? 0
        let least = HistoryWriter.interval - 2 * HistoryWriter.gathering
        return until > 0 ? min(until, HistoryWriter.interval) : least
    }

    /// Hands the usage that was counted since the last call to whoever writes it down. Called once
    /// a second while there is traffic, and for events.
    public func save() {
        var batch = HistoryBatch()
        batch.usage = usage.takeUnsaved()
        writer?.add(batch)
        writer?.noteCount()
    }

    /// Writes what is left; waits for that for two seconds at most.
    public func close() {
        save()
        writer?.close()
        writer = nil
        subscription = nil
    }

    /// Traffic that was counted just now.
    public func count(_ volume: UsageLedger.Volume, of source: UsageLedger.Source) {
        usage.add(volume, of: source, in: UsageHour(milliseconds: clock()))
    }

    /// What is known of a handover completes the event of the loss.
    public func handover(from loss: UInt64, _ handover: Handover) {
        let pause = handover.longestPause?.milliseconds
        events.amend(loss) { event in
            // Several paths of one uplink go at once, and have much the same connections.
            event.numbers.connections = max(
                event.numbers.connections ?? 0, handover.connections)
            event.numbers.calls = max(event.numbers.calls ?? 0, handover.calls)
            if let pause {
                event.numbers.longestPause = max(
                    event.numbers.longestPause ?? 0, Int(min(max(pause, 0), 1e9).rounded()))
            }
            if !handover.others.isEmpty { event.other = handover.others.joined(separator: " and ") }
        }
        if handover.isComplete, let pause { handoverPauses.add(pause / 1_000) }
    }
}

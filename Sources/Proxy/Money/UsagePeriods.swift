/// How the clock came to another period of an allowance.
enum ClockChange {
    /// Time went by.
    case passed
    /// Somebody set it.
    case set
    /// One or the other, while nobody counted.
    case unknown
}

extension UsageFile.Record {
    /// 2024-01-01: a clock before that has not been set.
    private static let firstDay = 19_723
    /// A month is the longest period; this is that and some days.
    private static let maximumPeriodDays = 62

    /// What the record is in `period`, in which a clock that may be wrong now is; where nobody can
    /// tell which of two times was right, what was used counts in both, never in none.
    mutating func turn(to period: Int, by change: ClockChange) {
        guard period != self.period else { return }
        let isBack = period < self.period
        if let before, before.start == period {
            // Back in it, or on to it once more.
            let meanwhile = isBack || change != .passed ? before.since ?? (isBack ? bytes : 0) : 0
            self = UsageFile.Record(
                bytes: UsageFile.clamped(before.bytes &+ meanwhile), period: period,
                before: left(isSet: isBack || change == .set))
        } else if isBack {
            // The clock was far ahead then, or is far back now. One that merely went back begins no
            // period, nor does one that was never set.
            guard period >= Self.firstDay, self.period - period > Self.maximumPeriodDays else {
                return
            }
            before = home ?? left(isSet: true, isAway: true)
            self.period = period
        } else if self.period < Self.firstDay {
            // What was counted before the clock was set is of this period.
            self.period = period
        } else if let home, let since = home.since, change != .passed, home.start > self.period,
            home.start < period
        {
            // Right again, and beyond the end of the period that the clock was set back from; or
            // ahead of it now.
            self = UsageFile.Record(bytes: since, period: period, before: home)
        } else {
            self = UsageFile.Record(
                period: period,
                before: home(in: period, change)
                    ?? left(isSet: change == .set, isAway: change == .set))
        }
    }

    /// Counts in the period, and for the one that the clock may be set back to.
    mutating func add(_ count: Int) {
        bytes = UsageFile.clamped(bytes &+ count)
        if let since = before?.since { before?.since = UsageFile.clamped(since &+ count) }
    }

    /// The period as one that is left now.
    private func left(isSet: Bool, isAway: Bool = false) -> UsageFile.Period {
        UsageFile.Period(bytes: bytes, start: period, since: isSet ? 0 : nil, isAway: isAway)
    }

    /// The period from which the clock was set and to which it was not set back.
    private var home: UsageFile.Period? { before?.isAway == true ? before : nil }

    /// The same, where it may still be the right one: time that went by has not led on from it.
    private func home(in period: Int, _ change: ClockChange) -> UsageFile.Period? {
        guard let home,
            change != .passed || home.start > period
                || period &- home.start > Self.maximumPeriodDays
        else { return nil }
        return home
    }
}

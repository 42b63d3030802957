import Measures

/// What is used of one uplink's allowance: counts, and says what follows. Pure; the calendar and
/// the file are its owner's.
struct UplinkMeter {
    /// What of the allowance is used.
    enum Stage: Int, Comparable {
        case free = 0
        case nearEnd = 80
        case empty = 100
        static func < (a: Stage, b: Stage) -> Bool { a.rawValue < b.rawValue }
    }

    /// 2024-01-01: a clock before that has not been set.
    private static let firstDay = 19_723
    /// And some days.
    private static let longestPeriod = 62

    /// As the settings say at present.
    var tariff: Tariff
    /// In the file.
    private(set) var saved: UsageFile.Record
    /// Counted, and not in the file yet.
    private(set) var unsaved = 0

    init(_ tariff: Tariff, _ saved: UsageFile.Record) {
        self.tariff = tariff
        self.saved = saved
    }

    /// Since the period began.
    var used: Int { saved.bytes &+ unsaved }

    /// A write is worth it: what a killed process loses is less than 0.1 %, and less than 100 kB of
    /// little.
    var isWorthSaving: Bool { unsaved >= max(32_000, used / 4_000) }

    mutating func count(_ bytes: Int) { unsaved &+= bytes }

    /// Adds what is unsaved to what the file has, which another process may have changed; a period
    /// that has begun begins at nothing, with nothing told.
    func save(into record: inout UsageFile.Record, period: Int) {
        if period != record.period, let before = record.before, before.start == period {
            // Back in it, or on to it once more: one of the two times the clock was wrong. What
            // came meanwhile counts in the earlier one.
            let meanwhile = period < record.period ? record.bytes : 0
            record = UsageFile.Record(
                bytes: before.bytes &+ meanwhile, period: period, before: record.asPeriod)
        } else if period > record.period, record.period < Self.firstDay {
            // What was counted before the clock was set is of this period.
            record.period = period
        } else if period > record.period {
            record = UsageFile.Record(period: period, before: record.asPeriod)
        } else if period >= Self.firstDay, record.period - period > Self.longestPeriod {
            // The clock was far ahead then, or is far back now. One that merely went back begins no
            // period, nor does one that was never set.
            record.before = record.asPeriod
            record.period = period
        }
        record.bytes = min(max(0, record.bytes &+ unsaved), UsageFile.maximumBytes)
    }

    mutating func saved(as record: UsageFile.Record) {
        saved = record
        unsaved = 0
    }

    mutating func note(told: Int) { saved.told = told }

    var stage: Stage { stage(of: used) }

    /// Where so many bytes are used.
    func stage(of used: Int) -> Stage {
        guard let allowance = tariff.allowance else { return .free }
        if used >= allowance.bytes { return .empty }
        return Double(used) >= Double(allowance.bytes) * 0.8 ? .nearEnd : .free
    }

    /// Of the allowance, what may have been used by now where it is to last for the period, of
    /// which `share` (0 to 1) has gone by; a twentieth ahead, for a first day is no reason to stop.
    func isAhead(of share: Double) -> Bool {
        guard let allowance = tariff.allowance else { return false }
        return Double(used) > Double(allowance.bytes) * min(1, share + 0.05)
    }

    /// Money for what was used: all of it, at the price.
    var spent: Double? { tariff.price.map { $0.amount * Double(used) / 1e9 } }
}

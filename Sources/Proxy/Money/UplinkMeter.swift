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

    /// As the settings say at present.
    var tariff: Tariff
    /// In the file, or what would be there.
    private(set) var saved: UsageFile.Record
    /// Counted, and not in `saved` yet.
    private(set) var unsaved = 0
    /// A period changed while the file could not be written: `saved` is not in it.
    private var isAhead = false

    init(_ tariff: Tariff, _ saved: UsageFile.Record) {
        self.tariff = tariff
        self.saved = saved
    }

    /// Since the period began.
    var used: Int { saved.bytes &+ unsaved }

    /// A write is worth it: what a killed process loses is less than 0.1 %, and less than 100 kB of
    /// little, with a message of 64 kB and its headers that nobody has counted yet
    /// (`DatagramSocket.carried`).
    var isWorthSaving: Bool { unsaved >= max(24_000, used / 4_000) }

    mutating func count(_ bytes: Int) { unsaved &+= bytes }

    /// Whether the file lacks something in `period`.
    func isUnsaved(in period: Int) -> Bool { unsaved != 0 || isAhead || period != saved.period }

    /// Adds what is unsaved to what the file has, which another process may have changed; a period
    /// that has begun begins at nothing, with nothing told.
    func save(into record: inout UsageFile.Record, period: Int, by change: ClockChange) {
        if isAhead {
            let known = record.period == saved.period ? record.bytes : 0
            record = saved
            record.bytes = max(record.bytes, known)
        }
        record.turn(to: period, by: change)
        record.add(unsaved)
        // What was told while it could not be written.
        if record.period == saved.period { record.told = max(record.told, saved.told) }
    }

    mutating func saved(as record: UsageFile.Record) {
        saved = record
        unsaved = 0
        isAhead = false
    }

    /// The file can't be written: a period begins all the same, here.
    mutating func goOn(in period: Int, by change: ClockChange) {
        guard period != saved.period else { return }
        // Nothing is known yet: what the file has will be, once it can be read.
        guard saved != UsageFile.Record() else { saved.period = period; return }
        var record = saved
        record.add(unsaved)
        record.turn(to: period, by: change)
        guard record.period != saved.period else { return }
        saved = record
        unsaved = 0
        isAhead = true
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

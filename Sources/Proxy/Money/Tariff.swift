import Measures

/// What part price plays for the scheduler (`cost`).
public enum CostPolicy: String, CaseIterable, Sendable {
    /// None; allowances hold all the same.
    case ignore
    /// A dear uplink carries only what cheaper ones can't carry in time.
    case preferCheap = "prefer-cheap"
    /// The same, and no more of its allowance than the part of the period that has gone by.
    case cap
}

/// What an uplink costs.
public struct Tariff: Hashable, Sendable {
    /// For each GB of 10^9 bytes.
    public struct Price: Hashable, Sendable {
        /// In units of the currency, not negative.
        public var amount: Double
        /// A word, such as EUR.
        public var currency: String
        /// So much of it.
        public init(amount: Double, currency: String) {
            self.amount = amount
            self.currency = currency
        }
    }

    /// So many bytes in each period.
    public struct Allowance: Hashable, Sendable {
        /// Both directions together, headers of IP and UDP included.
        public var bytes: Int
        /// After which they count anew.
        public var period: AllowancePeriod
        /// In each period.
        public init(bytes: Int, period: AllowancePeriod) {
            self.bytes = bytes
            self.period = period
        }
    }

    /// What becomes of an uplink whose allowance is used up.
    public enum OnEmpty: Hashable, Sendable {
        /// It carries what no other one can.
        case backup
        /// It is not used until the next period.
        case stop
        /// It goes on at this rate, both directions together.
        case slow(Rate)
    }

    /// What its bytes cost; nil: nothing.
    public var price: Price?
    /// Nil: no end of it.
    public var allowance: Allowance?
    /// What becomes of the uplink when its allowance is used up.
    public var onEmpty = OnEmpty.backup
    /// Free and without end.
    public init() {}
}

/// The parts of the calendar in which an allowance counts: days of the local time, by number since
/// 1970.
public enum AllowancePeriod: Hashable, Sendable {
    case day
    /// From this day on, 1 Monday to 7 Sunday.
    case week(from: Int)
    /// From this day of the month on, 1 to 31; the last one where a month has fewer.
    case month(from: Int)

    /// The first day of the period in which `day` lies.
    public func start(of day: Int) -> Int {
        switch self {
        case .day: return day
        case .week(let first):
            // 1970 began on a Thursday.
            return day - ((day + 3 - (first - 1)) % 7 + 7) % 7
        case .month(let first):
            let date = CalendarDate(day: day)
            let this = date.start(from: first)
            return this <= day ? this : date.previousMonth.start(from: first)
        }
    }

    /// The first day of the period behind that in which `day` lies.
    public func end(of day: Int) -> Int {
        switch self {
        case .day: day + 1
        case .week: start(of: day) + 7
        case .month(let first):
            CalendarDate(day: start(of: day)).nextMonth.start(from: first)
        }
    }
}

/// A day of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
struct CalendarDate {
    var year: Int
    /// 1 to 12.
    var month: Int
    /// 1 to 31.
    var dayOfMonth: Int

    /// Days since 1970-01-01.
    init(day: Int) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * dayOfYear + 2) / 153
        dayOfMonth = dayOfYear - (153 * part + 2) / 5 + 1
        month = part < 10 ? part + 3 : part - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// The day with this date.
    init(_ year: Int, _ month: Int, _ dayOfMonth: Int) {
        self.year = year
        self.month = month
        self.dayOfMonth = dayOfMonth
    }

    /// Its number.
    var day: Int {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + dayOfMonth - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    var previousMonth: CalendarDate {
        month > 1 ? CalendarDate(year, month - 1, 1) : CalendarDate(year - 1, 12, 1)
    }
    var nextMonth: CalendarDate {
        month < 12 ? CalendarDate(year, month + 1, 1) : CalendarDate(year + 1, 1, 1)
    }

    /// The month's day of this number, or its last one.
    func start(from first: Int) -> Int {
        let begin = CalendarDate(year, month, 1).day
        return min(begin + first - 1, nextMonth.day - 1)
    }
}

/// Bytes by uplink (and by user, at a concentrator), hour, day and month.
///
/// Bytes are those of IP packets, headers included, as a provider counts them.
public struct UsageLedger: Sendable {
    /// Whose traffic, over what.
    public struct Source: Hashable, Comparable, Sendable {
        /// At a concentrator; nil at a proxy.
        public var user: String?
        /// The uplink's name at a proxy; at a concentrator, which knows no name, the path's number.
        public var uplink: String
        /// An uplink of a proxy, or a user's path.
        public init(user: String? = nil, uplink: String) {
            self.user = user
            self.uplink = uplink
        }
        public static func < (a: Source, b: Source) -> Bool {
            (a.user ?? "", a.uplink) < (b.user ?? "", b.uplink)
        }
    }

    /// Bytes in both directions.
    public struct Volume: Hashable, Codable, Sendable {
        /// Up, from this machine.
        public var sent: Int
        /// Down, to this machine.
        public var received: Int
        /// Bytes of both directions.
        public var total: Int { sent &+ received }
        /// Nothing, where it is left out.
        public init(sent: Int = 0, received: Int = 0) {
            self.sent = sent
            self.received = received
        }
        public static func += (a: inout Volume, b: Volume) {
            a.sent &+= b.sent
            a.received &+= b.received
        }
        public static func + (a: Volume, b: Volume) -> Volume {
            Volume(sent: a.sent &+ b.sent, received: a.received &+ b.received)
        }
    }

    /// A part of the calendar that is asked for.
    public enum Span: String, CaseIterable, Sendable { case hour, day, month }

    /// What one source moved in one hour, day or month.
    public struct Row: Equatable, Sendable {
        /// Hours since 1970 UTC, the local day (20260131) or the local month (202601).
        public var period: Int
        /// What moved them.
        public var source: Source
        /// What was moved, in bytes.
        public var volume: Volume
    }

    private struct Place: Hashable {
        var period: Int
        var source: Source
    }

    /// Sources that are told apart; the traffic of further ones is counted as `other`.
    public static let maximumSources = 4_096
    /// Rows of all spans together, of which the oldest hours and days make room.
    static let maximumRows = 131_072
    /// How long hours are kept here, and days and months: enough for any allowance's month. The
    /// store keeps more.
    static let keptHours = 48, keptDays = 62, keptMonths = 25

    private var hours: [Place: Volume] = [:]
    private var days: [Place: Volume] = [:]
    private var months: [Place: Volume] = [:]
    private var totals: [Source: Volume] = [:]
    /// What the store has not yet been given, by hour and source.
    private var unsaved: [UsageHour: [Source: Volume]] = [:]
    private var latest: UsageHour?

    /// Of nothing yet.
    public init() {}

    /// Traffic that was just counted.
    public mutating func add(_ volume: Volume, of source: Source, in hour: UsageHour) {
        guard volume.total != 0 else { return }
        let source = admitted(source)
        count(volume, of: source, in: hour)
        unsaved[hour, default: [:]][source, default: Volume()] += volume
    }

    /// What a store has of an hour.
    public mutating func restore(_ volume: Volume, of source: Source, in hour: UsageHour) {
        count(volume, of: admitted(source), in: hour)
    }

    /// What a store has of a day, beside the hours it keeps of it. Days before `keptFrom` count for
    /// their month; day 0 is what was before all.
    public mutating func restore(
        _ volume: Volume, of source: Source, day: Int, keptFrom: Int
    ) {
        let source = admitted(source)
        if day >= keptFrom {
            days[Place(period: day, source: source), default: Volume()] += volume
        }
        if day > 0 {
            months[Place(period: day / 100, source: source), default: Volume()] += volume
        }
        totals[source, default: Volume()] += volume
    }

    private mutating func count(_ volume: Volume, of source: Source, in hour: UsageHour) {
        defer { if hour != latest { latest = hour; prune(hour) } }
        hours[Place(period: hour.hour, source: source), default: Volume()] += volume
        days[Place(period: hour.day, source: source), default: Volume()] += volume
        months[Place(period: hour.month, source: source), default: Volume()] += volume
        totals[source, default: Volume()] += volume
    }

    private func admitted(_ source: Source) -> Source {
        totals[source] != nil || totals.count < Self.maximumSources
            ? source : Source(user: source.user == nil ? nil : "other", uplink: "other")
    }

    // MARK: Asking

    /// Since counting began: of this process, or of the store where there is one.
    public func total(of source: Source) -> Volume { totals[source] ?? Volume() }

    /// What was counted of everybody since then.
    public var allTotals: [Source: Volume] { totals }

    /// Everything that was counted of anybody, in the order of the names.
    public var sources: [Source] { totals.keys.sorted() }

    /// Of one uplink, of all users, on a local day (20260131); 62 days back at most. What a clock
    /// that was ahead has counted on later days is none of it.
    public func volume(uplink: String, day: Int) -> Volume {
        days.reduce(into: Volume()) { sum, row in
            if row.key.source.uplink == uplink, row.key.period == day { sum += row.value }
        }
    }

    /// Of one uplink, of all users, in a local month (202601).
    public func volume(uplink: String, month: Int) -> Volume {
        months.reduce(into: Volume()) { sum, row in
            if row.key.source.uplink == uplink, row.key.period == month { sum += row.value }
        }
    }

    /// Rows of the latest `count` hours, days or months in which there were any, the oldest first,
    /// then by user and uplink.
    public func rows(_ span: Span, latest count: Int = .max) -> [Row] {
        let table =
            switch span {
            case .hour: hours
            case .day: days
            case .month: months
            }
        let periods = Set(table.keys.map(\.period)).sorted().suffix(max(0, count))
        guard let first = periods.first else { return [] }
        return table.filter { $0.key.period >= first }
            .map { Row(period: $0.key.period, source: $0.key.source, volume: $0.value) }
            .sorted { ($0.period, $0.source) < ($1.period, $1.source) }
    }

    /// What was counted since this was last asked for, for the store.
    public mutating func takeUnsaved() -> [UsageHour: [Source: Volume]] {
        defer { unsaved = [:] }
        return unsaved
    }

    /// Whether there is anything for the store.
    public var hasUnsaved: Bool { !unsaved.isEmpty }

    // MARK: Bounds

    /// Once an hour. A clock that was set forward makes old what is not; the store has it still.
    private mutating func prune(_ now: UsageHour) {
        let firstHour = now.hour - Self.keptHours
        hours = hours.filter { $0.key.period > firstHour }
        keepLatest(Self.keptDays, &days)
        keepLatest(Self.keptMonths, &months)
        while hours.count + days.count + months.count > Self.maximumRows {
            if !hours.isEmpty { hours = [:] } else { keepLatest(periods(days) / 2, &days) }
            if days.isEmpty { months = [:] }
        }
    }

    private func periods(_ table: [Place: Volume]) -> Int { Set(table.keys.map(\.period)).count }

    private func keepLatest(_ count: Int, _ table: inout [Place: Volume]) {
        let periods = Set(table.keys.map(\.period))
        guard periods.count > count else { return }
        let kept = Set(periods.sorted().suffix(count))
        table = table.filter { kept.contains($0.key.period) }
    }
}

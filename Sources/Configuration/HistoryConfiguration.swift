import History
import Measures

/// Keys of `history`.
enum HistoryKey: String, CaseIterable {
    case path, size
    case keepEvents = "keep_events", keepHours = "keep_hours", keepDays = "keep_days"
}

/// What `history` says.
public struct HistoryConfiguration: Equatable, Sendable {
    /// The file; nil: the standard place of the program's kind.
    public var path: String?
    /// Bytes that it may have at most.
    public var size = Defaults.historySize
    /// How long events are kept.
    public var events = Defaults.historyEvents
    /// How long the usage of single hours is kept.
    public var hours = Defaults.historyHours
    /// How long that of single days is.
    public var days = Defaults.historyDays

    /// Nil where something is wrong, which is said.
    init?(_ field: Field, folder: String) {
        guard let table = Table<HistoryKey>(field) else { return nil }
        path = table[.path]?.path(relativeTo: folder)
        if let size = table[.size]?.bytes(in: Defaults.historySizeRange) { self.size = size }
        if let time = table[.keepEvents]?.interval(in: Defaults.historyEventsRange) {
            events = time
        }
        if let time = table[.keepHours]?.interval(in: Defaults.historyHoursRange) { hours = time }
        if let time = table[.keepDays]?.interval(in: Defaults.historyDaysRange) { days = time }
    }

    /// For the store; `standard`: where the file is when nothing else is said.
    public func settings(standard: String) -> HistorySettings {
        func days(_ time: Interval) -> Int { max(1, Int(time.seconds / 86_400)) }
        var settings = HistorySettings(path: path ?? standard)
        settings.maximumBytes = size.bytes
        settings.eventDays = days(events)
        settings.hourDays = days(hours)
        settings.dayDays = days(self.days)
        return settings
    }
}

/// How records of the log are written.
public enum LogFormat: String, CaseIterable, Sendable {
    /// For people.
    case text
    /// One JSON object a line.
    case json
}

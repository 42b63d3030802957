import Measures

/// Pauses after wrong passwords, for each source by itself, growing with their number.
///
/// While a source pauses, nothing it sends on a listener with a password is looked at. What it
/// sends then waits, so that a right password from the same address (one of many behind a NAT)
/// comes through when the pause ends. The same wrong password once more, as from an application
/// whose setting is old, tells nobody anything and counts for nothing.
struct GuessPauses {
    /// After the first wrong password, doubled with each further one: about 240 guesses an hour,
    /// where 5,300 a second went through without it. A typing mistake costs half a second; the
    /// longest is shorter than the time a dialogue may take, so that a right password that had to
    /// wait is heard.
    static let minimumPause = Interval.milliseconds(500), maximumPause = Interval.seconds(15)
    /// Without a wrong password for so long, a source is like new.
    static let memory = Interval.seconds(1800)
    /// Sources remembered; beyond them those that have been quiet the longest are forgotten, so
    /// many at once that one more source costs little though there be millions.
    static let maximumSources = 4096, forgottenAtOnce = 256

    private struct Record {
        var wrong = 0
        var lastHash = 0
        var lastAt = Instant.zero
        var pausedUntil = Instant.zero
    }
    private var records: [Source: Record] = [:]
    var count: Int { records.count }

    /// When what `source` sends may be looked at again; nil: now.
    func pauseEnd(_ source: Source, at now: Instant) -> Instant? {
        guard let record = records[source], record.pausedUntil > now else { return nil }
        return record.pausedUntil
    }

    /// `source` has shown a wrong name or password; `hash` tells one from another.
    mutating func noteWrong(_ source: Source, hash: Int, at now: Instant) {
        if records[source] == nil, records.count >= Self.maximumSources { forgetOldest(at: now) }
        var record = records[source] ?? Record()
        if record.wrong > 0, now - record.lastAt > Self.memory { record = Record() }
        guard record.wrong == 0 || record.lastHash != hash else { return }
        let pause = min(Self.maximumPause, Self.minimumPause * Int64(1 << min(record.wrong, 10)))
        record.wrong = min(record.wrong + 1, 64)
        record.lastHash = hash
        record.lastAt = now
        record.pausedUntil = now + pause
        records[source] = record
    }

    /// Forgets those that are like new, and enough of the quietest.
    private mutating func forgetOldest(at now: Instant) {
        let quietest = records.map { (source: $0.key, lastAt: $0.value.lastAt) }
            .sorted { $0.lastAt < $1.lastAt }
        for (number, one) in quietest.enumerated() {
            guard number < Self.forgottenAtOnce || now - one.lastAt > Self.memory else { break }
            records[one.source] = nil
        }
    }
}

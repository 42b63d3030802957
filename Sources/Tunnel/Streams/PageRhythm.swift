import Measures

/// Pages that are fetched one after the other over a slow path, each read for about as long as the
/// one before: when the next is likely to be asked for, so that a radio can be awake by then.
struct PageRhythm {
    /// What takes so long is slow enough for a second uplink to matter.
    static let slow = Interval.milliseconds(2_000)
    /// The same where a rhythm is known: the second uplink may have helped already.
    static let slowWithBoth = Interval.milliseconds(1_500)
    /// So long before the next page the second uplink opens: a radio takes 2 s to wake.
    static let lead = Interval.milliseconds(2_500)
    /// For so long it is waited for beyond its time: then a radio would sleep again.
    static let patience = Interval.seconds(2)
    /// Two pauses in a row that differ by no more make a rhythm.
    static let tolerance = Interval.seconds(3)
    /// Who reads for longer may have gone.
    static let longestPause = Interval.seconds(60)

    /// When the last page was there.
    private var endedAt: Instant?
    /// Of the last two pages.
    private var shorterPause = Interval.zero, longerPause = Interval.zero
    /// Behind the page before the last; nil where there is none.
    private var lastPause: Interval?
    /// The two pauses are as long as each other.
    private(set) var isKnown = false

    /// A transfer of `length` has ended that was over before it was certain to last.
    mutating func note(_ length: Interval, endedAt end: Instant) {
        guard length >= (isKnown ? Self.slowWithBoth : Self.slow) else { return }
        let pause = endedAt.map { end - length - $0 }.flatMap { $0 <= Self.longestPause ? $0 : nil }
        if let pause, let lastPause {
            shorterPause = min(pause, lastPause)
            longerPause = max(pause, lastPause)
            isKnown = longerPause - shorterPause <= Self.tolerance
        } else {
            isKnown = false
        }
        lastPause = pause
        endedAt = end
    }

    /// Whether the next page is due. One that has not come ends the rhythm.
    mutating func isDue(at now: Instant) -> Bool {
        guard isKnown, let endedAt else { return false }
        guard now <= endedAt + longerPause + Self.patience else {
            self = PageRhythm()
            return false
        }
        return now >= endedAt + shorterPause - Self.lead
    }
}

import Measures

/// When a path's silence is worth a probe: an answer is overdue, or arrivals that came one upon
/// another have ended.
struct SilenceDetector {
    /// When something that must be answered last left.
    private(set) var lastEliciting = Instant.zero
    /// Since when an answer is awaited; `.distantFuture` where none is.
    private(set) var awaitingSince = Instant.distantFuture
    /// When payload last came.
    private(set) var lastData = Instant.zero
    /// Bytes of the latest payload, and of the largest of those that came one upon another.
    private var latest = 0, largest = 0
    private(set) var streak = ArrivalStreak()

    /// Something that must be answered leaves. True where nothing was awaited until now.
    @inline(__always) mutating func sentEliciting(at now: Instant) -> Bool {
        lastEliciting = now
        guard awaitingSince == .distantFuture else { return false }
        awaitingSince = now
        return true
    }

    /// An authentic datagram came. What was sent less than the shortest round trip ago can't have
    /// been answered yet: the clock starts anew for that.
    @inline(__always) mutating func heard(shortestRTT: Interval, at now: Instant) {
        awaitingSince = lastEliciting > now - shortestRTT ? now : .distantFuture
    }

    /// Payload came, `length` bytes of a stream; 0: of a datagram, which does not tell whether more
    /// was to come. The time when silence would be overdue from now on, where it changed.
    @inline(__always) mutating func receivedData(_ length: Int, at now: Instant) -> Instant? {
        if now - lastData > Limits.streakBreak { largest = 0 }
        lastData = now
        if length > 0 {
            latest = length
            largest = max(largest, length)
        }
        return streak.extend(at: now)
    }

    /// The latest payload filled its segment: its sender had more, or happened to end with a full
    /// one.
    func expectsMore(at now: Instant) -> Bool {
        latest >= Limits.fullPayload && latest + Limits.headVariation >= largest
            && now - lastData < Limits.streakBreak
    }

    /// An acknowledgement without data came: of a streak where we are sending. The same.
    @inline(__always) mutating func receivedAcknowledgement(at now: Instant) -> Instant? {
        now - lastEliciting < Limits.streakBreak ? streak.extend(at: now) : nil
    }

    /// The path's health changed: nothing is awaited.
    mutating func restart() {
        awaitingSince = .distantFuture
        streak.end()
    }

    /// When `isOverdue` is next to be asked. `timeout`: how long an answer may take.
    func deadline(timeout: @autoclosure () -> Interval) -> Instant {
        guard awaitingSince < .distantFuture else { return streak.silentAt }
        return min(streak.silentAt, awaitingSince + timeout())
    }

    /// Whether the path has been silent for too long. `timeout`: how long an answer may take.
    mutating func isOverdue(timeout: @autoclosure () -> Interval, at now: Instant) -> Bool {
        let isAwaiting = awaitingSince < .distantFuture
        let isLate = isAwaiting && awaitingSince + timeout() <= now
        guard streak.silentAt <= now else { return isLate }
        streak.end()
        // Acknowledgements end where nothing is left to acknowledge; data that was under way does
        // not.
        return isLate || isAwaiting || now - lastData < Limits.streakBreak
    }
}

/// Arrivals one upon another, whose end tells something sooner than a missing answer.
struct ArrivalStreak {
    /// When the last one came.
    private var last = Instant.zero
    /// When the first of the row came.
    private var beganAt = Instant.zero
    /// How many came in a row, and their average distance.
    private(set) var count = 0
    private var gap = Interval.zero
    /// The longest distance of late; what a stall leaves fades within a hundred arrivals or two.
    private(set) var maximum = Interval.zero
    /// When its silence calls for a probe; `.distantFuture` where it does not.
    private(set) var silentAt = Instant.distantFuture

    /// Another arrival; `silentAt` where it was set.
    @inline(__always) mutating func extend(at now: Instant) -> Instant? {
        let distance = now - last
        last = now
        if distance > Limits.streakBreak {
            count = 0
            beganAt = now
            gap = .zero
            silentAt = .distantFuture
            return nil
        }
        if count == 0 { beganAt = now }
        count += 1
        gap = (gap * 7 + distance) / 8
        maximum = max(distance, maximum - maximum / 64)
        guard count >= Limits.streakLength else { return nil }
        silentAt = now + silence
        return silentAt
    }

    /// What is longer than any pause of late; that of one lost datagram, where they come evenly, is
    /// not.
    private var silence: Interval {
        let usual = max(max(gap * 5 / 2, maximum * 3 / 2), Limits.minimumStreakSilence)
        return min(usual, max(gap * 4, Limits.maximumStreakSilence))
    }

    /// The latest came in a row for so long that a window that is still opening, or a sender that
    /// has yet to find its rate, is not what broke them off.
    var wasSteady: Bool { last - beganAt >= Limits.steadyStreak }

    mutating func end() {
        silentAt = .distantFuture
        count = 0
    }
}

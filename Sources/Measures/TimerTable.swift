/// The timers of one owner, each by its name: an enumeration of `Int`s from 0 on, at most
/// `TimerTable.capacity` of them. A new timer is a new case; `next` and `takeDue` cover it by
/// themselves.
///
///     enum Timer: Int { case retransmission, tailProbe }
///     var timers = TimerTable<Timer>()
///     timers[.retransmission] = now + timeout
///     if timers.takeIfDue(.tailProbe, at: now) { … }
///
/// A timer is set as often as `next` is asked for, so that neither keeps anything for the other.
public struct TimerTable<Name: RawRepresentable> where Name.RawValue == Int {
    @usableFromInline var deadlines = InlineArray<16, Instant>(repeating: .distantFuture)
    /// Names from here on were never set.
    @usableFromInline var end = 0

    /// How many names there may be.
    @inlinable public static var capacity: Int { 16 }

    /// No timer is set.
    @inlinable public init() {}

    /// When a timer is due; `.distantFuture` where it is not set, which is also what clears it.
    @inlinable @inline(__always) public subscript(name: Name) -> Instant {
        get { deadlines[name.rawValue] }
        set { set(name.rawValue, newValue) }
    }

    @inlinable @inline(__always) mutating func set(_ index: Int, _ deadline: Instant) {
        deadlines[index] = deadline
        if index >= end { end = index &+ 1 }
    }

    /// The earliest deadline; `.distantFuture` where no timer is set.
    @inlinable @inline(__always) public var next: Instant {
        var earliest = Instant.distantFuture
        for i in 0..<end { earliest = min(earliest, deadlines[i]) }
        return earliest
    }

    /// The timer is not set any more.
    @inlinable @inline(__always) public mutating func clear(_ name: Name) {
        self[name] = .distantFuture
    }

    /// No timer is set any more.
    @inlinable public mutating func clearAll() { self = TimerTable() }

    /// Whether the timer has a deadline.
    @inlinable @inline(__always) public func isSet(_ name: Name) -> Bool {
        self[name] != .distantFuture
    }

    /// Moves a timer to `deadline` where that is sooner than what it is set to.
    @inlinable @inline(__always) public mutating func bringForward(
        _ name: Name, to deadline: Instant
    ) {
        if deadline < self[name] { self[name] = deadline }
    }

    /// Whether the timer is set and due; then it is cleared.
    @inlinable @inline(__always) public mutating func takeIfDue(
        _ name: Name, at now: Instant
    ) -> Bool {
        guard self[name] <= now, isSet(name) else { return false }
        clear(name)
        return true
    }

    /// The first timer, in the order of their declaration, that is due, stands behind `previous`
    /// and is wanted; it is cleared. Nil where none is. Called with what it gave last until it says
    /// nil, it gives each timer at most once, whatever is set meanwhile; always with nil, one that
    /// is set again at or before `now` is given again.
    @inlinable public mutating func takeDue(
        at now: Instant, after previous: Name? = nil, where isWanted: (Name) -> Bool = { _ in true }
    ) -> Name? {
        var i = previous.map { $0.rawValue &+ 1 } ?? 0
        while i < end {
            if deadlines[i] <= now, deadlines[i] != .distantFuture, let name = Name(rawValue: i),
                isWanted(name)
            {
                deadlines[i] = .distantFuture
                return name
            }
            i &+= 1
        }
        return nil
    }
}

extension TimerTable: Sendable where Name: Sendable {}

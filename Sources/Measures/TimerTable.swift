/// The timers of one owner, each by its name: an enumeration of `Int`s from 0 on, at most
/// `TimerTable.capacity` of them. A new timer is a new case; `next` covers it by itself.
///
///     enum Timer: Int { case retransmission, tailProbe }
///     var timers = TimerTable<Timer>()
///     timers[.retransmission] = now + timeout
///     if timers.takeIfDue(.tailProbe, at: now) { … }
///
/// The earliest deadline is kept, since it is asked for far more often than it changes.
public struct TimerTable<Name: RawRepresentable> where Name.RawValue == Int {
    private var deadlines = InlineArray<16, Instant>(repeating: .distantFuture)
    /// The earliest deadline; `.distantFuture` where no timer is set.
    public private(set) var next = Instant.distantFuture

    /// How many names there may be.
    public static var capacity: Int { 16 }

    /// No timer is set.
    public init() {}

    /// When a timer is due; `.distantFuture` where it is not set, which is also what clears it.
    @inline(__always) public subscript(name: Name) -> Instant {
        get { deadlines[name.rawValue] }
        set { set(name.rawValue, newValue) }
    }

    @inline(__always) private mutating func set(_ index: Int, _ deadline: Instant) {
        let old = deadlines[index]
        deadlines[index] = deadline
        if deadline <= next {
            next = deadline
        } else if old == next {
            findNext()
        }
    }

    private mutating func findNext() {
        var earliest = deadlines[0]
        for i in 1..<Self.capacity { earliest = min(earliest, deadlines[i]) }
        next = earliest
    }

    /// The timer is not set any more.
    @inline(__always) public mutating func clear(_ name: Name) { self[name] = .distantFuture }

    /// No timer is set any more.
    public mutating func clearAll() { self = TimerTable() }

    @inline(__always) public func isSet(_ name: Name) -> Bool { self[name] != .distantFuture }

    /// Moves a timer to `deadline` where that is sooner than what it is set to.
    @inline(__always) public mutating func bringForward(_ name: Name, to deadline: Instant) {
        if deadline < self[name] { self[name] = deadline }
    }

    /// Whether the timer is set and due; then it is cleared.
    @inline(__always) public mutating func takeIfDue(_ name: Name, at now: Instant) -> Bool {
        guard self[name] <= now, isSet(name) else { return false }
        clear(name)
        return true
    }

    /// The first timer, in the order of their declaration, that is due, which is cleared; nil where
    /// none is. Called until it says nil, it gives each due timer once: one that is set again at or
    /// before `now` meanwhile is given again.
    public mutating func takeDue(at now: Instant) -> Name? {
        guard next <= now, next != .distantFuture else { return nil }
        for i in 0..<Self.capacity where deadlines[i] <= now {
            set(i, .distantFuture)
            return Name(rawValue: i)
        }
        return nil
    }
}

extension TimerTable: Sendable where Name: Sendable {}

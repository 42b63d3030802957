import Measures

/// Whether a path that works may be about to be found silent: data broke off in the middle, and the
/// answer to the question why is late, though not overdue.
///
/// A path is not suspect for it. In single mode it is the time to open another one (`Modes`): what
/// follows from silence then waits for no trip there and back.
struct PathDoubt {
    /// When it begins unless something comes before; `.distantFuture` where nothing is awaited.
    private(set) var dueAt = Instant.distantFuture
    private(set) var isPresent = false

    /// Something is to come by then.
    mutating func awaits(by due: Instant) { dueAt = due }

    /// Something came in time, or nothing is awaited any more.
    @inline(__always) mutating func cancel() { dueAt = .distantFuture }

    /// True where it is due, once.
    mutating func takeDue(at now: Instant) -> Bool {
        guard dueAt <= now else { return false }
        dueAt = .distantFuture
        return true
    }

    mutating func begin() { isPresent = true }

    mutating func end() { self = PathDoubt() }
}

/// How many of something several owners may have together: all sessions of a user, say.
public final class SharedLimit {
    /// The most there may be; what is taken already beyond a smaller one stays.
    public var limit: Int
    /// What is taken at present.
    public private(set) var used = 0

    /// `limit`: zero or more.
    public init(_ limit: Int) { self.limit = limit }

    /// Whether one more may be had.
    public var hasRoom: Bool { used < limit }

    /// Takes `n`; false, with nothing taken, where there are not so many left.
    public func take(_ n: Int = 1) -> Bool {
        guard n <= limit - used else { return false }
        used += n
        return true
    }

    /// Notes a change that nobody asked for: what an owner has anyway, or (below zero) gave back.
    public func change(by n: Int) {
        used += n
        assert(used >= 0, "more was given back than taken")
    }
}

/// Bytes that connections may hold in all: their rings, and for each a sum that covers the rest of
/// it.
public final class MemoryBudget {
    /// The most they should hold.
    public var limit: Int
    /// Bytes taken at present.
    public private(set) var used = 0

    /// `limit`: bytes in all.
    public init(limit: Int) { self.limit = limit }

    /// What may still be taken; below zero where more was taken than there should be.
    public var free: Int { limit - used }

    fileprivate func change(by n: Int) { used += n }
}

/// What one user holds of a budget.
///
/// However much it asks for, some is left: it may hold as much as is free besides. So one user gets
/// half of the budget at most, two a third each, and the next one always finds room (Choudhury and
/// Hahne, 1998, with a factor of one).
public final class MemoryShare {
    /// What it is a share of.
    public let budget: MemoryBudget
    /// Bytes taken at present.
    public private(set) var used = 0
    /// Bytes it gets whatever is free.
    public var maximum: Int
    private let isOnlyOne: Bool

    /// `maximum`: bytes it gets whatever is free. `isOnlyOne`: there is nobody to leave anything
    /// to.
    public init(of budget: MemoryBudget, maximum: Int = .max, isOnlyOne: Bool = false) {
        self.budget = budget
        self.maximum = maximum
        self.isOnlyOne = isOnlyOne
    }

    /// What it may still take, in bytes; below zero where it has more than its share by now.
    public var free: Int {
        // What it takes is missing from what is free besides.
        min(maximum - used, isOnlyOne ? budget.free : (budget.free - used) / 2)
    }

    /// Notes that it took (or, below zero, gave back) so many bytes.
    public func change(by n: Int) {
        used += n
        budget.change(by: n)
    }
}

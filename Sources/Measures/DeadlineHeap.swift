/// The deadlines of many owners, the nearest first: a binary heap with lazy postponement.
///
/// An owner is a small non-negative number. Bringing a deadline forward costs O(log n); moving it back
/// is only noted, and put right when the old one comes up, since most timers are postponed far more
/// often than they fire.
public struct DeadlineHeap {
    private var heap: [(at: Instant, owner: Int)] = []
    private var wanted: [Instant] = []   // by owner: the true deadline
    private var queued: [Instant] = []   // by owner: the one standing in the heap, or distantFuture

    public init() {}

    /// Sets the deadline of `owner`; `.distantFuture` disarms it.
    public mutating func set(_ owner: Int, _ at: Instant) {
        while wanted.count <= owner { wanted.append(.distantFuture); queued.append(.distantFuture) }
        wanted[owner] = at
        if at < queued[owner] { queued[owner] = at; push(at, owner) }
    }

    /// The nearest instant at which `popDue` may have something; `.distantFuture` where nothing is armed.
    public var next: Instant { heap.first?.at ?? .distantFuture }

    /// An owner whose deadline is at or before `now`, disarmed; nil where none is due.
    public mutating func popDue(at now: Instant) -> Int? {
        while let top = heap.first, top.at <= now {
            pop()
            let owner = top.owner
            guard queued[owner] == top.at else { continue }   // superseded by an earlier entry
            queued[owner] = .distantFuture
            let at = wanted[owner]
            if at <= now { wanted[owner] = .distantFuture; return owner }
            if at < .distantFuture { queued[owner] = at; push(at, owner) }
        }
        return nil
    }

    private mutating func push(_ at: Instant, _ owner: Int) {
        heap.append((at, owner))
        var i = heap.count - 1
        while i > 0 {
            let parent = (i - 1) / 2
            guard heap[i].at < heap[parent].at else { break }
            heap.swapAt(i, parent)
            i = parent
        }
    }

    private mutating func pop() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var i = 0
        while true {
            var least = i
            let left = 2 * i + 1, right = left + 1
            if left < heap.count, heap[left].at < heap[least].at { least = left }
            if right < heap.count, heap[right].at < heap[least].at { least = right }
            if least == i { return }
            heap.swapAt(i, least)
            i = least
        }
    }
}

/// The deadlines of many owners, the nearest first: a binary heap with lazy postponement.
///
/// An owner is a small non-negative number and stands in the heap at most once, so the heap never
/// grows beyond the owners. Bringing a deadline forward costs O(log n); moving it back is only
/// noted, and put right when the old one comes up, since most timers are postponed far more often
/// than they fire.
public struct DeadlineHeap {
    private var heap: [(at: Instant, owner: Int)] = []
    private var wanted: [Instant] = []  // by owner: the true deadline
    private var place: [Place] = []  // by owner: where it stands in the heap

    /// An index of the heap, or none: four bytes for each owner, where an `Int?` takes sixteen.
    private struct Place {
        static let none = Place(raw: .max)
        private let raw: UInt32
        private init(raw: UInt32) { self.raw = raw }
        init(_ index: Int) { raw = UInt32(truncatingIfNeeded: index) }
        var index: Int? { raw == .max ? nil : Int(raw) }
    }

    /// Nothing is due.
    public init() {}

    /// Address space for `n` owners; memory comes with use.
    public mutating func reserve(_ n: Int) {
        heap.reserveCapacity(n)
        wanted.reserveCapacity(n)
        place.reserveCapacity(n)
    }

    /// Sets the deadline of `owner`; `.distantFuture` disarms it.
    public mutating func set(_ owner: Int, _ at: Instant) {
        while wanted.count <= owner { wanted.append(.distantFuture); place.append(.none) }
        wanted[owner] = at
        if let i = place[owner].index {
            guard at < heap[i].at else { return }
            heap[i].at = at
            rise(i)
        } else if at < .distantFuture {
            heap.append((at, owner))
            place[owner] = Place(heap.count - 1)
            rise(heap.count - 1)
        }
    }

    /// The nearest instant at which `popDue` may have something; `.distantFuture` where nothing is
    /// armed.
    public var next: Instant { heap.first?.at ?? .distantFuture }

    /// An owner whose deadline is at or before `now`, disarmed; nil where none is due.
    public mutating func popDue(at now: Instant) -> Int? {
        while let top = heap.first, top.at <= now {
            let at = wanted[top.owner]
            if at > now, at < .distantFuture {  // postponed since: put right, in place
                heap[0].at = at
                sink(0)
                continue
            }
            removeTop()
            if at <= now {
                wanted[top.owner] = .distantFuture
                return top.owner
            }
        }
        return nil
    }

    private mutating func removeTop() {
        exchange(0, heap.count - 1)
        place[heap.removeLast().owner] = .none
        sink(0)
    }

    private mutating func rise(_ start: Int) {
        var i = start
        while i > 0, heap[i].at < heap[(i - 1) / 2].at {
            exchange(i, (i - 1) / 2)
            i = (i - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var i = start
        while true {
            var earliest = i
            let left = 2 * i + 1, right = left + 1
            if left < heap.count, heap[left].at < heap[earliest].at { earliest = left }
            if right < heap.count, heap[right].at < heap[earliest].at { earliest = right }
            if earliest == i { return }
            exchange(i, earliest)
            i = earliest
        }
    }

    private mutating func exchange(_ i: Int, _ j: Int) {
        guard i != j else { return }
        heap.swapAt(i, j)
        place[heap[i].owner] = Place(i)
        place[heap[j].owner] = Place(j)
    }

    /// Entries held: armed owners, and disarmed ones whose old deadline has not come up yet.
    package var entries: Int { heap.count }
}

/// What was sent more than once, in the order of its latest transmission: numbers of spans, an
/// entry for each time one went again. A span's record knows its latest; the others say nothing any
/// more, and are dropped when the memory is full.
struct RetransmissionLog {
    private static let smallest = 16

    private var numbers: UnsafeMutablePointer<UInt32>?
    private var capacity = 0
    /// Entries are 0 up to here.
    private(set) var end: UInt32 = 0
    /// Of no entry before it is the span in flight.
    var cursor: UInt32 = 0

    var isFull: Bool { Int(end) == capacity }

    @inline(__always) func number(_ entry: UInt32) -> UInt32 {
        numbers.unsafelyUnwrapped[Int(entry)]
    }

    /// Only where it is not full; the new entry.
    mutating func append(_ number: UInt32) -> UInt32 {
        (numbers.unsafelyUnwrapped + Int(end)).initialize(to: number)
        end &+= 1
        return end &- 1
    }

    /// An entry stays, under a number no higher than its own.
    @inline(__always) mutating func keep(_ number: UInt32, as entry: UInt32) {
        numbers.unsafelyUnwrapped[Int(entry)] = number
    }

    /// All that is to stay has been kept: it takes three quarters of the memory at most.
    mutating func keptAll(_ kept: UInt32, cursor: UInt32) {
        end = kept
        self.cursor = cursor
        guard Int(kept) * 4 >= capacity * 3 else { return }
        let larger = max(Self.smallest, capacity * 2)
        let fresh = UnsafeMutablePointer<UInt32>.allocate(capacity: larger)
        if let numbers { fresh.initialize(from: numbers, count: Int(end)) }
        free()
        numbers = fresh
        capacity = larger
    }

    mutating func removeAll() {
        end = 0
        cursor = 0
    }
    mutating func deallocate() {
        free()
        numbers = nil
        capacity = 0
        removeAll()
    }
    func free() { numbers?.deallocate() }
}

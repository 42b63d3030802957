import Measures
import Multipath

/// Subflow numbers of one session: number to (connection slot, subflow index), in pages made on
/// demand.
///
/// Two loads instead of a hash; 1 kB for each 256 numbers that were ever in use together.
final class NumberTable {
    struct Entry { var slot: StreamSlot; var subflow: SubflowIndex }
    enum Lookup { case free, resting, used(Entry) }

    static let first = 1024
    private static let resting = UInt32.max - 1
    private static let free = UInt32.max
    private static let pageSize = 256

    private let pages: UnsafeMutablePointer<UnsafeMutablePointer<UInt32>?>
    private var cursor: Int
    /// Numbers that rest, the first to wake first.
    private var restingNumbers = FIFO<(number: UInt16, until: Instant)>()
    private(set) var used = 0

    init(cursor: UInt64) {
        pages = .allocate(capacity: 256)
        pages.initialize(repeating: nil, count: 256)
        self.cursor = Self.first + Int(cursor % UInt64(65_536 - Self.first))
    }
    deinit {
        for i in 0..<256 { pages[i]?.deallocate() }
        pages.deallocate()
    }

    @inline(__always) func lookup(_ number: UInt16) -> Lookup {
        guard let page = pages[Int(number) >> 8] else { return .free }
        let value = page[Int(number) & 255]
        if value == Self.free { return .free }
        if value == Self.resting { return .resting }
        return .used(
            Entry(slot: StreamSlot(Int(value >> 8)), subflow: SubflowIndex(Int(value & 255))))
    }

    /// A number that neither is in use nor rests; nil where there is none.
    func allocate(at now: Instant) -> UInt16? {
        wake(at: now)
        // Else each asker would look through all of them.
        guard used + restingNumbers.count < 65_536 - Self.first else { return nil }
        for _ in 0..<(65_536 - Self.first) {
            let number = UInt16(cursor)
            cursor = cursor == 65_535 ? Self.first : cursor + 1
            if case .free = lookup(number) { return number }
        }
        return nil
    }

    func set(_ number: UInt16, slot: StreamSlot, subflow: SubflowIndex) {
        precondition(slot.index < 1 << 24 - 1 && subflow.value < 256)
        if case .used = lookup(number) {} else { used += 1 }
        store(number, UInt32(slot.index) << 8 | UInt32(subflow.value))
    }

    /// The number is no longer used; it rests until `until`.
    func release(_ number: UInt16, until: Instant) {
        guard case .used = lookup(number) else { return }
        used -= 1
        store(number, Self.resting)
        restingNumbers.append((number, until))
    }

    /// A number that `allocate` gave is not to be used for a subflow, and rests until `until`.
    func rest(_ number: UInt16, until: Instant) {
        guard case .free = lookup(number) else { return }
        store(number, Self.resting)
        restingNumbers.append((number, until))
    }

    /// Frees the numbers that have rested.
    func wake(at now: Instant) {
        var left = Limits.numbersPerWake
        while left > 0, let first = restingNumbers.first, first.until <= now {
            left -= 1
            restingNumbers.popFirst()
            if case .resting = lookup(first.number) { store(first.number, Self.free) }
        }
    }

    private func store(_ number: UInt16, _ value: UInt32) {
        let at = Int(number) >> 8
        if pages[at] == nil {
            let page = UnsafeMutablePointer<UInt32>.allocate(capacity: Self.pageSize)
            page.initialize(repeating: Self.free, count: Self.pageSize)
            pages[at] = page
        }
        pages[at]![Int(number) & 255] = value
    }
}

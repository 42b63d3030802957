/// A queue in one array, the oldest first. Its memory is kept; what was taken is moved away only
/// when it is half of it, or when the queue is empty.
public struct FIFO<Element> {
    @usableFromInline var items: [Element] = []
    @usableFromInline var head = 0

    /// An empty one.
    @inlinable public init() {}

    /// Nothing is in it.
    @inlinable public var isEmpty: Bool { head == items.count }
    /// Those that are in it.
    @inlinable public var count: Int { items.count - head }
    /// The oldest element; nil where there is none.
    @inlinable public var first: Element? { isEmpty ? nil : items[head] }
    /// All of them, the oldest first.
    @inlinable public var all: ArraySlice<Element> { items[head...] }

    /// Makes space for `n` at once.
    @inlinable public mutating func reserveCapacity(_ n: Int) { items.reserveCapacity(n) }
    /// Adds the newest.
    @inlinable public mutating func append(_ item: Element) { items.append(item) }

    /// Takes out the oldest.
    @inlinable @discardableResult public mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let item = items[head]
        head += 1
        if isEmpty {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 64, head * 2 > items.count {
            items.removeFirst(head)
            head = 0
        }
        return item
    }

    /// Takes out all that `isGone` names; the others keep their order.
    @inlinable public mutating func removeAll(where isGone: (Element) -> Bool) {
        items.removeFirst(head)
        head = 0
        items.removeAll(where: isGone)
    }
}

extension FIFO: Sendable where Element: Sendable {}

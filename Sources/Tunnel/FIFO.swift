/// A queue in one array, the oldest first. Its memory is kept; what was taken is moved away only
/// when it is half of it, or when the queue is empty.
struct FIFO<Element> {
    private var items: [Element] = []
    private var head = 0

    var isEmpty: Bool { head == items.count }
    var count: Int { items.count - head }
    var first: Element? { isEmpty ? nil : items[head] }

    mutating func reserveCapacity(_ n: Int) { items.reserveCapacity(n) }
    mutating func append(_ item: Element) { items.append(item) }

    @discardableResult mutating func popFirst() -> Element? {
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

    mutating func removeAll(where isGone: (Element) -> Bool) {
        items.removeFirst(head)
        head = 0
        items.removeAll(where: isGone)
    }
}

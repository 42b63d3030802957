/// A queue, the oldest first. Its memory is kept while it is short; a long one is a list of pieces,
/// so that no single operation moves more than `piece` elements, however many there are.
public struct FIFO<Element> {
    /// Elements of an array.
    @usableFromInline static var piece: Int { 256 }
    /// The oldest ones, from `head` on.
    @usableFromInline var items: [Element] = []
    @usableFromInline var head = 0
    /// What came behind them, from `nextPiece` on; all but the last one are full.
    @usableFromInline var pieces: [[Element]] = []
    @usableFromInline var nextPiece = 0
    /// Empty: the memory of the piece that was taken last, for the next one.
    @usableFromInline var spare: [Element] = []

    /// An empty one.
    @inlinable public init() {}

    /// Nothing is in it.
    @inlinable public var isEmpty: Bool { head == items.count }
    /// Those that are in it.
    @inlinable public var count: Int {
        let behind = pieces.count - nextPiece
        let last = behind > 0 ? (behind - 1) * Self.piece + pieces[pieces.count - 1].count : 0
        return items.count - head + last
    }
    /// The oldest element; nil where there is none.
    @inlinable public var first: Element? { isEmpty ? nil : items[head] }
    /// All of them, the oldest first.
    @inlinable public var all: FlattenSequence<[ArraySlice<Element>]> {
        ([items[head...]] + pieces[nextPiece...].map { $0[...] }).joined()
    }

    /// Makes space for `n` at once.
    @inlinable public mutating func reserveCapacity(_ n: Int) {
        items.reserveCapacity(min(n, Self.piece))
    }

    /// Adds the newest.
    @inlinable public mutating func append(_ item: Element) {
        if nextPiece == pieces.count {
            if items.count < Self.piece { return items.append(item) }
        } else if pieces[pieces.count - 1].count < Self.piece {
            return pieces[pieces.count - 1].append(item)
        }
        pieces.append([])
        swap(&spare, &pieces[pieces.count - 1])
        pieces[pieces.count - 1].reserveCapacity(Self.piece)
        pieces[pieces.count - 1].append(item)
    }

    /// Takes out the oldest.
    @inlinable @discardableResult public mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let item = items[head]
        head += 1
        if isEmpty {
            goOn()
        } else if head >= 64, head * 2 > items.count {
            items.removeFirst(head)
            head = 0
        }
        return item
    }

    /// The array of the oldest is empty: on to the next one.
    @inlinable mutating func goOn() {
        head = 0
        items.removeAll(keepingCapacity: true)
        guard nextPiece < pieces.count else { return }
        swap(&spare, &items)
        items = []
        swap(&items, &pieces[nextPiece])
        nextPiece += 1
        if nextPiece == pieces.count {
            pieces.removeAll(keepingCapacity: true)
            nextPiece = 0
        } else if nextPiece >= 64, nextPiece * 2 > pieces.count {
            pieces.removeFirst(nextPiece)
            nextPiece = 0
        }
    }

    /// Takes out all that `isGone` names; the others keep their order.
    @inlinable public mutating func removeAll(where isGone: (Element) -> Bool) {
        guard nextPiece < pieces.count else {
            items.removeFirst(head)
            head = 0
            return items.removeAll(where: isGone)
        }
        var left = FIFO()
        for item in items[head...] where !isGone(item) { left.append(item) }
        for piece in pieces[nextPiece...] {
            for item in piece where !isGone(item) { left.append(item) }
        }
        self = left
    }
}

extension FIFO: Sendable where Element: Sendable {}

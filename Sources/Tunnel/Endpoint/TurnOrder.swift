/// Whose turn it is: small numbers in a queue, each in it at most once. Nothing is allocated but
/// the first time that a number is seen.
struct TurnOrder {
    private enum Place { case out, last, before(Int) }
    /// By number.
    private var places: [Place] = []
    private(set) var first: Int?
    private var last: Int?

    var isEmpty: Bool { first == nil }

    /// To the end of the queue, where it is not in it already.
    mutating func append(_ number: Int) {
        while places.count <= number { places.append(.out) }
        guard case .out = places[number] else { return }
        places[number] = .last
        if let last { places[last] = .before(number) } else { first = number }
        last = number
    }

    mutating func removeFirst() {
        guard let number = first else { return }
        if case .before(let next) = places[number] {
            first = next
        } else {
            first = nil
            last = nil
        }
        places[number] = .out
    }

    /// The first one goes to the end.
    mutating func rotate() {
        guard let number = first, case .before(let next) = places[number], let last else { return }
        first = next
        places[last] = .before(number)
        places[number] = .last
        self.last = number
    }
}

import Measures
import Wire

/// The numbers of the flows that this side opened, and those it has closed until the other side
/// knows.
///
/// A number never means two things: it is given again only when the other side has confirmed that
/// it knows no such flow, and has rested since.
struct FlowNumbers {
    private struct Closing {
        var number: UInt16
        var again = Repeater()
    }
    private enum State {
        case open
        /// By its index among `closing`.
        case closing(Int)
        case resting
    }

    private let first: UInt16
    private var cursor: UInt16 = 0
    /// Numbers that are not free. Looked up, never iterated.
    private var states: [UInt16: State] = [:]
    private var closing: [Closing] = []
    private var freeClosings: [Int] = []
    /// When each of `closing` is to be said (again).
    private var repeats = DeadlineHeap()
    /// No more could be said: not before.
    private var blockedUntil = Instant.zero
    /// Numbers that rest, the first to wake first.
    private var resting = FIFO<(number: UInt16, until: Instant)>()
    /// When a closing is to be said (again).
    var deadline: Instant { max(repeats.next, blockedUntil) }
    /// Closed here, and the other side may not know.
    private(set) var unconfirmed = 0

    init(isInitiator: Bool) { first = isInitiator ? 0 : DatagramFrame.listenerFlow }

    /// Nil where none is free, or the other side has too many closings to confirm yet.
    mutating func allocate(at now: Instant) -> UInt16? {
        wake(at: now)
        guard unconfirmed < DatagramLimits.flows else { return nil }
        for _ in 0..<64 {
            let number = first | cursor
            cursor = (cursor + 1) & 0x7fff
            if states[number] == nil {
                states[number] = .open
                return number
            }
        }
        return nil
    }

    /// Whether it is one that this side gives.
    func isOurs(_ number: UInt16) -> Bool { number & DatagramFrame.listenerFlow == first }

    func isClosing(_ number: UInt16) -> Bool {
        if case .closing = states[number] { true } else { false }
    }

    /// The flow has ended here: said at once and until it is confirmed.
    mutating func close(_ number: UInt16, at now: Instant) {
        guard case .open = states[number] else { return }
        let entry = Closing(number: number)
        let index: Int
        if let free = freeClosings.popLast() {
            index = free
            closing[index] = entry
        } else {
            index = closing.count
            closing.append(entry)
        }
        states[number] = .closing(index)
        unconfirmed += 1
        repeats.set(index, now)
    }

    /// The other side knows no such flow.
    mutating func confirm(_ number: UInt16, at now: Instant) {
        guard case .closing(let index) = states[number] else { return }
        states[number] = .resting
        unconfirmed -= 1
        repeats.set(index, .distantFuture)
        freeClosings.append(index)
        resting.append((number, now + DatagramLimits.numberRest))
    }

    /// Says what is to be said; `wait`: for the first answer. At most `maximum` of them.
    mutating func announceClosings(
        maximum: Int, wait: Interval, at now: Instant, _ announce: (UInt16) -> Void
    ) {
        var said = 0
        while said < maximum, let index = repeats.popDue(at: now) {
            announce(closing[index].number)
            said += 1
            closing[index].again.sent(at: now, first: wait, maximum: Limits.maximumSignalInterval)
            repeats.set(index, closing[index].again.at)
        }
        blockedUntil = repeats.next <= now ? now + .milliseconds(10) : .zero
    }

    private mutating func wake(at now: Instant) {
        while let first = resting.first, first.until <= now {
            resting.popFirst()
            states[first.number] = nil
        }
    }
}

/// The numbers of the other side's flows that it has closed lately.
///
/// A datagram that stood in a queue meanwhile may still come, with all that opens a flow: it must
/// not be taken for one of a new flow, in which nothing has come yet. The other side gives a number
/// again only when it has rested for as long, and later, so that none of these is ever in use.
struct ClosedNumbers {
    private var numbers: Set<UInt16> = []
    private var order = FIFO<(number: UInt16, until: Instant)>()

    mutating func add(_ number: UInt16, at now: Instant) {
        forget(at: now)
        guard numbers.insert(number).inserted else { return }
        if order.count >= DatagramLimits.flows { forgetFirst() }
        order.append((number, now + DatagramLimits.numberRest))
    }

    mutating func contains(_ number: UInt16, at now: Instant) -> Bool {
        forget(at: now)
        return numbers.contains(number)
    }

    private mutating func forget(at now: Instant) {
        while let first = order.first, first.until <= now { forgetFirst() }
    }

    private mutating func forgetFirst() {
        guard let first = order.popFirst() else { return }
        numbers.remove(first.number)
    }
}

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

    /// Some of those that have rested: never many at once.
    private mutating func wake(at now: Instant) {
        var left = Limits.numbersPerWake
        while left > 0, let first = resting.first, first.until <= now {
            left -= 1
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
    /// A bit for each number, by stretches of time, the latest at `latest`; none for one in which
    /// nothing was closed. So noting and forgetting a number costs the same however many there are.
    private var stretches: [[UInt64]] = []
    private var latest = 0
    private var since = Instant.zero

    private static let count = 10
    private static let stretch = DatagramLimits.numberRest / Int64(count)
    private static let words = Int(DatagramFrame.listenerFlow) / 64

    private func place(_ number: UInt16) -> (word: Int, bit: UInt64) {
        let n = Int(number & (DatagramFrame.listenerFlow - 1))
        return (n / 64, 1 << UInt64(n % 64))
    }

    mutating func add(_ number: UInt16, at now: Instant) {
        if contains(number, at: now) { return }
        if stretches.isEmpty {
            stretches = Array(repeating: [], count: Self.count)
            since = now
        }
        if stretches[latest].isEmpty {
            stretches[latest] = Array(repeating: 0, count: Self.words)
        }
        let place = place(number)
        stretches[latest][place.word] |= place.bit
    }

    mutating func contains(_ number: UInt16, at now: Instant) -> Bool {
        if stretches.isEmpty { return false }
        forget(at: now)
        let place = place(number)
        return stretches.contains { !$0.isEmpty && $0[place.word] & place.bit != 0 }
    }

    private mutating func forget(at now: Instant) {
        for _ in 0..<Self.count where now - since >= Self.stretch {
            latest = (latest + 1) % Self.count
            stretches[latest] = []
            since = since + Self.stretch
        }
        // Nothing was said for longer than that.
        if now - since >= Self.stretch { since = now }
    }
}

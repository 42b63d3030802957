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
        var again: Instant
        var wait: Interval
    }
    private enum State { case open, closing, resting }

    private let first: UInt16
    private var cursor: UInt16 = 0
    /// Numbers that are not free. Looked up, never iterated.
    private var states: [UInt16: State] = [:]
    private var closing: [Closing] = []
    private var resting: [(number: UInt16, until: Instant)] = []
    private var restingHead = 0
    /// When a closing is to be said (again).
    private(set) var deadline = Instant.distantFuture
    /// Closed here, and the other side may not know.
    private(set) var unconfirmed = 0

    init(isInitiator: Bool) { first = isInitiator ? 0 : DatagramFrame.listenerFlow }

    /// Nil where none is free.
    mutating func allocate(at now: Instant) -> UInt16? {
        wake(at: now)
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

    func isClosing(_ number: UInt16) -> Bool { states[number] == .closing }

    /// The flow has ended here: said at once and until it is confirmed.
    mutating func close(_ number: UInt16, at now: Instant) {
        guard states[number] == .open else { return }
        states[number] = .closing
        unconfirmed += 1
        closing.append(Closing(number: number, again: now, wait: .zero))
        deadline = min(deadline, now)
    }

    /// The other side knows no such flow.
    mutating func confirm(_ number: UInt16, at now: Instant) {
        guard states[number] == .closing else { return }
        states[number] = .resting
        unconfirmed -= 1
        resting.append((number, now + DatagramLimits.numberRest))
    }

    /// Says what is to be said; `wait`: for the first answer. At most `most` of them.
    mutating func sayClosings(
        most: Int, wait: Interval, at now: Instant, _ say: (UInt16) -> Void
    ) {
        var said = 0
        deadline = .distantFuture
        closing.removeAll { states[$0.number] != .closing }
        for i in closing.indices {
            if closing[i].again <= now {
                guard said < most else {
                    deadline = min(deadline, now + .milliseconds(10))
                    continue
                }
                say(closing[i].number)
                said += 1
                closing[i].wait =
                    closing[i].wait == .zero
                    ? wait : min(closing[i].wait * 2, Limits.maximumSignalInterval)
                closing[i].again = now + closing[i].wait
            }
            deadline = min(deadline, closing[i].again)
        }
    }

    private mutating func wake(at now: Instant) {
        while restingHead < resting.count, resting[restingHead].until <= now {
            states[resting[restingHead].number] = nil
            restingHead += 1
        }
        if restingHead > 256, restingHead * 2 > resting.count {
            resting.removeFirst(restingHead)
            restingHead = 0
        }
    }
}

import Measures
import Wire

/// The resets of aborted connections, kept after the connections themselves are gone.
///
/// A reset is not acknowledged (RFC 9293 section 3.10.7), and a peer that has nothing to say would
/// wait for ever where it is lost. So its frame is repeated until the peer says that it has no such
/// subflow (any more), and is the answer to whatever still comes for the subflow.
struct UnconfirmedResets {
    private struct Reset {
        let number: UInt16
        let frame: [UInt8]
        let until: Instant
        var again = Repeater()
    }
    private var slots: [Reset?] = []
    private var free: [Int] = []
    /// Where there is no more room, they give way by turns.
    private var turn = 0
    private var slotOfNumber: [UInt16: Int] = [:]
    private var deadlines = DeadlineHeap()
    /// No repetition before this: the datagrams were full, or no path worked.
    private var heldUntil = Instant.zero
    private(set) var count = 0

    /// When `nextDue` may have something.
    var deadline: Instant { count == 0 ? .distantFuture : max(deadlines.next, heldUntil) }

    /// A reset was sent, to be repeated after `timeout`.
    mutating func remember(
        _ frame: UnsafeRawBufferPointer, number: UInt16, timeout: Interval, at now: Instant
    ) {
        confirm(number)
        if free.isEmpty, slots.count == Limits.unconfirmedResets {
            turn = (turn + 1) % slots.count
            if let old = slots[turn] { confirm(old.number) }
        }
        let slot = free.popLast() ?? slots.count
        if slot == slots.count { slots.append(nil) }
        var reset = Reset(number: number, frame: Array(frame), until: now + Limits.resetMemory)
        reset.again.sent(at: now, first: timeout, maximum: Limits.resetMemory)
        slots[slot] = reset
        slotOfNumber[number] = slot
        deadlines.set(slot, reset.again.at)
        count += 1
    }

    /// The peer has no subflow of that number (any more).
    mutating func confirm(_ number: UInt16) {
        guard let slot = slotOfNumber.removeValue(forKey: number) else { return }
        slots[slot] = nil
        free.append(slot)
        deadlines.set(slot, .distantFuture)
        count -= 1
        // What the heap still has of it would stand before the next one's deadline.
        if count == 0 { deadlines = DeadlineHeap() }
    }

    func frame(of number: UInt16) -> [UInt8]? { slotOfNumber[number].flatMap { slots[$0]?.frame } }

    /// A reset to be repeated now: its slot and frame. Either `sent` or `hold` follows.
    mutating func nextDue(at now: Instant) -> (slot: Int, frame: [UInt8])? {
        guard now >= heldUntil else { return nil }
        while let slot = deadlines.popDue(at: now) {
            guard let reset = slots[slot] else { continue }
            if reset.until > now { return (slot, reset.frame) }
            confirm(reset.number)
        }
        return nil
    }

    mutating func sent(_ slot: Int, timeout: Interval, at now: Instant) {
        slots[slot]?.again.sent(at: now, first: timeout, maximum: Limits.resetMemory)
        if let again = slots[slot]?.again { deadlines.set(slot, again.at) }
    }

    /// It could not be said: it stays due, and nothing is repeated for `pause`.
    mutating func hold(_ slot: Int, for pause: Interval, at now: Instant) {
        deadlines.set(slot, now)
        heldUntil = now + pause
    }
}

extension Session {
    /// How long a reset's answer may take: the round trip of the best path.
    private func resetTimeout() -> Interval {
        var shortest = Limits.initialTimeout
        for case let path? in paths
        where path.isOpen && path.health == .usable && path.roundTrip.isKnown {
            shortest = min(shortest, path.probeTimeout)
        }
        return max(shortest, Limits.minimumSignalInterval)
    }

    /// A reset by which a connection ends on our side leaves, or should have left.
    func remember(
        reset frame: UnsafeRawBufferPointer, number: UInt16, timeout: Interval? = nil,
        at now: Instant
    ) {
        let timeout = timeout ?? resetTimeout()
        directory.resets.remember(frame, number: number, timeout: timeout, at: now)
        // The first in the heap may be one that was confirmed, and long past.
        bringForward(.resets, to: now + timeout)
    }

    func repeatResets(at now: Instant) {
        let timeout = resetTimeout()
        while let (slot, frame) = directory.resets.nextDue(at: now) {
            var isSaid = false, works = false
            for case let path? in paths where path.isOpen && path.health == .usable {
                works = true
                // No more than the peer reads of a datagram.
                guard
                    let out = append(frame.count, to: path, work: ArrivalWork.sentAbort)
                else { continue }
                frame.withUnsafeBytes { out.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
                isSaid = true
            }
            if isSaid {
                directory.resets.sent(slot, timeout: timeout, at: now)
            } else {
                directory.resets.hold(
                    slot, for: works ? Limits.resetPause : Limits.suspectProbe, at: now)
            }
        }
        set(.resets, to: directory.resets.deadline)
    }

    /// An aborted connection goes whose reset no subflow was left to carry (its paths failed at the
    /// time): the frame is made here, under a number of its own, and the peer finds the connection
    /// by the key in it.
    func remember(unsaidAbortOf stream: StreamHandle, at now: Instant) {
        guard !stream.progress.saidReset, stream.connection.error == .localAbort,
            let key = stream.connection.remoteKey,
            isInitiator, let number = numbers.allocate(at: now)
        else { return }
        numbers.rest(number, until: now + Limits.numberRest)
        var reset = Segment()
        reset.sourcePort = number
        reset.destinationPort = SealedSegment.listenerPort
        reset.flags = [.rst, .ack]
        reset.options.fastClose.receiverKey = key
        reset.options.present = .fastClose
        var context = SealedContext(number: number, isInitiator: true)
        let length = SealedSegment.write(
            reset, payloadLength: 0, runsToEnd: false, context: &context,
            into: host.headScratch)
        let frame = UnsafeRawBufferPointer(start: host.headScratch, count: length)
        remember(reset: frame, number: number, timeout: .microseconds(50), at: now)
    }
}

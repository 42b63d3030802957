import Measures
import Wire

extension Subflow {
    /// What may be in flight: the controller's window, or PRR's while recovery is fast.
    var sendWindow: Int {
        recovery.phase == .fast && !controller.governsRecovery ? recovery.window : controller.window
    }

    /// Whether the state lets new data go: our SYN went, no FIN was asked for.
    public var canSendData: Bool {
        guard pending.fin == .none, !pending.opens, !pending.hasReset else { return false }
        switch state {
        case .established, .closeWait: return true
        case .synReceived, .synSent: return configuration.earlyData
        default: return false
        }
    }

    /// Bytes of new data that may go now by congestion window, pacing and, in `.subflow` scope, the
    /// peer's window; whole segments unless the peer's window ends sooner. Zero while losses are to
    /// be repaired first.
    public func dataRoom(at now: Instant) -> Int {
        guard canSendData, board.lostCount == 0, !board.isFull, board.inFlight < sendWindow else {
            return 0
        }
        return room(pacing: pacer.room(at: now))
    }

    /// For an open congestion window. Rounded up to whole segments: a rest smaller than one would
    /// otherwise wait or cut one.
    private func room(pacing: Int) -> Int {
        let free = min(sendWindow &- board.inFlight, pacing)
        let whole = (free &+ sendSegmentSize &- 1) / sendSegmentSize &* sendSegmentSize
        return configuration.windowScope == .connection ? whole : min(whole, roomAtPeer)
    }

    /// In `.subflow` scope: what the peer's window still takes, with the sender's silly window
    /// avoidance (RFC 9293 section 3.8.6.2.1).
    private var roomAtPeer: Int {
        guard synAcknowledged || isPassive else { return sendWindow }
        let room = offered.bytes &- sendUnacknowledged.distance(to: sendNext)
        if room <= 0 { return 0 }
        return room >= min(sendSegmentSize, max(1, offered.largest / 2)) || board.isEmpty
            ? room : 0
    }

    /// The owner has nothing to send: until the next `receive`, `advance`,
    /// `requestAcknowledgement`, `close` or `offerData` no data is asked for.
    public func declineData(at now: Instant) {
        declined = true
        waitsForPacing = false
        // Held back by the pacer alone is not held back by the application.
        if board.lostCount == 0, board.inFlight < sendWindow, pacer.room(at: now) > 0 {
            sampler.limitByApplication(inFlight: board.inFlight)
        }
    }

    /// The owner has data again.
    public func offerData() { declined = false }

    var finishIsDue: Bool {
        pending.fin == .requested && (state == .established || state == .closeWait)
    }

    /// Something `nextAction` would return now whatever the time is.
    var hasPendingAction: Bool {
        if pending.hasReset { return true }
        if state == .closed { return false }
        if pending.syn != .none || repeatRest != nil || acknowledgements.isDue || pending.probe
            || tail.isDue
            || finishIsDue
        {
            return true
        }
        return board.lostCount > 0 && !waitsForPacing && board.inFlight < sendWindow
    }

    /// What is to be sent now, the most urgent first. `awaited`: the stream's first byte that the
    /// peer lacks, for which everything behind it waits, whichever subflow has brought it; nil
    /// where subflows are repaired in their own order alone.
    public func nextAction(at now: Instant, awaiting awaited: UInt64? = nil) -> Action {
        if now >= timerDeadline { runTimers(at: now) }
        if pending.hasReset { return .reset }
        if state == .closed { return .nothing }
        if pending.opens {
            return .open(
                room: configuration.earlyData ? min(controller.window, sendSegmentSize) : 0)
        }
        waitsForPacing = false
        if let rest = repeatRest {
            if !rest.sequence.isBefore(sendUnacknowledged) { return .retransmit(rest) }
            repeatRest = nil  // the original has arrived
        }
        if pending.syn == .again, !board.isEmpty,
            board.record(board.first).pointee.flags.contains(.syn)
        {
            return repeatSpan(board.first)
        }
        pending.doneWithSYN()
        if board.lostCount > 0, board.inFlight < sendWindow {
            if pacer.room(at: now) > 0 {
                if let lost = lost(carrying: awaited) ?? board.nextLost() {
                    return repeatSpan(lost)
                }
            } else {
                waitsForPacing = true
            }
        } else if let action = dataAction(at: now) {
            return action
        }
        if tail.isDue, let last = lastInFlight { return repeatSpan(last) }
        tail.isDue = false
        if finishIsDue { return .finish }
        if acknowledgements.isDue { return .acknowledge }
        if pending.probe { return .probe }
        return .nothing
    }

    private func dataAction(at now: Instant) -> Action? {
        guard !declined, canSendData, board.lostCount == 0 else { return nil }
        guard !board.isFull, board.inFlight < sendWindow else {
            windowUse.limits()
            // RFC 8985 section 7.3: the probe is new data where there is some, one segment beyond
            // the window.
            let room = min(
                sendSegmentSize, configuration.windowScope == .connection ? .max : roomAtPeer)
            return tail.isDue && room > 0 && !board.isFull ? .data(room: room) : nil
        }
        if configuration.windowScope == .subflow, roomAtPeer <= 0 {
            armPersistTimer(at: now)
            return nil
        }
        let paced = pacer.room(at: now)
        guard paced > 0 else { waitsForPacing = true; return nil }
        return .data(room: room(pacing: paced))
    }

    /// RFC 9293 section 3.8.6.1: in `.subflow` scope a closed window is probed.
    private func armPersistTimer(at now: Instant) {
        guard configuration.windowScope == .subflow,
            board.isEmpty,
            !timers.isSet(.persist),
            !pending.probe
        else { return }
        timers[.persist] =
            now
            + persistBackoff.wait(
                max(timeout.value, configuration.minimumRTO), maximum: configuration.maximumRTO)
    }

    /// What the whole stream waits for goes first at every second time-out in a row. The first span
    /// may lie so far ahead in the stream that the peer can't keep it before it has this one:
    /// beyond its window, since the first flight leaves before that is known, or where memory has
    /// become short. It would be repeated for ever.
    private func lost(carrying awaited: UInt64?) -> UInt32? {
        guard let awaited, timeout.backoffs > 0, timeout.backoffs % 2 == 0 else { return nil }
        return board.lost(carrying: awaited)
    }

    private func repeatSpan(_ number: UInt32) -> Action {
        repeating = number
        return .retransmit(board.span(number))
    }

    /// The span with the highest sequence number that is in flight.
    private var lastInFlight: UInt32? {
        var i = board.count &- 1
        while i >= 0 {
            let n = board.number(at: i)
            if board.isInFlight(n) { return n }
            i &-= 1
        }
        return nil
    }

    /// The pacing rate from window and round trip: 2.0 in slow start, 1.2 later, as Linux does.
    func updatePacing() {
        guard configuration.paced, rtt.isKnown else { return }
        if controller.pacingRate > .zero {
            return pacer.setRate(
                Double(controller.pacingRate.bytesPerSecond) / 1e9,
                segmentSize: sendSegmentSize)
        }
        let gain = controller.isInSlowStart ? 2.0 : 1.2
        pacer.setRate(
            gain * Double(controller.window) / Double(rtt.smoothed.nanoseconds),
            segmentSize: sendSegmentSize)
    }

    /// After each transmission of new data.
    func recordWindowUse() {
        windowUse.sent(
            inFlight: board.inFlight,
            isLimited: board.inFlight &+ sendSegmentSize > sendWindow,
            unacknowledged: sendUnacknowledged, next: sendNext)
    }

    /// Whether the window may grow.
    var mayGrow: Bool {
        windowUse.mayGrow(window: controller.window, inSlowStart: controller.isInSlowStart)
    }
}

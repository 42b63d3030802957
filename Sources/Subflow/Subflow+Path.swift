import Measures

/// What the owner tells a subflow of the path below it.
extension Subflow {
    /// Whether a segment of `size` payload bytes or more, sent once at `since` or later, is known
    /// to have arrived; false too where a shorter one that left later has.
    public func hasDelivered(_ size: Int, since: Instant) -> Bool {
        loss.latestSent >= since && loss.latestLength >= size
    }

    /// The path takes segments of at most `size` payload bytes from now on. With `repeatsAll` what
    /// is unacknowledged was too long for it and goes again at once; the owner cuts what is still
    /// longer.
    public func limitSegments(to size: Int, repeatsAll: Bool, at now: Instant) {
        sizeBounds.limit = size
        adoptSegmentSize()
        if repeatsAll, state != .closed { repeatUnacknowledged(at: now) }
    }

    /// The subflow goes on over another path: what may have been lost with the old one is said
    /// again at once (SYN, SYN/ACK or an ACK); data follows by its own timers.
    public func pathChanged(at now: Instant) {
        roundTripsFrom = now
        switch state {
        case .synSent, .synReceived: pending.repeatSYN()
        case .closed: break
        default: acknowledgements.request()
        }
    }

    /// An acknowledgement came by another path: what was sent until now tells nothing of this one.
    public func heardElsewhere(at now: Instant) { roundTripsFrom = max(roundTripsFrom, now) }

    /// The path answers nothing: what is sent until it returns will be acknowledged after the
    /// outage, if at all, and tells nothing of round trip and rate.
    public func pathFellSilent() { roundTripsFrom = .distantFuture }

    /// The path answers again after a silence: what timed out meanwhile goes again at once, instead
    /// of when a time-out comes up that has doubled with the length of the outage.
    public func pathReturned(at now: Instant) {
        roundTripsFrom = now
        guard timeout.backoffs > 0 else { return }
        if state == .closed || board.isEmpty {
            timeout.forgetBackoffs()
        } else {
            repeatUnacknowledged(at: now)
        }
    }

    /// The peer is reached at another address from now on: what is unacknowledged went to the old
    /// one, where nobody is, and goes again at once. `isElsewhere`: by another network, of which
    /// nothing is known yet (RFC 9000 section 9.4); where only a port changed, round trip and rate
    /// stay.
    public func addressMoved(isElsewhere: Bool, at now: Instant) {
        guard state != .closed else { return }
        roundTripsFrom = now
        if isElsewhere {
            rtt.forget(at: now)
            timeout.forget()
            controller.restart()
        }
        repeatUnacknowledged(at: now)
        acknowledgements.request()
    }

    /// All that is unacknowledged goes again now, and the time-outs begin anew.
    private func repeatUnacknowledged(at now: Instant) {
        timeout.forgetBackoffs()
        if state == .synSent || state == .synReceived { pending.repeatSYN() }
        if !board.isEmpty {
            if synAcknowledged {
                recovery.enterTimeout(point: sendNext)
                _ = board.markAllLost()
            }
            timers[.retransmission] = now + timeout.value
        }
        pacer.restart(at: now)
        updatePacing()
    }
}

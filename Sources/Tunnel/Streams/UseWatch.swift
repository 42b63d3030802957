import Measures
import Multipath

/// What of a proxy's session is used, watched for `ModeByUse`: where the mode is fixed nothing is.
struct UseWatch {
    private(set) var isOn: Bool
    /// Counts looks, so that a stream is listed once in each.
    fileprivate var look: UInt32 = 1
    /// Slots of streams with payload since the last look.
    fileprivate var active: [StreamSlot] = []
    /// Bytes of datagrams since the last look.
    fileprivate var datagramBytes = 0
    /// So long whoever had an uplink go, fall silent or come is taken to be on the move.
    private(set) var movingUntil = Instant(nanoseconds: .min / 2)

    init(isOn: Bool) { self.isOn = isOn }

    /// Looks at what moves from now on.
    fileprivate mutating func begin() { isOn = true }
    /// An uplink that was in use went, or one came.
    mutating func noteMove(at now: Instant) {
        movingUntil = max(movingUntil, now + ModeByUse.movingMemory)
    }
    /// One that was in use fell silent.
    mutating func noteSilence(at now: Instant) {
        movingUntil = max(movingUntil, now + ModeByUse.silenceMemory)
    }
    fileprivate mutating func stop() { self = UseWatch(isOn: false) }
}

/// What of a stream was seen at the last look.
struct StreamUse {
    fileprivate var look: UInt32 = 0
    fileprivate var sent = 0
    fileprivate var received = 0
}

extension Endpoint {
    /// Proxy: from now on the mode of connections without one of their own follows from what they
    /// do (`ModeByUse`), until `setMode`. `hint`: what is known of the person.
    public func followUse(hint: ModeByUse.Hint = .unknown, at now: Instant) {
        let isNew = host.modeByUse == nil
        var machine = host.modeByUse ?? ModeByUse()
        machine.hint = hint
        host.modeByUse = machine
        guard let session = currentSession, !session.isClosing else {
            if isNew { mode = machine.mode }
            return
        }
        if isNew {
            session.adopt(machine, at: now)
            follow(machine, of: session)
        }
        session.watchUse(at: now)
    }

    /// The session has adopted what the machine says; what begins from now on does.
    func follow(_ machine: ModeByUse, of session: Session) {
        host.modeByUse = machine
        guard mode != machine.mode else { return }
        mode = machine.mode
        host.emit(
            .modeChanged(session: session.slot, mode: machine.mode, demand: machine.demand))
    }

    /// Why the mode is what it is; nil where it is fixed.
    public var modeByUse: ModeByUse? { host.modeByUse }
}

extension Session {
    /// The machine begins, or the session does: what was waited for in the last one may have ended
    /// with it.
    func watchUse(at now: Instant) {
        use.begin()
        set(.use, to: now + ModeByUse.interval)
    }

    func stopWatchingUse() {
        use.stop()
        clear(.use)
    }

    fileprivate func adopt(_ machine: ModeByUse, at now: Instant) {
        if modes.session != machine.mode { setMode(machine.mode, at: now) }
    }

    /// Payload of the stream came or went.
    func noteUse(of stream: StreamHandle, at now: Instant) {
        if stream.use.look != use.look {
            stream.use.look = use.look
            if let slot = stream.slot { use.active.append(slot) }
        }
        awaitLook(at: now)
    }

    /// A datagram of an application came or went.
    func noteUse(datagram bytes: Int, at now: Instant) {
        use.datagramBytes += bytes
        awaitLook(at: now)
    }

    private func awaitLook(at now: Instant) {
        if !timers.isSet(.use) { set(.use, to: now + ModeByUse.interval) }
    }

    /// The interval is over: what moved in it may ask for another mode. The machine, which the
    /// endpoint is to follow.
    func lookAtUse(at now: Instant) -> ModeByUse? {
        guard use.isOn, !isClosing, var machine = host.modeByUse else { return nil }
        _ = machine.observe(observation(at: now), at: now)
        if machine.isWatching { set(.use, to: now + ModeByUse.interval) }
        adopt(machine, at: now)
        return machine
    }

    private func observation(at now: Instant) -> ModeByUse.Observation {
        var seen = ModeByUse.Observation()
        for slot in use.active {
            // The mode of one that has its own is nobody's choice here.
            guard let stream = host.streams[slot], stream.session === self, stream.ownMode == nil
            else { continue }
            let counted = stream.connection.statistics
            let sent = counted.bytesSent - stream.use.sent
            let received = counted.bytesReceived - stream.use.received
            stream.use.sent = counted.bytesSent
            stream.use.received = counted.bytesReceived
            if sent + received >= ModeByUse.minimumTransfer {
                seen.transferBytes += sent + received
            } else if sent > 0, received > 0 {
                seen.exchanges += 1
            }
        }
        if use.datagramBytes > 0 {
            seen.steadyFlows = datagrams.steadyFlows(at: now)
            if seen.steadyFlows == 0, use.datagramBytes >= ModeByUse.minimumTransfer {
                seen.transferBytes += use.datagramBytes
            }
        }
        seen.isMoving = now < use.movingUntil
        use.datagramBytes = 0
        use.active.removeAll(keepingCapacity: true)
        use.look &+= 1
        return seen
    }
}

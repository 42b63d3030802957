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
    /// When an uplink last went, or fell silent.
    fileprivate(set) var troubleAt = Instant(nanoseconds: .min / 2)
    /// When the next look is due; `.distantFuture` while nothing moves.
    fileprivate(set) var dueAt = Instant.distantFuture

    /// Of a session that begins: what was waited for in the last one may have ended with it.
    init(_ machine: ModeByUse?, at now: Instant) {
        isOn = machine != nil
        if machine?.isWatching == true { dueAt = now + ModeByUse.interval }
    }

    /// Looks at what moves from now on.
    fileprivate mutating func begin(at now: Instant) {
        isOn = true
        dueAt = now + ModeByUse.interval
    }
    /// An uplink that was in use went or fell silent.
    mutating func noteTrouble(at now: Instant) { troubleAt = now }
    fileprivate mutating func stop() { self = UseWatch(nil, at: .zero) }
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
        clock = now
        let isNew = host.modeByUse == nil
        var machine = host.modeByUse ?? ModeByUse()
        machine.hint = hint
        host.modeByUse = machine
        guard let session = currentSession, !session.isClosing else {
            if isNew { mode = machine.mode }
            return
        }
        if isNew { session.adopt(machine, at: now) }
        session.use.begin(at: now)
        session.schedule(at: now)
    }

    /// Why the mode is what it is; nil where it is fixed.
    public var modeByUse: ModeByUse? { host.modeByUse }
}

extension Session {
    func stopWatchingUse() { use.stop() }

    /// A session begins, or the machine does.
    fileprivate func adopt(_ machine: ModeByUse, at now: Instant) {
        guard host.mode != machine.mode else { return }
        host.mode = machine.mode
        setMode(machine.mode, at: now)
        host.emit(.modeChanged(session: slot, mode: machine.mode, demand: machine.demand))
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
        guard use.dueAt == .distantFuture else { return }
        use.dueAt = now + ModeByUse.interval
        arm(use.dueAt)
    }

    /// The interval is over: what moved in it may ask for another mode.
    func lookAtUse(at now: Instant) {
        use.dueAt = .distantFuture
        guard use.isOn, !isClosing, var machine = host.modeByUse else { return }
        _ = machine.observe(observation(at: now), at: now)
        host.modeByUse = machine
        if machine.isWatching { use.dueAt = now + ModeByUse.interval }
        adopt(machine, at: now)
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
        seen.isMoving = now - use.troubleAt < ModeByUse.movingMemory
        use.datagramBytes = 0
        use.active.removeAll(keepingCapacity: true)
        use.look &+= 1
        return seen
    }
}

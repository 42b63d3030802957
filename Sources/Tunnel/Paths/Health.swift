import Buffers
import Measures
import Multipath
import Wire

/// What the session does about its paths' health: it tells each path's `HealthMonitor` what happens
/// and how things stand around it, and does what that says.
extension Session {
    // MARK: What the traffic tells

    /// An authentic datagram: the path lives in our direction.
    @inline(__always) func noteArrival(_ path: Path, at now: Instant) {
        activity.lastArrival = now
        handshakes.resumptions = 0
        if path.monitor.arrived(at: now) { sendProbe(path, because: .routine, at: now) }
        if path.monitor.doubt.isPresent { doubtEnds(path, at: now) }
    }

    /// Payload of `length` bytes came.
    @inline(__always) func noteData(
        _ length: Int, _ path: Path, _ stream: StreamHandle, at now: Instant
    ) {
        noteActivity(stream, at: now)
        if let due = path.monitor.receivedData(length, at: now) { bringForward(.paths, to: due) }
    }

    /// An acknowledgement without data, while we send.
    @inline(__always) func noteAcknowledgement(_ path: Path, at now: Instant) {
        if let due = path.monitor.receivedAcknowledgement(at: now) { bringForward(.paths, to: due) }
    }

    /// Payload came or went. The first after a pause starts the probes that keep round trips known.
    @inline(__always) func noteActivity(_ stream: StreamHandle, at now: Instant) {
        if activity.moves(at: now) { timersChanged() }
        activity.stream = stream.slot
        if use.isOn { noteUse(of: stream, at: now) }
    }

    /// Something that must be answered leaves.
    @inline(__always) func noteEliciting(_ path: Path, at now: Instant) {
        if path.monitor.sentEliciting(at: now) {
            bringForward(.paths, to: now + silenceTimeout(path))
        }
    }

    /// How long an answer may take before a probe asks: the round trip, what it varies, the peer's
    /// delayed ACK.
    private func silenceTimeout(_ path: Path) -> Interval {
        roundTripBound(path) + Limits.peerAckDelay
    }

    /// The probe time-out, or that of the latest stream's subflow on the path, which knows the
    /// queue it stands in.
    func roundTripBound(_ path: Path) -> Interval {
        var bound = path.probeTimeout
        guard let slot = activity.stream, let stream = host.streams[slot],
            stream.session === self
        else { return bound }
        for i in 0..<stream.links.count
        where stream.links[i].isUsed && stream.links[i].path == path.id {
            guard let tcp = stream.connection.subflow(SubflowIndex(i)), tcp.hasRTTSample else {
                continue
            }
            bound = max(bound, tcp.smoothedRTT + max(tcp.rttVariation * 4, Limits.minimumVariation))
        }
        return bound
    }

    // MARK: Probes

    func sendProbe(_ path: Path, because reason: PathProber.Reason, at now: Instant) {
        // An address that may get only so much yet gets data, not questions.
        let isLong = path.validation.isValidated && path.mtu.asksBase(at: now)
        // The proxy is to know that full datagrams don't reach it, or it would wait for data on
        // this path.
        let isNarrow = !isInitiator && path.health == .suspect && !path.mtu.isBaseConfirmed
        let frame = path.monitor.nextProbe(isLong: isLong, isNarrow: isNarrow, at: now)
        if isLong {
            path.waiting.longProbe = frame
            path.mtu.askedBase(at: now)
        } else if let out = append(ProbeFrame.size, to: path) {
            frame.write(into: out)
        } else {
            bringForward(.paths, to: path.monitor.probePostponed(at: now))
            return
        }
        let bound = path.health == .usable ? roundTripBound(path) : .zero
        bringForward(.paths, to: path.monitor.probeSent(because: reason, bound: bound, at: now))
        requestFlush()
    }

    /// Whether all of them, or the peer, are silent.
    func probeUsablePaths(at now: Instant) {
        for case let path? in paths where path.isOpen && path.health == .usable {
            sendProbe(path, because: .routine, at: now)
        }
    }

    func receive(
        _ frame: ProbeFrame, _ path: Path, _ arrival: borrowing Arrival, at now: Instant
    ) {
        let isFull = arrival.length >= Limits.minimumBaseDatagram
        guard frame.isAnswer else {
            // Answered where it came from; a peer that asks more than a datagram holds asks again.
            var answer = frame
            answer.isAnswer = true
            if !isInitiator, frame.isLong, isFull {
                path.waiting.longAnswer = answer
                requestFlush()
            } else if let out = append(ProbeFrame.size, to: path) {
                answer.write(into: out)
            }
            let calls = path.monitor.asked(
                frame.purpose, isInitiator: isInitiator, isBaseConfirmed: path.mtu.isBaseConfirmed,
                at: now)
            if calls.withdrawsBase, path.mtu.withdrawBase() { sizeChanged(.shrank, path, at: now) }
            if calls.asksBack { sendProbe(path, because: .routine, at: now) }
            return
        }
        if frame.isSize { return sizeAnswered(frame, path, at: now) }
        if frame.isLong, path.isOpen, !isInitiator || isFull { basePassed(path, at: now) }
        answered(now - Instant(nanoseconds: frame.sentAt), path, at: now)
    }

    /// A probe's answer came, `sample` after it was asked for; nil where that can't be told.
    func answered(_ sample: Interval?, _ path: Path, at now: Instant) {
        let believed = path.monitor.believes(sample, at: now)
        let sizes = HealthMonitor.Sizes(
            isBaseConfirmed: path.mtu.isBaseConfirmed,
            mayAsk: path.mtu.asksBase(at: now) && path.waiting.longProbe == nil)
        let means = path.monitor.answered(sample, sizes, at: now)
        if means == .none { return }
        if believed != nil, let sample {
            host.roundTrips.add(sample, uplink: path.uplinkName)
        }
        if let sample {
            // A path that delays by turns may delay the full ones, and not the short one.
            let variation = path.roundTrip.variation * 4
            path.mtu.shortAnswered(
                sentAt: now - sample, at: now,
                margin: max(path.roundTrip.smoothed / 4, variation))
        }
        bringForward(.paths, to: path.mtu.deadline)
        switch means {
        case .none: break
        case .lives(let asksAgain): if asksAgain { sendProbe(path, because: .routine, at: now) }
        case .works:
            if isInitiator { host.proxy.answered(path.uplink) }
            enter(.usable, path, at: now)
            if let due = warmAt(path, at: now) { bringForward(.paths, to: due) }
        }
    }

    // MARK: Time

    /// When the path next wants attention, `.distantFuture` where never.
    func pathDeadline(_ path: Path, at now: Instant) -> Instant {
        guard path.isOpen else { return .distantFuture }
        return min(
            path.mtu.deadline,
            path.monitor.deadline(timeout: silenceTimeout(path), warmAt: warmAt(path, at: now)))
    }

    /// When the path is to be probed though nothing is wrong.
    private func warmAt(_ path: Path, at now: Instant) -> Instant? {
        let rests = path.role.isResting && !path.role.isWarm
        let isUsed =
            !rests && (modes.effective != .single || !isInitiator || carriesSubflows(path))
        // A radio is not woken for a path that nobody needs now. What its NAT forgets meanwhile is
        // made anew by what we first send there, and the concentrator follows.
        let isKept =
            isInitiator && (isUsed || !streams.isEmpty && !(rests && hasWorkingPath))
        return path.monitor.warmAt(
            isBusy: isUsed && isActive(at: now), keptSince: isKept ? .zero : nil)
    }

    /// A path works that does not rest.
    private var hasWorkingPath: Bool {
        for case let path? in paths where path.health == .usable && !path.role.isResting {
            return true
        }
        return false
    }

    private func carriesSubflows(_ path: Path) -> Bool {
        if streams.isEmpty { return true }
        guard let stream = host.streams[streams[0]] else { return true }
        return stream.connection.hasSubflow(path: path.id)
    }

    func advance(_ path: Path, to now: Instant) {
        guard path.isOpen else { return }
        advanceSize(path, to: now)
        let isAsking = path.monitor.probe.isOutstanding
        let due = path.monitor.advance(
            to: now, timeout: isAsking ? .zero : silenceTimeout(path),
            warmAt: isAsking ? nil : warmAt(path, at: now))
        switch due {
        case .nothing: break
        case .probe(let reason):
            sendProbe(path, because: reason, at: now)
            guard reason.isSilence else { break }
            reviewRecentDatagrams()
            checkForBlackHole(path, at: now)
        case .doubt: doubtBegins(path, at: now)
        case .answerOverdue: answerOverdue(path, at: now)
        }
    }

    private func answerOverdue(_ path: Path, at now: Instant) {
        if path.monitor.expireTrial() { trialFailed(path, at: now) }
        let circumstances = HealthMonitor.Circumstances(
            mayBecomeSuspect: host.configuration.signaling == .reliable,
            isBaseConfirmed: path.mtu.isBaseConfirmed,
            isWanted: isActive(at: now) || !hasUsablePath && !streams.isEmpty,
            isFutile: isFutile(path))
        if path.monitor.answerOverdue(circumstances, at: now) == .silent {
            fallSilent(path, at: now)
            if isInitiator {
                path.monitor.report()
                signalState(of: path, at: now)
            }
            wakeNext(at: now)
        }
        sendProbe(path, because: .routine, at: now)
    }

    /// A path that was used before its first answer, and none came: its connections learn it,
    /// another one wakes.
    private func trialFailed(_ path: Path, at now: Instant) {
        changes.forJoins &+= 1
        healthChanged(.suspect, path, at: now)
        wakeNext(at: now)
    }

    // MARK: Consequences

    /// The path goes to another state; nothing follows where its health is the same.
    func enter(_ state: PathState, _ path: Path, at now: Instant) {
        if let change = path.monitor.enter(state, at: now) { follow(change, path, at: now) }
    }

    /// A path that worked does not any more.
    func fallSilent(_ path: Path, at now: Instant) {
        use.noteSilence(at: now)
        if let change = path.monitor.fallSilent(at: now) { follow(change, path, at: now) }
    }

    private func follow(_ change: HealthMonitor.Change, _ path: Path, at now: Instant) {
        if change.endsReport { signalState(of: path, at: now) }
        changes.forJoins &+= 1
        reviewRecentDatagrams()
        if change.health != .usable { askFutile(besides: path, at: now) }
        if change.isNews {
            host.emit(
                .pathChanged(
                    session: slot, path: path.id, uplink: path.uplinkName, remote: path.remote,
                    health: change.health))
        }
        healthChanged(change.health, path, wasUsable: change.wasUsable, at: now)
        if isInitiator { watchSpare(at: now) }
        timersChanged()
    }
}

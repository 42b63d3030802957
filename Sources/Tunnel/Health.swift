import Buffers
import Measures
import Multipath
import Wire

/// A path's health: when silence is worth a probe, when an unanswered probe makes the path suspect,
/// and how a suspect path is found again.
///
/// Awaited answers that don't come within a probe time-out bring a probe; unanswered past another
/// one they bring suspicion, and unacknowledged data is reinjected elsewhere at once (design: path
/// health).
extension Session {
    // MARK: What the traffic tells

    /// An authentic datagram: the path lives in our direction.
    @inline(__always) func noteArrival(_ path: Path, at now: Instant) {
        activity.lastArrival = now
        handshakes.resumptions = 0
        path.traffic.lastArrival = now
        path.silence.heard(shortestRTT: path.roundTrip.minimum, at: now)
        if path.health == .suspect, !path.probe.isOutstanding {
            sendProbe(path, at: now)
        }
    }

    /// Payload came: a streak whose end tells something (the sender of a download is far away).
    @inline(__always) func noteData(_ path: Path, _ stream: StreamHandle, at now: Instant) {
        noteActivity(stream, at: now)
        if let due = path.silence.receivedData(at: now) { arm(due) }
    }

    /// An acknowledgement without data, while we send: the other half of such a streak.
    @inline(__always) func noteAcknowledgement(_ path: Path, at now: Instant) {
        if let due = path.silence.receivedAcknowledgement(at: now) { arm(due) }
    }

    /// Payload came or went. The first after a pause starts the probes that keep round trips known.
    @inline(__always) func noteActivity(_ stream: StreamHandle, at now: Instant) {
        let wasActive = now - activity.last < Limits.activity
        activity.last = now
        activity.stream = stream.slot
        if use.isOn { noteUse(of: stream, at: now) }
        if !wasActive { schedule(at: now) }
    }

    /// Something that must be answered leaves.
    @inline(__always) func noteEliciting(_ path: Path, at now: Instant) {
        if path.silence.sentEliciting(at: now) { arm(now + silenceTimeout(path)) }
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

    /// How long the answer to a probe may take that silence has called for already: two witnesses
    /// need a shorter time-out than one.
    private func shortBound(_ path: Path) -> Interval {
        let bound = roundTripBound(path)
        guard path.roundTrip.isKnown else { return bound }
        let minimum = min(
            max(path.roundTrip.minimum / 4, Limits.minimumProbeVariation), Limits.minimumVariation)
        return min(bound, path.roundTrip.bound(multiple: 2, minimumVariation: minimum))
    }

    // MARK: Probes

    func sendProbe(_ path: Path, at now: Instant) {
        let count = path.probe.next()
        // An address that may get only so much yet gets data, not questions.
        let isLong = path.validation.isValidated && path.mtu.asksBase(at: now)
        // The proxy is to know that full datagrams don't reach it, or it would wait for data on
        // this path.
        let isNarrow = !isInitiator && path.health == .suspect && !path.mtu.isProven
        let purpose: ProbeFrame.Purpose = isLong ? .long : isNarrow ? .narrow : .life
        let frame = ProbeFrame(
            isAnswer: false,
            identifier: ProbeFrame.identifier(count: count, purpose),
            sentAt: now.nanoseconds)
        if isLong {
            path.waiting.longQuestion = frame
            path.mtu.askedBase(at: now)
        } else if let out = append(ProbeFrame.size, to: path) {
            frame.write(into: out)
        } else {
            arm(path.probe.postponed(at: now))
            return
        }
        let timeout =
            path.health == .usable
            ? path.probe.reason == .silence ? shortBound(path) : roundTripBound(path)
            : path.probe.wait
        arm(path.probe.sent(timeout: timeout, at: now))
        requestFlush()
    }

    func receive(_ frame: ProbeFrame, _ arrival: borrowing Arrival, at now: Instant) {
        let path = arrival.path
        guard frame.isAnswer else {
            // Answered where it came from; a peer that asks more than a datagram holds asks again.
            var answer = frame
            answer.isAnswer = true
            if !isInitiator, frame.isLong, arrival.length >= Limits.minimumBaseDatagram {
                path.waiting.longAnswer = answer
                requestFlush()
            } else if let out = append(ProbeFrame.size, to: path) {
                answer.write(into: out)
            }
            if isInitiator, frame.purpose == .narrow, path.isOpen, path.mtu.withdrawBase() {
                sizeChanged(.shrank, path, at: now)
            }
            // Who asks on a path we took for dead is alive: ask back at once.
            if path.isOpen, path.health == .suspect, now - path.probe.sentAt >= Limits.suspectProbe
            {
                sendProbe(path, at: now)
            }
            return
        }
        if frame.isSize { return sizeAnswered(frame, path, at: now) }
        if frame.isLong, path.isOpen, !isInitiator || arrival.length >= Limits.minimumBaseDatagram {
            basePassed(path, at: now)
        }
        answered(now - Instant(nanoseconds: frame.sentAt), path, at: now)
    }

    /// A probe's answer came, `sample` after it was asked for; zero where that can't be told.
    func answered(_ sample: Interval, _ path: Path, at now: Instant) {
        guard sample >= .zero, sample < .seconds(60), path.isOpen else { return }
        // An answer that ends a silence measures that (a link that stalled hands over what waited
        // in it): believed for its whole length, the next silence would be awaited for minutes as
        // long. A round trip that has really become so long shows again, and counts for twice as
        // much each time.
        let isUsable = path.health == .usable
        let maximum = isUsable ? sample : max(Limits.maximumStallSample, path.probeTimeout * 2)
        // What was asked during the silence, and is answered behind the answer that ended it,
        // measures nothing.
        let isOld = isUsable && path.lifecycle.since > .zero && now - sample < path.lifecycle.since
        if sample > .zero, !isOld || !path.roundTrip.isKnown {
            path.roundTrip.add(min(sample, maximum), at: now)
            host.roundTrips.add(sample, uplink: path.uplinkName)
        }
        path.probe.answered(at: now)
        path.lifecycle.answered()
        path.mtu.shortAnswered(at: now, roundTrip: path.roundTrip.smoothed)
        arm(path.mtu.deadline)
        // An answer to a probe that was under way is not what a later, full one waits for.
        let isEarlier =
            path.probe.isOutstanding && sample > .zero && now - sample < path.probe.sentAt
        guard path.mtu.isProven || path.health == .usable && !isEarlier else {
            // It lives, but full datagrams have yet to show that they pass.
            if path.mtu.asksBase(at: now), path.waiting.longQuestion == nil,
                now - path.probe.sentAt >= Limits.minimumVariation
            {
                sendProbe(path, at: now)
            }
            return
        }
        path.probe.succeeded()
        if isInitiator,
            let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == path.uplink })
        {
            host.proxy.uplinks[i].proved()
        }
        enter(.usable, path, at: now)
        if let due = keepWarmAt(path, at: now) { arm(due) }
    }

    // MARK: Time

    /// When the path next wants attention, `.distantFuture` where never.
    func pathDeadline(_ path: Path, at now: Instant) -> Instant {
        guard path.isOpen else { return .distantFuture }
        if path.probe.isOutstanding { return min(path.probe.deadline, path.mtu.deadline) }
        var due = min(
            path.mtu.deadline, path.silence.deadline(timeout: silenceTimeout(path)))
        if let warm = keepWarmAt(path, at: now) { due = min(due, warm) }
        return due
    }

    /// When the path is to be probed though nothing is wrong: its round trip should be known while
    /// something is being transferred, and NATs should not forget it.
    private func keepWarmAt(_ path: Path, at now: Instant) -> Instant? {
        let last = max(path.probe.lastAnswer, path.probe.sentAt)
        let isUsed =
            (!path.role.isResting || path.role.isWarm)
            && (modes.effective != .single || !isInitiator || carriesSubflows(path))
        if isUsed, isActive(at: now) { return last + Limits.warmProbe }
        guard isInitiator, !streams.isEmpty || isUsed else { return nil }
        return max(last, path.traffic.lastArrival) + Limits.keepalive
    }

    private func carriesSubflows(_ path: Path) -> Bool {
        if streams.isEmpty { return true }
        guard let stream = host.streams[streams[0]] else { return true }
        return stream.connection.hasSubflow(path: path.id)
    }

    func advance(_ path: Path, to now: Instant) {
        guard path.isOpen else { return }
        advanceSize(path, to: now)
        if path.probe.isOutstanding {
            if path.probe.deadline <= now { probeTimedOut(path, at: now) }
            return
        }
        if path.silence.isOverdue(timeout: silenceTimeout(path), at: now) {
            path.probe.reason = .silence
            sendProbe(path, at: now)
            reviewRecentDatagrams()
            checkForBlackHole(path, at: now)
        } else if let due = keepWarmAt(path, at: now), due <= now {
            path.probe.reason = .routine
            sendProbe(path, at: now)
        }
    }

    private func probeTimedOut(_ path: Path, at now: Instant) {
        if path.health != .usable, path.lifecycle.trustEnds() { foundDead(path, at: now) }
        if path.probe.timedOut(circumstances(of: path, at: now)) == .silent {
            fallSilent(path, at: now)
            if isInitiator {
                path.lifecycle.report()
                raise(path, at: now)
            }
            wakeNext(at: now)
        }
        sendProbe(path, at: now)
    }

    /// What a missing answer on the path is judged by.
    private func circumstances(of path: Path, at now: Instant) -> PathProber.Circumstances {
        let isWanted = isActive(at: now) || !hasUsablePath && !streams.isEmpty
        let isFresh = now - path.lifecycle.since < Limits.freshSuspicion
        let isFutile = isFutile(path)
        let usualWait = isFresh ? Limits.freshSuspectProbe : Limits.maximumSuspectProbe
        return PathProber.Circumstances(
            isUsable: path.health == .usable,
            mayBecomeSuspect: host.configuration.signaling == .reliable,
            lastArrival: path.traffic.lastArrival,
            neededWhileHearing: path.mtu.isProven
                ? Limits.unansweredWhileHearing : PathMTU.maximumTries,
            maximumWait: isFutile
                ? Limits.maximumFutileProbe : isWanted ? usualWait : Limits.maximumIdleProbe,
            waitsDouble: isFutile)
    }

    /// A path that was used before its first answer, and none came: its connections learn it,
    /// another one wakes.
    private func foundDead(_ path: Path, at now: Instant) {
        changes.forJoins &+= 1
        healthChanged(.suspect, path, at: now)
        wakeNext(at: now)
    }

    // MARK: Consequences

    /// The path goes to another state; nothing follows where its health is the same.
    func enter(_ state: PathState, _ path: Path, at now: Instant) {
        let wasUsable = path.health == .usable
        guard let change = path.lifecycle.enter(state, at: now) else { return }
        if change.endsReport { raise(path, at: now) }
        path.silence.restart()
        changes.forJoins &+= 1
        reviewRecentDatagrams()
        if change.health != .usable { askFutile(besides: path, at: now) }
        // A path that was just opened is not yet known to work; that is no news to anybody.
        let isNew = change.isOpening || path.traffic.lastArrival == .zero
        if change.health != .suspect || !isNew {
            host.emit(
                .pathChanged(
                    session: slot, path: path.id, uplink: path.uplinkName,
                    remote: path.remote,
                    health: change.health))
        }
        healthChanged(change.health, path, wasUsable: wasUsable, at: now)
        if isInitiator { watchSpare(at: now) }
        schedule(at: now)
    }

    /// A path that worked does not any more.
    func fallSilent(_ path: Path, at now: Instant) {
        use.noteTrouble(at: now)
        enter(.suspect(hasAnswered: true, isReported: false), path, at: now)
    }

    /// A connection's time has come.
    func advance(_ stream: StreamHandle, to now: Instant) {
        catchUp(stream, at: now)
        stream.connection.advance(to: now)
        checkForBlackHole(stream, at: now)
        if stream.timers[.orphan] <= now { giveUpOrphan(stream, at: now) }
        if stream.timers[.preface] <= now { giveUpHalfOpen(stream, at: now) }
        dispatchEvents(of: stream, at: now)
        host.work.ready.append(stream)
    }
}

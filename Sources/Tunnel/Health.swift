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
        lastArrival = now
        resumptions = 0
        path.lastArrival = now
        // What was sent a moment ago can't have been answered yet: the clock starts anew for that.
        path.awaitingSince = path.lastEliciting > now - path.leastRTT ? now : .distantFuture
        if path.health == .suspect, path.isOpen, !path.probe.isOutstanding {
            sendProbe(path, at: now)
        }
    }

    /// Payload came: a flow whose later silence tells something (the sender of a download is far
    /// away).
    @inline(__always) func noteData(
        _ path: Path, _ stream: StreamHandle,
        at now: Instant
    ) {
        noteActivity(stream, at: now)
        path.lastData = now
        noteFlow(path, at: now)
    }

    /// An acknowledgement without data, while we send: the other half of such a flow.
    @inline(__always) func noteAcknowledgement(_ path: Path, at now: Instant) {
        if now - path.lastEliciting < Limits.flowBreak { noteFlow(path, at: now) }
    }

    @inline(__always) func noteFlow(_ path: Path, at now: Instant) {
        let gap = now - path.lastFlow
        path.lastFlow = now
        if gap > Limits.flowBreak {
            path.flow = 0
            path.flowGap = .zero
            path.flowSilence = .distantFuture
            return
        }
        path.flow += 1
        path.flowGap = (path.flowGap * 7 + gap) / 8
        guard path.flow >= Limits.flowLength else { return }
        path.flowSilence = now + max(path.flowGap * 4, Limits.leastFlowSilence)
        if scheduled > path.flowSilence { arm(path.flowSilence) }
    }

    /// Payload came or went. The first after a pause starts the probes that keep round trips known.
    @inline(__always) func noteActivity(_ stream: StreamHandle, at now: Instant) {
        let wasActive = now - lastActivity < Limits.activity
        lastActivity = now
        lastStream = stream.slot
        if !wasActive { schedule(at: now) }
    }

    /// Something that must be answered leaves.
    @inline(__always) func noteEliciting(_ path: Path, at now: Instant) {
        path.lastEliciting = now
        guard path.awaitingSince == .distantFuture else { return }
        path.awaitingSince = now
        let due = now + silencePatience(path)
        if scheduled > due { arm(due) }
    }

    /// How long an answer may take before a probe asks: the round trip, what it varies, the peer's
    /// delayed ACK.
    private func silencePatience(_ path: Path) -> Interval {
        roundTripBound(path) + Limits.peerAckDelay
    }

    /// The probe time-out, or that of the latest stream's subflow on the path, which knows the
    /// queue it stands in.
    func roundTripBound(_ path: Path) -> Interval {
        var bound = path.probeTimeout
        guard lastStream >= 0,
            lastStream < host.streams.count,
            let stream = host.streams[lastStream],
            stream.session === self
        else { return bound }
        for i in 0..<stream.links.count
        where stream.links[i].isUsed && stream.links[i].path == path.number {
            guard let tcp = stream.connection.subflow(i), tcp.hasRTTSample else { continue }
            bound = max(bound, tcp.smoothedRTT + max(tcp.rttVariation * 4, Limits.leastVariation))
        }
        return bound
    }

    /// How long the answer to a probe may take that silence has called for already: two witnesses
    /// need less patience than one.
    private func shortBound(_ path: Path) -> Interval {
        let bound = roundTripBound(path)
        guard path.hasRTT else { return bound }
        return min(bound, path.smoothedRTT + max(path.rttVariation * 2, Limits.leastVariation))
    }

    // MARK: Probes

    func sendProbe(_ path: Path, at now: Instant) {
        path.probe.identifier &+= 1
        // An address that may get only so much yet gets data, not questions.
        let isLong = path.isValidated && path.mtu.asksBase(at: now)
        // The proxy is to know that full datagrams don't reach it, or it would wait for data on
        // this path.
        let isNarrow = !isInitiator && path.health == .suspect && !path.mtu.isProven
        let purpose: ProbeFrame.Purpose = isLong ? .long : isNarrow ? .narrow : .life
        let frame = ProbeFrame(
            isAnswer: false,
            identifier: ProbeFrame.identifier(count: path.probe.identifier, purpose),
            sentAt: now.nanoseconds)
        if isLong {
            path.longQuestion = frame
            path.mtu.askedBase(at: now)
        } else if let out = path.append(ProbeFrame.size) {
            frame.write(into: out)
        } else {
            path.probe.verdictAt = now + Limits.suspectProbe
            arm(path.probe.verdictAt)
            return
        }
        if !path.probe.isOutstanding {
            path.probe.isOutstanding = true
            path.probe.unanswered = 0
        }
        path.probe.sentAt = now
        let patience =
            path.health == .usable
            ? path.probe.needed == 1 ? shortBound(path) : roundTripBound(path)
            : path.probe.backoff
        path.probe.verdictAt = now + patience
        arm(path.probe.verdictAt)
        markDirty()
    }

    func receive(_ frame: ProbeFrame, _ arrival: borrowing Arrival, at now: Instant) {
        let path = arrival.path
        guard frame.isAnswer else {
            // Answered where it came from; a peer that asks more than a datagram holds asks again.
            var answer = frame
            answer.isAnswer = true
            if !isInitiator, frame.isLong, arrival.length >= Limits.leastBaseDatagram {
                path.longAnswer = answer
                markDirty()
            } else if let out = path.append(ProbeFrame.size) {
                answer.write(into: out)
                markDirty()
            }
            if isInitiator, frame.purpose == .narrow, path.isOpen, path.mtu.doubtBase() {
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
        if frame.isLong, path.isOpen, !isInitiator || arrival.length >= Limits.leastBaseDatagram {
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
        let most = isUsable ? sample : max(Limits.longestStallSample, path.probeTimeout * 2)
        // What was asked during the silence, and is answered behind the answer that ended it,
        // measures nothing.
        let isOld = isUsable && path.healthSince > .zero && now - sample < path.healthSince
        if sample > .zero, !isOld || !path.hasRTT { path.noteRTT(min(sample, most), at: now) }
        path.probe.lastAnswer = now
        path.hasAnswered = true
        path.mtu.shortAnswered(at: now, roundTrip: path.smoothedRTT)
        arm(path.mtu.deadline)
        guard path.mtu.isProven || path.health == .usable else {
            // It lives, but full datagrams have yet to show that they pass.
            if path.mtu.asksBase(at: now), path.longQuestion == nil,
                now - path.probe.sentAt >= Limits.leastVariation
            {
                sendProbe(path, at: now)
            }
            return
        }
        path.probe.isOutstanding = false
        path.probe.unanswered = 0
        path.probe.verdictAt = .distantFuture
        path.probe.backoff = Limits.suspectProbe
        if isInitiator, let i = host.uplinks.firstIndex(where: { $0.uplink.number == path.uplink })
        {
            host.uplinks[i].proved()
        }
        if path.health != .usable { setHealth(.usable, path, at: now) }
        if let due = keepWarmAt(path, at: now) { arm(due) }
    }

    // MARK: Time

    /// When the path next wants attention, `.distantFuture` where never.
    func pathDeadline(_ path: Path, at now: Instant) -> Instant {
        guard path.isOpen else { return .distantFuture }
        if path.probe.isOutstanding { return min(path.probe.verdictAt, path.mtu.deadline) }
        var due = min(path.flowSilence, path.mtu.deadline)
        if path.awaitingSince < .distantFuture {
            due = min(due, path.awaitingSince + silencePatience(path))
        }
        if let warm = keepWarmAt(path, at: now) { due = min(due, warm) }
        return due
    }

    /// When the path is to be probed though nothing is wrong: its round trip should be known while
    /// something is being transferred, and NATs should not forget it.
    private func keepWarmAt(_ path: Path, at now: Instant) -> Instant? {
        let last = max(path.probe.lastAnswer, path.probe.sentAt)
        let isUsed =
            (!path.isBackup || path.isWarm)
            && (need != .single || !isInitiator || carriesSubflows(path))
        if isUsed, isActive(at: now) { return last + Limits.warmProbe }
        guard isInitiator, !streams.isEmpty || isUsed else { return nil }
        return max(last, path.lastArrival) + Limits.keepalive
    }

    private func carriesSubflows(_ path: Path) -> Bool {
        if streams.isEmpty { return true }
        guard let stream = host.streams[streams[0]] else { return true }
        return stream.connection.hasSubflow(path: path.number)
    }

    func advance(_ path: Path, to now: Instant) {
        guard path.isOpen else { return }
        advanceSize(path, to: now)
        if path.probe.isOutstanding {
            if path.probe.verdictAt <= now { probeTimedOut(path, at: now) }
            return
        }
        let isAwaiting = path.awaitingSince < .distantFuture
        var isSilent = isAwaiting && path.awaitingSince + silencePatience(path) <= now
        if path.flowSilence <= now {
            path.flowSilence = .distantFuture
            path.flow = 0
            // Acknowledgements end where nothing is left to acknowledge; data that was under way
            // does not.
            isSilent = isSilent || isAwaiting || now - path.lastData < Limits.flowBreak
        }
        if isSilent {
            path.probe.needed = 1
            sendProbe(path, at: now)
            doubtSize(path, at: now)
        } else if let due = keepWarmAt(path, at: now), due <= now {
            path.probe.needed = 2
            sendProbe(path, at: now)
        }
    }

    private func probeTimedOut(_ path: Path, at now: Instant) {
        path.probe.unanswered += 1
        if path.health == .usable, host.configuration.signaling != .reliable {
            // An experiment without this help.
        } else if path.health == .usable {
            let heard = path.lastArrival >= path.probe.sentAt
            let most = path.mtu.isProven ? Limits.unansweredWhileHearing : PathMTU.mostTries
            if path.probe.unanswered >= (heard ? most : path.probe.needed) {
                path.probe.backoff = Limits.suspectProbe
                setHealth(.suspect, path, at: now)
                if isInitiator {
                    path.isSilent = true
                    raise(path, at: now)
                }
                wakeNext(at: now)
            }
        } else {
            if path.isUntried { foundDead(path, at: now) }
            let isWanted =
                isActive(at: now) || !hasUsablePath && !streams.isEmpty
            let isFresh = now - path.healthSince < Limits.freshSuspicion
            let limit =
                !isWanted
                ? Limits.longestIdleProbe
                : isFresh ? Limits.freshSuspectProbe : Limits.longestSuspectProbe
            path.probe.backoff =
                isFutile(path)
                ? min(path.probe.backoff * 2, Limits.longestFutileProbe)
                : min(path.probe.backoff * 3 / 2, limit)
        }
        sendProbe(path, at: now)
    }

    /// A path that was used before its first answer, and none came: its connections learn it,
    /// another one wakes.
    private func foundDead(_ path: Path, at now: Instant) {
        path.isUntried = false
        pathChanges &+= 1
        healthChanged(.suspect, path, at: now)
        wakeNext(at: now)
    }

    // MARK: Consequences

    func setHealth(_ health: PathHealth, _ path: Path, at now: Instant) {
        guard path.health != health else { return }
        path.health = health
        path.healthSince = now
        if health == .usable {
            path.isUntried = false
            if path.isSilent {
                path.isSilent = false
                raise(path, at: now)
            }
        }
        path.awaitingSince = .distantFuture
        path.flowSilence = .distantFuture
        path.flow = 0
        pathChanges &+= 1
        if health != .usable { askFutile(besides: path, at: now) }
        // A path that was just opened is not yet known to work; that is no news to anybody.
        let isNew = path.isUntried || path.lastArrival == .zero
        if health != .suspect || !isNew {
            host.say(
                .pathChanged(
                    session: slot, path: path.number, uplink: path.uplinkName,
                    remote: path.remote,
                    health: health))
        }
        healthChanged(health, path, at: now)
        if isInitiator { watchSpare(at: now) }
        schedule(at: now)
    }

    // MARK: The session's clock

    /// Makes sure that `advance` comes by `due`.
    @inline(__always) func arm(_ due: Instant) {
        guard due < scheduled else { return }
        scheduled = due
        host.sessionDeadlines.set(slot, due)
    }

    /// The session's next deadline from all its timers.
    func schedule(at now: Instant) {
        guard !isClosing, isConfirmed else { return }
        if isMute { scheduleMute(at: now); return }
        var due = min(signals.at, current.since + host.configuration.keyDeath)
        due = min(due, nextSuccessorEnd())
        for case let path? in paths { due = min(due, pathDeadline(path, at: now)) }
        if previous != nil { due = min(due, previousUntil) }
        if let rekey = self.rekey { due = min(due, rekey.again.at) }
        due = min(due, min(spareAt, resets.deadline))
        due = min(due, datagrams.deadline)
        if isInitiator {
            // Doubt is looked at again and again while it lasts.
            if !hasUsablePath, !streams.isEmpty, !host.isHandshaking {
                due = min(
                    due, max(lastArrival + Limits.sessionDoubt, now + .milliseconds(100)))
            }
        } else {
            due = min(due, lastArrival + longestSilence)
        }
        arm(max(due, now + .microseconds(50)))
    }

    /// How long the concentrator keeps the session when nothing is heard of it.
    private var longestSilence: Interval {
        let usual = host.configuration.sessionSilence
        return hasFollower ? min(usual, Limits.followedSilence) : usual
    }

    /// Without keys there is nothing to do but to wait for new ones.
    private func scheduleMute(at now: Instant) {
        let end = isInitiator ? .distantFuture : lastArrival + longestSilence
        arm(max(min(end, nextSuccessorEnd()), now + .microseconds(50)))
    }

    func advance(to now: Instant) -> SessionDemand {
        if !isInitiator, now - lastArrival >= longestSilence {
            return .isOver(reason: "silent")
        }
        if !isMute, now - current.since >= host.configuration.keyDeath {
            dropKeys(at: now)
            if isInitiator { return .needsHandshake }
        }
        if isMute { schedule(at: now); return .none }
        for case let path? in paths { advance(path, to: now) }
        if signals.at <= now { repeatSignals(at: now) }
        if spareAt <= now { watchSpare(at: now) }
        if resets.deadline <= now { repeatResets(at: now) }
        advanceDatagrams(to: now)
        if previous != nil, previousUntil <= now { previous = nil }
        if let rekey, rekey.again.at <= now { repeatRekey(at: now) }
        if isInitiator, !hasUsablePath, !streams.isEmpty,
            now - lastArrival >= Limits.sessionDoubt
        {
            return .needsHandshake
        }
        schedule(at: now)
        return .none
    }

    /// A connection's time has come.
    func advance(_ stream: StreamHandle, to now: Instant) {
        catchUp(stream, at: now)
        stream.connection.advance(to: now)
        doubtSize(stream, at: now)
        if stream.orphanAt <= now { giveUpOrphan(stream, at: now) }
        if stream.prefaceUntil <= now { giveUpHalfOpen(stream, at: now) }
        note(stream, at: now)
        host.ready.append(stream)
    }
}

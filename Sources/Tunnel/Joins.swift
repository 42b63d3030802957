import Measures
import Multipath
import Subflow
import Wire

/// Which subflows exist for which connection on which path (the proxy decides).
///
/// Full and backup mode: one on every usable path. Single mode: one, on the keeper (`Modes`).
extension Endpoint {
    /// Opens what the connection lacks; true where something was opened.
    func manageSubflows(_ stream: StreamHandle, _ session: Session, at now: Instant) -> Bool {
        guard session.isInitiator, stream.connection.error == nil else { return false }
        if !stream.isStarted { return openFirst(stream, session, at: now) }
        if let first = stream.connection.movableSubflow,
            moveFirst(stream, first, session, at: now)
        {
            return true
        }
        guard
            stream.joinedAt != session.pathChanges || stream.joinRetryAt <= now
                || stream.isMoving(session.keeper)
                || (session.superseded >= 0
                    && stream.connection.hasSubflow(path: session.superseded))
        else { return false }
        guard stream.connection.canJoin else {
            stream.joinRetryAt = .distantFuture  // over, or asked again when the keys are known
            return false
        }
        if staysDormant(stream, session, at: now) { return false }
        stream.joinedAt = session.pathChanges
        stream.joinRetryAt = .distantFuture
        if mode(of: stream, session) == .single { return keepOne(stream, session, at: now) }
        let lived = stream.connection.livingSubflows
        leaveSuperseded(stream, session, at: now)
        var opened = stream.connection.livingSubflows != lived
        for case let path? in session.paths
        where path.health == .usable && path.number != session.superseded
            && !stream.connection.hasSubflow(path: path.number)
        {
            opened = join(stream, session, path, at: now) || opened
        }
        return opened
    }

    /// Single mode: a subflow on the keeper, and where that stands none elsewhere.
    private func keepOne(_ stream: StreamHandle, _ session: Session, at now: Instant) -> Bool {
        guard let keeper = keeper(session) else { return false }
        if stream.connection.hasSubflow(path: keeper.number) {
            let lived = stream.connection.livingSubflows
            leaveSpare(stream, session, keeper, at: now)
            return stream.connection.livingSubflows != lived
        }
        return join(stream, session, keeper, at: now)
    }

    /// The eligible path with the shortest round trip, a regular one before a backup one.
    func bestPath(_ session: Session) -> Path? {
        var best: Path?
        for case let path? in session.paths where isEligible(path, session) {
            guard let other = best else { best = path; continue }
            if path.isReserve != other.isReserve
                ? !path.isReserve : path.probeTimeout < other.probeTimeout
            {
                best = path
            }
        }
        return best
    }

    private func openFirst(_ stream: StreamHandle, _ session: Session, at now: Instant) -> Bool {
        let mode = mode(of: stream, session)
        guard let path = mode == .single ? keeper(session) : bestPath(session),
            let number = session.numbers.allocate(at: now)
        else { return false }
        stream.isStarted = true
        let index = stream.connection.open(
            path: path.number, localPort: number,
            remotePort: SealedSegment.listenerPort,
            initialSequence: SubflowSequence(
                UInt32(truncatingIfNeeded: random.next())),
            backup: isBackup(path, for: stream, session), estimate: path.estimate(at: now),
            sizes: path.segmentSizes,
            at: now)
        link(stream, index, SealedContext(number: number, isInitiator: true), path.number, session)
        return true
    }

    private func join(
        _ stream: StreamHandle, _ session: Session, _ path: Path, at now: Instant
    ) -> Bool {
        guard let number = session.numbers.allocate(at: now) else { return false }
        // Address ID 0 is the first subflow's, whatever its path (RFC 8684 section 3.4.1).
        guard
            let index = stream.connection.join(
                path: path.number, localPort: number,
                remotePort: SealedSegment.listenerPort,
                initialSequence: SubflowSequence(
                    UInt32(truncatingIfNeeded: random.next())),
                addressID: AddressID(UInt8(path.number + 1)),
                nonce: UInt32(truncatingIfNeeded: random.next()),
                backup: isBackup(path, for: stream, session),
                estimate: path.estimate(at: now),
                sizes: path.segmentSizes,
                at: now)
        else { return false }
        link(stream, index, SealedContext(number: number, isInitiator: true), path.number, session)
        return true
    }

    /// The first subflow's keys have not arrived and its path does no good: it goes on over another
    /// path, with the same numbers, so that the concentrator sees one connection whichever copies
    /// arrive.
    private func moveFirst(
        _ stream: StreamHandle, _ first: Int, _ session: Session,
        at now: Instant
    ) -> Bool {
        guard let number = stream.connection.subflowPath(first),
            number < session.paths.count
        else { return false }
        if let path = session.paths[number], path.isOpen, isEligible(path, session) { return false }
        guard let path = bestPath(session), path.number != number else { return false }
        stream.connection.move(subflow: first, to: path.number, at: now)
        stream.connection.limitSegments(
            to: path.segmentSizes.limit, path: path.number, repeatsAll: false, at: now)
        stream.links[first].path = path.number
        stream.links[first].context.forgetRecords()
        return true
    }

    /// A subflow ended that the paths give no reason for: another try, with growing patience.
    func retryJoin(_ stream: StreamHandle, at now: Instant) {
        guard isProxy, stream.connection.error == nil, stream.joinRetryAt == .distantFuture else {
            return
        }
        if stream.session >= 0, let session = sessions[stream.session],
            staysDormant(stream, session, at: now)
        {
            return
        }
        var patience = Limits.firstJoinRetry
        for _ in 0..<min(stream.joinRetries, 10) {
            patience = min(patience * 2, Limits.longestJoinRetry)
        }
        stream.joinRetries += 1
        stream.joinRetryAt = now + patience
    }

    /// The first subflow was given up before an answer came: nothing can be joined to it, and
    /// opening it anew might make the same request twice.
    func endUnopened(_ stream: StreamHandle, _ session: Session, at now: Instant) {
        guard session.isInitiator, stream.isStarted, stream.connection.error == nil,
            stream.connection.peerToken == nil, stream.connection.livingSubflows == 0
        else { return }
        stream.connection.fail(.timedOut, at: now)
    }

    /// A listener's connection whose last subflow ended waits for the proxy to join again.
    func noteOrphan(_ stream: StreamHandle, _ session: Session, at now: Instant) {
        // While no path works, or the proxy sleeps, it can't; from then on it has its time.
        guard !session.isInitiator, session.hasUsablePath,
            stream.connection.livingSubflows == 0
        else { stream.orphanAt = .distantFuture; return }
        if stream.orphanAt == .distantFuture { stream.orphanAt = now + Limits.orphanPatience }
    }

    /// The proxy could have joined and did not: it has forgotten the connection (its last words
    /// were lost). While no path works it can't, and the connection waits on.
    func giveUpOrphan(_ stream: StreamHandle, at now: Instant) {
        stream.orphanAt = .distantFuture
        guard stream.session >= 0, let session = sessions[stream.session], session.hasUsablePath,
            stream.connection.livingSubflows == 0
        else { return }
        stream.connection.fail(.timedOut, at: now)
    }
}

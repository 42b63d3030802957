import Measures
import Multipath
import Subflow
import Wire

/// Which subflows exist for which connection on which path (the proxy decides).
///
/// Full and backup mode: one on every usable path. Single mode: one, and the next where it no longer works.
extension Endpoint {
    /// Opens what the connection lacks; true where something was opened.
    func manageSubflows(_ stream: StreamHandle, _ session: Session, at now: Instant) -> Bool {
        guard session.isInitiator, stream.connection.error == nil else { return false }
        if !stream.isStarted { return openFirst(stream, session, at: now) }
        if let first = stream.connection.movableSubflow,
           moveFirst(stream, first, session, at: now) {
            return true
        }
        guard stream.joinedAt != session.pathChanges || stream.joinRetryAt <= now else { return false }
        guard stream.connection.canJoin else {
            stream.joinRetryAt = .distantFuture   // over, or asked again when the keys are known
            return false
        }
        stream.joinedAt = session.pathChanges
        stream.joinRetryAt = .distantFuture
        if session.mode == .single {
            if standsOnUsable(stream, session) { return false }
            guard let path = bestPath(session),
                  !stream.connection.hasSubflow(path: path.number) else { return false }
            return join(stream, session, path, at: now)
        }
        var opened = false
        for case let path? in session.paths
            where path.health == .usable && !stream.connection.hasSubflow(path: path.number) {
            opened = join(stream, session, path, at: now) || opened
        }
        return opened
    }

    private func standsOnUsable(_ stream: StreamHandle, _ session: Session) -> Bool {
        for case let path? in session.paths
            where isEligible(path, session) && stream.connection.hasSubflow(path: path.number) {
            return true
        }
        return false
    }

    /// A path that works, or in single mode one that was just woken and has not been found dead: waiting for
    /// its first answer would cost a round trip of the handover.
    private func isEligible(_ path: Path, _ session: Session) -> Bool {
        path.health == .usable || (path.isOpen && path.isUntried && session.mode == .single)
    }

    /// The eligible path with the shortest round trip, a regular one before a backup one.
    func bestPath(_ session: Session) -> Path? {
        var best: Path?
        for case let path? in session.paths where isEligible(path, session) {
            guard let other = best else { best = path; continue }
            let isBackup = isReserve(path), otherIsBackup = isReserve(other)
            if isBackup != otherIsBackup ? !isBackup : path.probeTimeout < other.probeTimeout { best = path }
        }
        return best
    }

    /// In single mode no path is called backup on the wire, but the uplink's role still says which
    /// comes first.
    private func isReserve(_ path: Path) -> Bool {
        if path.isBackup { return true }
        guard mode == .single else { return false }
        return uplinks.contains { $0.uplink.number == path.uplink && $0.uplink.isBackup }
    }

    private func openFirst(_ stream: StreamHandle, _ session: Session, at now: Instant) -> Bool {
        guard let path = bestPath(session),
              let number = session.numbers.allocate(at: now) else { return false }
        stream.isStarted = true
        let index = stream.connection.open(path: path.number, localPort: number,
                                           remotePort: SealedSegment.listenerPort,
                                           initialSequence: SubflowSequence(
                                               UInt32(truncatingIfNeeded: random.next())),
                                           backup: path.isBackup, estimate: path.estimate,
                                           segmentSize: Self.segmentSize(
                                               datagramLimit: path.datagramLimit),
                                           at: now)
        link(stream, index, SealedContext(number: number, isInitiator: true), path.number, session)
        return true
    }

    private func join(_ stream: StreamHandle, _ session: Session, _ path: Path, at now: Instant) -> Bool {
        guard let number = session.numbers.allocate(at: now) else { return false }
        // Address ID 0 is the first subflow's, whatever its path (RFC 8684 section 3.4.1).
        guard let index = stream.connection.join(path: path.number, localPort: number,
                                                 remotePort: SealedSegment.listenerPort,
                                                 initialSequence: SubflowSequence(
                                                     UInt32(truncatingIfNeeded: random.next())),
                                                 addressID: AddressID(UInt8(path.number + 1)),
                                                 nonce: UInt32(truncatingIfNeeded: random.next()),
                                                 backup: path.isBackup,
                                                 estimate: path.estimate,
                                                 segmentSize: Self.segmentSize(
                                                     datagramLimit: path.datagramLimit),
                                                 at: now)
        else { return false }
        link(stream, index, SealedContext(number: number, isInitiator: true), path.number, session)
        return true
    }

    /// The first subflow's keys have not arrived and its path does no good: it goes on over another
    /// path, with the same numbers, so that the concentrator sees one connection whichever copies
    /// arrive.
    private func moveFirst(_ stream: StreamHandle, _ first: Int, _ session: Session,
                           at now: Instant) -> Bool {
        guard let number = stream.connection.subflowPath(first),
              number < session.paths.count else { return false }
        if let path = session.paths[number], path.isOpen, isEligible(path, session) { return false }
        guard let path = bestPath(session), path.number != number else { return false }
        stream.connection.move(subflow: first, to: path.number, at: now)
        stream.links[first].path = path.number
        return true
    }

    /// A subflow ended that the paths give no reason for: another try, with growing patience.
    func retryJoin(_ stream: StreamHandle, at now: Instant) {
        guard isProxy, stream.connection.error == nil, stream.joinRetryAt == .distantFuture else { return }
        var patience = Limits.firstJoinRetry
        for _ in 0..<min(stream.joinRetries, 10) { patience = min(patience * 2, Limits.longestJoinRetry) }
        stream.joinRetries += 1
        stream.joinRetryAt = now + patience
    }

    /// A listener's connection whose last subflow ended waits for the proxy to join again.
    func noteOrphan(_ stream: StreamHandle, _ session: Session, at now: Instant) {
        guard !session.isInitiator,
              stream.connection.livingSubflows == 0
        else { stream.orphanAt = .distantFuture; return }
        if stream.orphanAt == .distantFuture { stream.orphanAt = now + Limits.orphanPatience }
    }

    /// The proxy could have joined and did not: it has forgotten the connection (its last words were
    /// lost). While no path works it can't, and the connection waits on.
    func giveUpOrphan(_ stream: StreamHandle, at now: Instant) {
        stream.orphanAt = .distantFuture
        guard stream.session >= 0, let session = sessions[stream.session], session.hasUsablePath,
              stream.connection.livingSubflows == 0 else { return }
        stream.connection.fail(.timedOut, at: now)
    }

    /// Single mode: nothing works any more; the next uplink's path is woken.
    func wakeNext(_ session: Session, at now: Instant) {
        guard session.isInitiator,
              session.mode == .single,
              !session.isClosing,
              !session.hasUsablePath else { return }
        for case let path? in session.paths where path.isOpen && path.isUntried { return }
        for wantsBackup in [false, true] {
            for item in uplinks where item.isUp && item.uplink.isBackup == wantsBackup {
                let isOpen = session.paths.contains { $0?.isOpen == true && $0?.uplink == item.uplink.number }
                if isOpen { continue }
                openPaths(session, uplink: item.uplink, at: now)
                return
            }
        }
    }
}

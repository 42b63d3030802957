import Measures
import Multipath
import Subflow
import Wire

/// Which subflows exist for which connection on which path (the proxy decides).
///
/// Full and backup mode: one on every usable path. Single mode: one, on the active path (`Modes`).
extension Session {
    /// Opens what the connection lacks; true where something was opened.
    func manageSubflows(_ stream: StreamHandle, at now: Instant) -> Bool {
        guard isInitiator, stream.connection.error == nil else { return false }
        if !stream.progress.isStarted { return openFirst(stream, at: now) }
        if let first = stream.connection.movableSubflow,
            moveFirst(stream, first, at: now)
        {
            return true
        }
        guard
            stream.joining.seenForJoins != changes.forJoins || stream.joining.isDue
                || stream.isMoving(selection.activePath)
                || (selection.superseded.map({ stream.connection.hasSubflow(path: $0) }) ?? false)
        else { return false }
        guard stream.connection.canJoin else {
            stream.stopJoining()  // over, or asked again when the keys are known
            return false
        }
        if staysDormant(stream, at: now) || waitsForUse(stream, at: now) { return false }
        stream.joining.seenForJoins = changes.forJoins
        stream.stopJoining()
        if mode(of: stream) == .single { return keepOne(stream, at: now) }
        let lived = stream.connection.livingSubflows
        leaveSuperseded(stream, at: now)
        var opened = stream.connection.livingSubflows != lived
        for case let path? in paths
        where path.health == .usable && path.id != selection.superseded
            && mayUse(path, stream) && !stream.connection.hasSubflow(path: path.id)
        {
            opened = join(stream, path, at: now) || opened
        }
        return opened
    }

    /// Where more paths open since somebody waits for something, it is not for connections that are
    /// quiet: two hundred of them would join, and leave again.
    private func waitsForUse(_ stream: StreamHandle, at now: Instant) -> Bool {
        use.isOn && mode(of: stream) != .single && stream.ownMode == nil
            && stream.connection.hasUsableSubflow
            && stream.connection.isQuiet(for: Limits.quiet, at: now)
    }

    /// Single mode: a subflow on the active path, and where that stands none elsewhere.
    private func keepOne(_ stream: StreamHandle, at now: Instant) -> Bool {
        guard let active = activePath(for: stream) else { return false }
        if stream.connection.hasSubflow(path: active.id) {
            if active.monitor.doubt.isPresent { return joinStandby(stream, active, at: now) }
            // It may have been joined while another one was in doubt.
            stream.connection.setBackup(
                isBackup(active, for: stream), path: active.id, at: now)
            let lived = stream.connection.livingSubflows
            leaveSpare(stream, active, at: now)
            return stream.connection.livingSubflows != lived
        }
        return join(stream, active, at: now)
    }

    /// The active path is in doubt: a connection that is in use has a subflow elsewhere, too, which
    /// carries nothing while the other one works.
    private func joinStandby(_ stream: StreamHandle, _ active: Path, at now: Instant) -> Bool {
        guard !stream.connection.isQuiet(for: Limits.quiet, at: now) else { return false }
        for case let path? in paths
        where path.uplink != active.uplink && path.id != selection.superseded
            && path.role.cost == .usual && mayUse(path, stream)
            && (path.health == .usable || path.monitor.lifecycle.isUntried)
        {
            if stream.connection.hasSubflow(path: path.id) { return false }
            return join(stream, path, isStandby: true, at: now)
        }
        return false
    }

    private func openFirst(_ stream: StreamHandle, at now: Instant) -> Bool {
        let mode = mode(of: stream)
        guard let path = mode == .single ? activePath(for: stream) : bestPath(for: stream),
            let number = numbers.allocate(at: now)
        else { return false }
        stream.progress.stage = .started
        let index = stream.connection.open(
            path: path.id, localPort: number,
            remotePort: SealedSegment.listenerPort,
            initialSequence: SubflowSequence(
                UInt32(truncatingIfNeeded: host.random.next())),
            backup: isBackup(path, for: stream), estimate: path.monitor.estimate(at: now),
            sizes: path.segmentSizes,
            at: now)
        link(stream, index, number, path.id)
        return true
    }

    private func join(
        _ stream: StreamHandle, _ path: Path, isStandby: Bool = false, at now: Instant
    ) -> Bool {
        guard let number = numbers.allocate(at: now) else { return false }
        // Address ID 0 is the first subflow's, whatever its path (RFC 8684 section 3.4.1).
        guard
            let index = stream.connection.join(
                path: path.id, localPort: number,
                remotePort: SealedSegment.listenerPort,
                initialSequence: SubflowSequence(
                    UInt32(truncatingIfNeeded: host.random.next())),
                addressID: AddressID(path.id.octet + 1),
                nonce: UInt32(truncatingIfNeeded: host.random.next()),
                backup: isStandby || isBackup(path, for: stream),
                estimate: path.monitor.estimate(at: now),
                sizes: path.segmentSizes,
                at: now)
        else { return false }
        link(stream, index, number, path.id)
        return true
    }

    /// The first subflow's keys have not arrived and its path does no good: it goes on over another
    /// path, with the same numbers, so that the concentrator sees one connection whichever copies
    /// arrive.
    private func moveFirst(
        _ stream: StreamHandle, _ first: SubflowIndex, at now: Instant
    ) -> Bool {
        guard let former = stream.connection.subflowPath(first) else { return false }
        if let path = paths[former], path.isOpen, isEligible(path) { return false }
        guard let path = bestPath(for: stream), path.id != former else { return false }
        stream.connection.move(subflow: first, to: path.id, at: now)
        stream.connection.limitSegments(
            to: path.segmentSizes.limit, path: path.id, repeatsAll: false, at: now)
        stream.links[first.value].path = path.id
        return true
    }

    /// A subflow ended that the paths give no reason for: another try, after a growing time-out.
    func retryJoin(_ stream: StreamHandle, at now: Instant) {
        guard isInitiator, stream.connection.error == nil, !stream.timers.isSet(.join),
            !stream.joining.isDue
        else { return }
        if staysDormant(stream, at: now) { return }
        stream.timers[.join] = now + stream.joining.nextTimeout()
    }

    /// The first subflow was given up before an answer came: nothing can be joined to it, and
    /// opening it anew might make the same request twice.
    func endUnopened(_ stream: StreamHandle, at now: Instant) {
        guard isInitiator, stream.progress.isStarted, stream.connection.error == nil,
            stream.connection.peerToken == nil, stream.connection.livingSubflows == 0
        else { return }
        stream.connection.fail(.timedOut, at: now)
    }

    /// A listener's connection whose last subflow ended waits for the proxy to join again.
    func noteOrphan(_ stream: StreamHandle, at now: Instant) {
        // While no path works, or the proxy sleeps, it can't; from then on it has its time.
        guard !isInitiator, hasUsablePath,
            stream.connection.livingSubflows == 0
        else { stream.timers.clear(.orphan); return }
        if !stream.timers.isSet(.orphan) {
            stream.timers[.orphan] = now + Limits.orphanTimeout
        }
    }

    /// The proxy could have joined and did not: it has forgotten the connection (its reset
    /// was lost). While no path works it can't, and the connection waits on.
    func giveUpOrphan(_ stream: StreamHandle, at now: Instant) {
        stream.timers.clear(.orphan)
        guard hasUsablePath,
            stream.connection.livingSubflows == 0
        else { return }
        stream.connection.fail(.timedOut, at: now)
    }
}

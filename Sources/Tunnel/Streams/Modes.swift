import Measures
import Multipath
import Wire

/// Handover modes at the proxy: what each connection wants, which paths are open for the widest
/// mode among them (the effective mode), and how those that nobody wants any more fall silent.
///
/// A connection has the mode its listener gave it, else the session's, which `setMode` changes. In
/// full and backup mode all paths are open. In single mode one is, the *active path*; a better one
/// (regular before backup, then in the order of the uplinks) takes over once it works.
extension Endpoint {
    /// Changes the mode of all connections that have none of their own, while they live. It does
    /// not follow use any more (`followUse`).
    public func setMode(_ mode: HandoverMode, at now: Instant) {
        host.modeByUse = nil
        self.mode = mode
        for case let session? in sessions where !session.isClosing {
            session.stopWatchingUse()
            session.notifyingAll(at: now) { session.setMode(mode, at: now) }
        }
    }

    /// Changes an uplink's part while connections live: the peer is told of paths (path state) and
    /// of subflows (MP_PRIO), and in single mode the one that stands highest now takes over.
    /// `isWarm` nil: as it was.
    public func setUplinkRole(
        _ number: UplinkNumber, isBackup: Bool, isWarm: Bool? = nil, at now: Instant
    ) {
        guard let i = host.proxy.uplinks.firstIndex(where: { $0.uplink.number == number }) else {
            return
        }
        if let isWarm, isWarm != host.proxy.uplinks[i].uplink.isWarm {
            host.proxy.uplinks[i].uplink.isWarm = isWarm
            for case let session? in sessions {
                session.keep(uplink: number, isWarm: isWarm, at: now)
            }
        }
        guard host.proxy.uplinks[i].uplink.isBackup != isBackup else { return }
        host.proxy.uplinks[i].uplink.isBackup = isBackup
        for case let session? in sessions where !session.isClosing {
            session.notifyingAll(at: now) {
                session.setRole(ofUplink: number, isBackup: isBackup, at: now)
            }
        }
    }
}

extension Session {
    func setMode(_ mode: HandoverMode, at now: Instant) {
        self.modes.session = mode
        for slot in streams {
            guard let stream = host.streams[slot], stream.ownMode == nil else { continue }
            adoptMode(stream, at: now)
        }
        changes.forJoins &+= 1
        updateEffectiveMode(at: now)
        watchSpare(at: now)
    }

    fileprivate func keep(uplink number: UplinkNumber, isWarm: Bool, at now: Instant) {
        for case let path? in paths where path.uplink == number { path.role.isWarm = isWarm }
        timersChanged()
    }

    func setRole(ofUplink number: UplinkNumber, isBackup: Bool, at now: Instant) {
        for case let path? in paths where path.uplink == number {
            path.role.isReserve = isBackup
            path.role.isBackup = isBackup && modes.effective == .backup
            for slot in streams {
                guard let stream = host.streams[slot] else { continue }
                stream.connection.setBackup(
                    self.isBackup(path, for: stream), path: path.id, at: now)
            }
            if path.isOpen { signalState(of: path, at: now) }
        }
        changes.forJoins &+= 1
        visitAllStreams()
        for item in host.proxy.uplinks where item.isUp { openPaths(uplink: item.uplink, at: now) }
        watchSpare(at: now)
    }

    func mode(of stream: StreamHandle) -> HandoverMode {
        stream.ownMode ?? modes.session
    }

    /// The connection's mode is another: its subflows on backup uplinks change their part
    /// (MP_PRIO).
    private func adoptMode(_ stream: StreamHandle, at now: Instant) {
        let mode = mode(of: stream)
        stream.connection.mode = mode
        for case let path? in paths {
            stream.connection.setBackup(isBackup(path, for: stream), path: path.id, at: now)
        }
        host.work.ready.append(stream)
    }

    func isBackup(_ path: Path, for stream: StreamHandle) -> Bool {
        path.role.isReserve && mode(of: stream) == .backup
    }

    // MARK: The effective mode

    /// A connection came or went.
    func countMode(of stream: StreamHandle, by difference: Int, at now: Instant) {
        // What may use some uplinks only needs those to be open, whatever its mode.
        let needed = stream.restriction == nil ? stream.ownMode : .full
        guard isInitiator, let own = needed else { return }
        modes.count(own, by: difference)
        updateEffectiveMode(at: now)
    }

    private func updateEffectiveMode(at now: Instant) {
        guard !isClosing, modes.update() else { return }
        for item in host.proxy.uplinks where item.isUp {
            let isBackup = item.uplink.isBackup && modes.effective == .backup
            for case let path? in paths where path.uplink == item.uplink.number {
                path.role.isBackup = isBackup
            }
            if modes.effective != .single { openPaths(uplink: item.uplink, at: now) }
        }
        for case let path? in paths where path.isOpen { signalState(of: path, at: now) }
        changes.forJoins &+= 1
        visitAllStreams()
        watchSpare(at: now)
    }

    // MARK: Subflows beside the active path

    /// Single mode: subflows beside the active path's end in an orderly way once that stands.
    func leaveSpare(_ stream: StreamHandle, _ active: Path, at now: Instant) {
        guard active.health == .usable, stream.connection.isEstablished(path: active.id) else {
            return
        }
        for case let path? in paths
        where path.isOpen && isSpare(path, active)
            && stream.connection.hasSubflow(path: path.id)
        {
            stream.connection.leave(path: path.id, at: now)
        }
    }

    // MARK: Paths fall silent

    /// Open paths that nobody wants any more (in single mode those beside the active one) are given
    /// up once no subflow lives on them, or after a while. Called when paths change and while some
    /// are spare.
    func watchSpare(at now: Instant) {
        clear(.spare)
        selection.superseded = nil
        guard isInitiator, !isClosing else { return }
        let active = modes.effective == .single ? selectActivePath() : nil
        for case let path? in paths {
            let isBeside =
                active.map {
                    $0.health == .usable && !$0.monitor.doubt.isPresent && isSpare(path, $0)
                } ?? false
            let isSuperseded = isSuperseded(path)
            guard path.isOpen, isBeside || isSuperseded else {
                path.role.leaveBy = .distantFuture; continue
            }
            if path.role.leaveBy == .distantFuture { path.role.leaveBy = now + Limits.leaveTimeout }
            if path.role.leaveBy <= now || !hasLivingSubflows(path) {
                path.role.leaveBy = .distantFuture
                close(path, at: now)
            } else {
                if isSuperseded { selection.superseded = path.id }
                set(.spare, to: now + Limits.leaveInterval)
            }
        }
    }

    /// Subflows on a superseded path end once another one of the connection stands.
    func leaveSuperseded(_ stream: StreamHandle, at now: Instant) {
        guard let superseded = selection.superseded,
            stream.connection.hasSubflow(path: superseded)
        else { return }
        for case let path? in paths
        where path.id != superseded && path.health == .usable
            && stream.connection.isEstablished(path: path.id)
        {
            stream.connection.leave(path: superseded, at: now)
            return
        }
    }

    private func hasLivingSubflows(_ path: Path) -> Bool {
        for slot in streams {
            if let stream = host.streams[slot], stream.connection.livesOn(path: path.id) {
                return true
            }
        }
        return false
    }

    // MARK: Before a path is known to be silent

    /// The active path's answer is late, and data broke off: another path opens, and connections
    /// join it as a backup, so that it carries nothing unless the active one is silent.
    func doubtBegins(_ path: Path, at now: Instant) {
        guard isInitiator, modes.effective == .single, !isClosing, path.health == .usable,
            path.id == selection.activePath
        else { return }
        path.monitor.doubt.begin()
        wakeNext(at: now)
        changes.forJoins &+= 1
        visitAllStreams()
    }

    /// It was heard after all: what was opened is left again. Called while a datagram is read: what
    /// may close a path waits for its turn.
    func doubtEnds(_ path: Path, at now: Instant) {
        path.monitor.doubt.end()
        changes.forJoins &+= 1
        visitAllStreams()
        set(.spare, to: now)
    }

    /// The active path of single mode works and is in doubt.
    var isInDoubt: Bool {
        guard isInitiator, modes.effective == .single, let id = selection.activePath else {
            return false
        }
        return paths[id]?.monitor.doubt.isPresent ?? false
    }

    /// Nothing works any more or for much longer, and not all uplinks have been tried: the next
    /// one's path is woken. Before it is known, only one that costs nothing.
    func wakeNext(at now: Instant) {
        guard isInitiator, modes.effective == .single, !isClosing,
            !hasUsablePath || isInDoubt
        else { return }
        let isInDoubt = isInDoubt
        for case let path? in paths where path.isOpen && path.monitor.lifecycle.isUntried { return }
        for wantsBackup in [false, true] {
            for item in host.proxy.uplinks
            where item.isUp && item.uplink.isBackup == wantsBackup
                && (!isInDoubt || item.uplink.cost == .usual)
            {
                let isOpen = paths.contains {
                    $0?.isOpen == true && $0?.uplink == item.uplink.number
                }
                if isOpen { continue }
                openPaths(uplink: item.uplink, at: now)
                return
            }
        }
    }
}

extension HandoverMode {
    var code: UInt8 {
        switch self {
        case .full: 0;
        case .backup: 1;
        case .single: 2
        }
    }
    init?(code: UInt8) {
        switch code {
        case 0: self = .full
        case 1: self = .backup
        case 2: self = .single
        default: return nil
        }
    }
}

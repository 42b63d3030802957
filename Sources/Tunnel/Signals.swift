import Buffers
import Measures
import Multipath
import Wire

/// Reliable address signals (section 5 of the paper): what the proxy says of its paths, sent at
/// once on all live ones, carried by every outgoing datagram with room, repeated on a doubling
/// timer until echoed.
///
/// One register per path: a higher generation replaces what was said before, so a path that returns
/// before the echo of its removal needs no special case.
extension Endpoint {
    // MARK: Paths come and go (proxy)

    /// Opens (again) the uplink's paths to each of the concentrator's addresses.
    func openPaths(_ session: Session, uplink: Uplink, at now: Instant) {
        for remote in joinable(session) where remote.address.isIPv4 == uplink.isIPv4 {
            guard let path = pathFor(session, uplink, remote) else { continue }
            prepare(path, session, uplink)
            // In single mode a further path stays silent until it is needed, or where it stands
            // higher.
            if session.need == .single, session.hasUsablePath, let keeper = keeper(session),
                rank(path, session) >= rank(keeper, session)
            {
                continue
            }
            open(session, path, at: now)
        }
        schedule(session, at: now)
    }

    /// The session's first path, where the welcome came from.
    func openFirstPath(
        _ session: Session, uplink: Uplink, to remote: SocketAddress, at now: Instant
    ) {
        guard let path = pathFor(session, uplink, remote) else { return }
        prepare(path, session, uplink)
        open(session, path, at: now)
    }

    private func prepare(_ path: Path, _ session: Session, _ uplink: Uplink) {
        // Numbers are given again: what was measured belongs to another interface.
        if path.uplinkName != uplink.name { path.forgetRTT() }
        path.uplinkName = uplink.name
        path.isReserve = uplink.isBackup
        path.isWarm = uplink.isWarm
        path.isBackup = uplink.isBackup && session.need == .backup
    }

    /// The path of this pair, with the number it had before, or a new one, or one that nothing uses
    /// any more.
    private func pathFor(_ session: Session, _ uplink: Uplink, _ remote: SocketAddress) -> Path? {
        var free = -1
        for number in 0..<Limits.paths {
            guard let path = session.paths[number] else {
                if free < 0 || session.paths[free] != nil { free = number }
                continue
            }
            if path.uplink == uplink.number, path.remote == remote { return path }
            if free < 0,
                !path.isOpen,
                !path.signalPending,
                !uplinks.contains(where: { $0.uplink.number == path.uplink })
            {
                free = number
            }
        }
        guard free >= 0 else { return nil }
        if let old = session.paths[free] {
            old.uplink = uplink.number
            old.remote = remote
            return old
        }
        let path = Path(
            number: free, uplink: uplink.number, uplinkName: uplink.name, remote: remote,
            local: remote.address.isIPv4 ? .unspecifiedV4 : .unspecifiedV6,
            datagramLimit: uplink.datagramLimit, isValidated: true)
        session.paths[free] = path
        return path
    }

    func open(_ session: Session, _ path: Path, at now: Instant) {
        guard !path.isOpen else { return }
        path.isOpen = true
        path.isUntried = true
        path.hasAnswered = false
        path.isSilent = false
        restartSizes(session, path, at: now)
        path.incarnation &+= 1
        path.probe.isOutstanding = false
        path.probe.backoff = path.probeTimeout
        // A download that hangs on this path can't wait until the concentrator has asked its
        // address.
        path.paddingDue =
            session.wasReceiving(at: now) && !session.hasUsablePath ? Limits.wakePadding : 0
        setHealth(.suspect, session, path, at: now)
        raise(session, path, at: now)
        sendProbe(session, path, at: now)
    }

    /// The uplink is gone: its subflows end at both sides without waiting for a time-out.
    func closePaths(uplink: Int, at now: Instant) {
        guard let session = currentSession else { return }
        for case let path? in session.paths where path.uplink == uplink && path.isOpen {
            close(session, path, at: now)
        }
        schedule(session, at: now)
    }

    func close(_ session: Session, _ path: Path, at now: Instant) {
        path.isOpen = false
        path.isUntried = false
        path.isSilent = false
        path.leaveBy = .distantFuture
        path.smallCount = 0
        path.signalDue = false
        path.longQuestion = nil
        path.longAnswer = nil
        path.probe = ProbeState()
        setHealth(.lost, session, path, at: now)
        raise(session, path, at: now)
        wakeNext(session, at: now)
    }

    /// Says the path's new state to the peer.
    func raise(_ session: Session, _ path: Path, at now: Instant) {
        guard session.isInitiator else { return }
        path.generation &+= 1
        path.signalPending = true
        session.signals.renew()
        repeatSignals(session, at: now)
    }

    /// Makes the pending signals due on every live path, and sets the timer that does so again.
    func repeatSignals(_ session: Session, at now: Instant) {
        guard session.hasSignals else { session.signals.stop(); return }
        var timeout = Interval.max
        for case let path? in session.paths where path.isOpen {
            path.signalDue = true
            timeout = min(timeout, path.probeTimeout)
        }
        if timeout == .max { timeout = Limits.initialTimeout }
        session.signals.said(
            at: now, first: max(timeout, Limits.leastSignalInterval),
            longest: Limits.longestSignalInterval)
        arm(session, session.signals.at)
        markDirty(session)
    }

    /// Writes every pending signal that fits into `room` bytes; the bytes written.
    func writeSignals(_ session: Session, into out: UnsafeMutableRawPointer, room: Int) -> Int {
        if session.announcing != 0 { return writeAnnouncements(session, into: out, room: room) }
        var written = 0
        for case let path? in session.paths where path.signalPending {
            guard written + PathStateFrame.size <= room else { break }
            state(of: path, session).write(into: out + written)
            written += PathStateFrame.size
        }
        return written
    }

    /// Pending signals are about to leave in the next record on `path`.
    func signalsLeave(_ session: Session, on path: Path) {
        if let signalCarried {
            let removes = session.paths.contains {
                $0.map { $0.signalPending && !$0.isOpen } ?? false
            }
            signalCarried(UInt8(path.number), path.nextNumber, removes)
        }
        guard configuration.signaling == .once else { return }
        for case let path? in session.paths { path.signalPending = false }
        session.signals.stop()
    }

    private func state(of path: Path, _ session: Session) -> PathStateFrame {
        PathStateFrame(
            path: UInt8(path.number), generation: path.generation, incarnation: path.incarnation,
            isOpen: path.isOpen, isBackup: path.isBackup, isSilent: path.isSilent,
            mode: session.need.code)
    }

    // MARK: What arrives

    func receive(_ frame: PathStateFrame, _ session: Session, _ arrival: Path, at now: Instant) {
        if frame.isEcho {
            guard session.isInitiator,
                let path = session.paths[Int(frame.path)],
                path.generation == frame.generation
            else { return }
            path.signalPending = false
            noteEcho(session)
            return
        }
        guard !session.isInitiator else { return }
        echo(frame, session, arrival)
        apply(frame, session, arrival, at: now)
    }

    /// Echoed always, also what is old or known: the echo before may have been lost.
    func echo<Frame: SignalFrame>(_ frame: Frame, _ session: Session, _ arrival: Path) {
        guard configuration.signaling != .once, let out = arrival.append(frame.length) else {
            return
        }
        var echo = frame
        echo.isEcho = true
        echo.write(into: out)
        markDirty(session)
    }

    /// One signal less waits for its echo.
    func noteEcho(_ session: Session) {
        if !session.hasSignals { session.signals.stop() }
    }

    /// The concentrator takes the proxy's word, where it is newer than what it has.
    private func apply(
        _ frame: PathStateFrame, _ session: Session, _ arrival: Path, at now: Instant
    ) {
        if let known = session.paths[Int(frame.path)] {
            guard
                known.incarnation == 0 && known.generation == 0
                    || frame.generation.isNewer(than: known.generation)
            else {
                return
            }
        }
        let path: Path
        if let known = session.paths[Int(frame.path)] {
            path = known
        } else {
            // Its own first datagram will tell where it leads; until then the signal's path stands
            // in.
            path = Path(
                number: Int(frame.path), uplink: arrival.uplink, uplinkName: "",
                remote: arrival.remote,
                local: arrival.local,
                datagramLimit: Self.longestDatagram(isIPv4: arrival.remote.address.isIPv4),
                isValidated: false)
            session.paths[path.number] = path
        }
        if let mode = HandoverMode(code: frame.mode), mode != session.mode {
            session.mode = mode
            session.need = mode
            modeChanged(session, at: now)
        }
        let wasOpen = path.isOpen,
            isOther = path.generation != 0 && frame.incarnation != path.incarnation
        path.generation = frame.generation
        path.incarnation = frame.incarnation
        if wasOpen, !frame.isOpen || isOther {
            path.isOpen = false
            path.probe = ProbeState()
            path.longQuestion = nil
            path.longAnswer = nil
            restartSizes(session, path, at: now)
            // It comes back from another socket.
            forgetAddress(path)
            setHealth(.lost, session, path, at: now)
        }
        path.isBackup = frame.isBackup
        // By the path itself it comes first where only our direction is dead; with no other path it
        // would only stop what may yet arrive.
        if frame.isOpen, frame.isSilent, path.isOpen, path.health == .usable,
            path !== arrival || session.hasUsablePath(besides: path)
        {
            // A download's receiver hears first that its path fell silent; our own answers may be
            // on their way yet.
            path.probe.backoff = Limits.suspectProbe
            setHealth(.suspect, session, path, at: now)
            sendProbe(session, path, at: now)
        }
        guard frame.isOpen, !path.isOpen else { return }
        path.isOpen = true
        askAddress(session, path, at: now)
        // Heard on itself, it works; announced over another one, it has to show that first.
        setHealth(path === arrival ? .usable : .suspect, session, path, at: now)
        // Where it leads is known only once it was heard; then it is asked at once.
        if path.lastArrival > .zero { sendProbe(session, path, at: now) }
        schedule(session, at: now)
    }

    // MARK: Failed uplinks

    /// Tries uplinks again whose sending failed; no event may ever tell that they work.
    func retryUplinks(at now: Instant) {
        for i in uplinks.indices where !uplinks[i].isUp && uplinks[i].retryAt <= now {
            uplinks[i].retry()
            let uplink = uplinks[i].uplink
            if let session = currentSession { openPaths(session, uplink: uplink, at: now) }
            if currentSession == nil || handshake != nil { handshakeOn(uplink, at: now) }
        }
    }
}

/// A frame that is repeated until it comes back as an echo.
protocol SignalFrame {
    var isEcho: Bool { get set }
    /// Bytes on the wire.
    var length: Int { get }
    func write(into out: UnsafeMutableRawPointer)
}
extension PathStateFrame: SignalFrame { var length: Int { Self.size } }
extension AddressStateFrame: SignalFrame { var length: Int { size } }

import Buffers
import Measures
import Multipath
import Wire

/// Reliable address signals (section 5 of the paper): what the proxy says of its paths, sent at
/// once on all live ones, carried by every outgoing datagram with room, repeated on a doubling
/// timer until echoed.
///
/// What is said of a path, and what it means, is its `PathStatement`.
extension Session {
    // MARK: Paths come and go (proxy)

    /// Opens (again) the uplink's paths to each of the concentrator's addresses. `isBeginning`: the
    /// session's first path is about to be opened, where the welcome came from.
    func openPaths(uplink: Uplink, isBeginning: Bool = false, at now: Instant) {
        for remote in joinable(isBeginning: isBeginning)
        where remote.address.isIPv4 == uplink.isIPv4 {
            guard let path = pathFor(uplink, remote) else {
                host.emit(.pathLeftOut(session: slot, uplink: uplink.name, remote: remote))
                continue
            }
            prepare(path, uplink, at: now)
            // In single mode a further path stays silent until it is needed, or where it stands
            // higher.
            if modes.effective == .single, hasUsablePath, !(isInDoubt && uplink.cost == .usual),
                let active = selectActivePath(), rank(path) >= rank(active)
            {
                continue
            }
            open(path, at: now)
        }
    }

    /// The session's first path, where the welcome came from.
    func openFirstPath(
        uplink: Uplink, to remote: SocketAddress, at now: Instant
    ) {
        guard let path = pathFor(uplink, remote) else { return }
        prepare(path, uplink, at: now)
        open(path, at: now)
    }

    private func prepare(_ path: Path, _ uplink: Uplink, at now: Instant) {
        // Numbers are given again: what was measured belongs to another interface.
        if path.uplinkName != uplink.name { path.monitor.forgetRoundTrip(at: now) }
        path.uplinkName = uplink.name
        path.role.isReserve = uplink.isBackup
        path.role.isWarm = uplink.isWarm
        path.role.cost = uplink.cost
        renewCosts()
        path.role.isBackup = uplink.isBackup && modes.effective == .backup
    }

    /// The path of this pair, with the number it had before, or a new one, or one that nothing uses
    /// any more; nil where there are as many as there may be.
    private func pathFor(_ uplink: Uplink, _ remote: SocketAddress) -> Path? {
        let place = paths.place(from: uplink.number, to: remote) { number in
            host.proxy.uplinks.contains { $0.uplink.number == number }
        }
        switch place {
        case .existing(let path): return path
        case .abandoned(let path):
            path.address.uplink = uplink.number
            path.address.remote = remote
            return path
        case .empty(let id):
            let path = Path(
                id: id, uplinkName: uplink.name,
                address: PathAddress(
                    remote: remote,
                    local: remote.address.isIPv4 ? .unspecifiedV4 : .unspecifiedV6,
                    uplink: uplink.number),
                datagramLimit: uplink.datagramLimit, isValidated: true)
            paths[id] = path
            return path
        case nil: return nil
        }
    }

    func open(_ path: Path, at now: Instant) {
        guard !path.isOpen else { return }
        let isSmaller = restartSizes(path, at: now)
        if isSmaller { sendProbe(path, because: .routine, at: now) }
        path.statement.beginIncarnation()
        path.monitor.prepareOpening()
        // A download that hangs on this path can't wait until the concentrator has asked its
        // address.
        path.waiting.paddingDue =
            wasReceiving(at: now) && (!hasUsablePath || isInDoubt) ? Limits.wakePadding : 0
        enter(.untried(hasAnswered: false), path, at: now)
        signalState(of: path, at: now)
        sendProbe(path, because: .routine, at: now)
    }

    /// The uplink is gone: its subflows end at both sides without waiting for a time-out.
    func closePaths(uplink: UplinkNumber, at now: Instant) {
        for case let path? in paths where path.uplink == uplink && path.isOpen {
            use.noteMove(at: now)
            close(path, at: now)
        }
    }

    func close(_ path: Path, at now: Instant) {
        path.role.leaveBy = .distantFuture
        path.statement.suppress()
        path.waiting.removeAll()
        path.monitor.prepareClosing()
        enter(.closed, path, at: now)
        signalState(of: path, at: now)
        wakeNext(at: now)
    }

    /// Says the path's new state to the peer.
    func signalState(of path: Path, at now: Instant) {
        guard isInitiator else { return }
        path.statement.renew()
        raiseSignals(at: now)
    }

    /// There is something new to say.
    func raiseSignals(at now: Instant) { perform(signals.raised(signalCircumstances, at: now)) }

    /// What was not echoed is to be said again.
    func repeatSignals(at now: Instant) { perform(signals.due(signalCircumstances, at: now)) }

    private var signalCircumstances: ReliableSignals.Circumstances {
        var shortest: Interval?
        for case let path? in paths where path.isOpen {
            shortest = min(shortest ?? path.probeTimeout, path.probeTimeout)
        }
        return .init(isPending: hasSignals, shortestTimeout: shortest)
    }

    private func perform(_ action: ReliableSignals.Action) {
        guard case .say(let again) = action else { return }
        for case let path? in paths where path.isOpen { path.statement.say() }
        set(.signals, to: again)
        requestFlush()
    }

    /// Writes every pending signal that fits into `space` bytes; the bytes written.
    func writeSignals(into out: UnsafeMutableRawPointer, space: Int) -> Int {
        if addresses.announcing != 0 { return writeAnnouncements(into: out, space: space) }
        var written = 0
        for case let path? in paths where path.statement.isPending {
            guard written + PathStateFrame.size <= space else { break }
            state(of: path).write(into: out + written)
            written += PathStateFrame.size
        }
        return written
    }

    /// Pending signals are about to leave in the next record on `path`.
    func signalsLeave(on path: Path) {
        if let signalCarried = host.observers.signalCarried {
            let removes = paths.contains {
                $0.map { $0.statement.isPending && !$0.isOpen } ?? false
            }
            signalCarried(path.id, path.records.next, removes)
        }
        guard host.configuration.signaling == .once else { return }
        for case let path? in paths { path.statement.forgetPending() }
        stopSignals()
    }

    private func state(of path: Path) -> PathStateFrame {
        PathStateFrame(
            path: path.id.octet, generation: path.statement.generation,
            incarnation: path.statement.incarnation,
            isOpen: path.isOpen, isBackup: path.role.isBackup,
            isSilent: path.monitor.lifecycle.isReportedSilent,
            mode: modes.effective.code,
            cost: PathCost.code(path.role.cost, backlogTime: costs.backlogTime))
    }

    // MARK: What arrives

    func receive(_ frame: PathStateFrame, _ arrival: Path, at now: Instant) {
        if frame.isEcho {
            guard isInitiator,
                let path = paths[PathID(frame.path)],
                path.statement.echoed(frame.generation)
            else { return }
            noteEcho()
            return
        }
        guard !isInitiator else { return }
        echo(frame, arrival)
        apply(frame, arrival, at: now)
    }

    /// Echoed always, also what is old or known: the echo before may have been lost.
    func echo<Frame: SignalFrame>(_ frame: Frame, _ arrival: Path) {
        guard host.configuration.signaling != .once,
            let out = append(frame.length, to: arrival, work: ArrivalWork.state)
        else {
            return
        }
        var echo = frame
        echo.isEcho = true
        echo.write(into: out)
    }

    /// One signal less waits for its echo.
    func noteEcho() {
        signals.echoed(isPending: hasSignals)
        if !signals.isRunning { clear(.signals) }
    }

    func stopSignals() {
        signals.stop()
        clear(.signals)
    }

    /// The concentrator takes the proxy's word, where it is newer than what it has.
    private func apply(
        _ frame: PathStateFrame, _ arrival: Path, at now: Instant
    ) {
        let path: Path
        if let known = paths[PathID(frame.path)] {
            path = known
        } else {
            // Its own first datagram will tell where it leads; until then the signal's path stands
            // in.
            path = Path(
                id: PathID(frame.path), uplinkName: "", address: arrival.address,
                datagramLimit: DatagramSizes.maximumDatagram(
                    isIPv4: arrival.remote.address.isIPv4),
                isValidated: false)
            paths[path.id] = path
        }
        let here = PathStatement.Circumstances(
            isOpen: path.isOpen, isUsable: path.health == .usable, isHeard: path === arrival,
            hasOther: hasUsablePath(besides: path))
        guard let means = path.statement.take(frame, here) else { return }
        if let mode = HandoverMode(code: frame.mode), mode != modes.session {
            modes.adopt(mode)
            modeChanged(at: now)
        }
        if means.closes {
            path.monitor.prepareClosing()
            path.waiting.longProbe = nil
            path.waiting.longAnswer = nil
            enter(.closed, path, at: now)
            restartSizes(path, at: now)
            // It comes back from another socket.
            forgetAddress(path)
        }
        path.role.isBackup = frame.isBackup
        adoptCost(frame.cost, path, at: now)
        if means.fallsSilent {
            // A download's receiver hears first that its path fell silent; our own answers may be
            // on their way yet.
            path.monitor.probeSoon()
            fallSilent(path, at: now)
            sendProbe(path, because: .routine, at: now)
        }
        guard let state = means.opens else { return }
        enter(state, path, at: now)
        challengeAddress(path)
        // Where it leads is known only once it was heard; then it is asked at once.
        if path.monitor.lastArrival > .zero { sendProbe(path, because: .routine, at: now) }
    }
}

extension Endpoint {
    // MARK: Failed uplinks

    /// Tries uplinks again whose sending failed; no event may ever tell that they work.
    func retryUplinks(at now: Instant) {
        for i in host.proxy.uplinks.indices
        where !host.proxy.uplinks[i].isUp && host.proxy.uplinks[i].retryAt <= now {
            host.proxy.uplinks[i].retry()
            let uplink = host.proxy.uplinks[i].uplink
            openPaths(uplink: uplink, at: now)
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

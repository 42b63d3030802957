import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// Path validation at the concentrator (RFC 9000 sections 8.2 and 9.3): whoever copies or replays a
/// proxy's datagrams from elsewhere must not move its traffic, nor have a stranger flooded.
///
/// The newest authentic datagram of a path tells where the proxy may be now. A probe with an
/// unpredictable number asks there; traffic moves when the answer comes *from* there. Until then
/// the old address stays in use, and small things go to both. The new one gets at most three times
/// what came from it.
extension Session {
    /// An authentic datagram of `bytes` came from `source`.
    @inline(__always) func noteSource(
        _ source: PathAddress, bytes: Int, isNewest: Bool, _ path: Path, at now: Instant
    ) {
        if isInitiator {
            // The proxy keeps to the address it dialled, whatever a datagram says.
            if isNewest { path.address.local = source.local }
            return
        }
        if path.validation.isComplete, path.isAt(source) { return }
        weigh(source, bytes: bytes, isNewest: isNewest, path, at: now)
    }

    private func weigh(
        _ source: PathAddress, bytes: Int, isNewest: Bool, _ path: Path, at now: Instant
    ) {
        let wait = max(min(path.probeTimeout, Limits.maximumChallengeWait), Limits.suspectProbe)
        let means = path.validation.arrived(
            bytes, from: source, isNewest: isNewest, current: path.address, wait: wait, at: now
        ) {
            handshakes.welcomed.first { $0.address == source }
                ?? AddressCheck(address: source, nonce: host.random.nonce())
        }
        switch means {
        case .nothing: break
        case .heard(let asks):
            if !path.validation.isValidated { releaseHeld(path, at: now) }
            if asks { challengeAddress(path) }
        case .isNew(let leadsThere):
            if leadsThere { path.address = source }
            handshakes.welcomed.removeAll()
            challengeAddress(path)
        }
    }

    /// Asks the address that has yet to show that it receives.
    func challengeAddress(_ path: Path) {
        if path.isOpen, path.validation.ask() { requestFlush() }
    }

    /// A challenge came back.
    func receiveProof(
        _ frame: ProbeFrame, _ path: Path, _ arrival: borrowing Arrival, at now: Instant
    ) {
        guard
            let (proof, roundTrip) = path.validation.answered(
                frame.sentAt, from: arrival.source, at: now)
        else { return }
        switch proof {
        case .moves(let address): move(path, to: address, at: now)
        case .confirms: releaseHeld(path, at: now)
        }
        answered(roundTrip, path, at: now)
        if path.isOpen, path.mtu.asksBase(at: now), path.waiting.longProbe == nil {
            sendProbe(path, because: .routine, at: now)
        }
    }

    private func move(_ path: Path, to address: PathAddress, at now: Instant) {
        let isElsewhere = address.remote.address != path.remote.address
        host.emit(
            .pathMoved(
                session: slot, path: path.id, from: path.remote, to: address.remote))
        path.address = address
        if isElsewhere {
            path.monitor.forgetRoundTrip(at: now)
            restartSizes(path, at: now)
        }
        addressChanged(path, isElsewhere: isElsewhere, at: now)
    }

    /// The path was closed: what comes next comes from somewhere else.
    func forgetAddress(_ path: Path) {
        guard !isInitiator else { return }
        path.address = path.validation.close(at: path.address, nonce: host.random.nonce())
    }

    // MARK: What may be sent

    /// A datagram for an address that may get only so much.
    func commitUnvalidated(
        _ out: UnsafeMutableRawPointer, _ length: Int, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        switch path.validation.admit(length, &unvalidated, at: now) {
        case .leaves:
            batch.commit(
                lane: path.lane, length: length, uplink: path.uplink, remote: path.remote,
                local: path.address.local)
        case .waits:
            path.validation.hold(
                Array(UnsafeRawBufferPointer(start: out, count: length)), at: now)
        case .isLost: break
        }
    }

    /// Sends what was held back, as far as it may go now.
    private func releaseHeld(_ path: Path, at now: Instant) {
        for datagram in path.validation.takeHeld(&unvalidated, at: now) {
            host.post(
                Outgoing(
                    bytes: datagram.bytes, uplink: path.uplink, remote: path.remote,
                    local: path.address.local))
        }
    }

    /// The datagram just sent to the path's address goes to the new one, too, the same bytes: if
    /// the proxy is there, its acknowledgements must not stop while it is asked.
    func copyToCandidate(
        _ datagram: UnsafeMutableRawPointer, _ length: Int, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        guard let address = path.validation.copyAddress(length, &unvalidated, at: now),
            let out = batch.reserve(lane: path.lane)
        else { return }
        out.copyMemory(from: datagram, byteCount: length)
        path.validation.copied(length)
        batch.commit(
            lane: path.lane, length: length, uplink: address.uplink,
            remote: address.remote, local: address.local)
    }
}

extension Path {
    @inline(__always) func isAt(_ source: PathAddress) -> Bool { source == address }
}

extension KeyedRandom {
    /// For a challenge: 63 bits of chance.
    mutating func nonce() -> Int64 { Int64(bitPattern: next() | 1 << 63) }
}

import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// Where a path's datagrams come from, seen by the concentrator.
struct PathAddress: Equatable {
    var remote: SocketAddress
    /// The address of ours that was asked, and the socket.
    var local: IPAddress
    var uplink: UplinkNumber
}

/// An address that has not yet shown that it receives what is sent to it.
struct AddressCheck {
    let address: PathAddress
    /// What only who receives there can hand back; negative, so that it is no now.
    let nonce: Int64
    /// Bytes of UDP payload from there and to there.
    var received = 0
    var sent = 0
    var askedAt = Instant.zero
    var asks = 0
    /// The question goes with the next flush, in a datagram of its own.
    var isDue = false

    /// RFC 9000 section 8.1: three times what came from an address, until it is validated.
    func allows(_ bytes: Int) -> Bool { sent + bytes <= 3 * received }
    /// Data leaves room for the question, or it might never be asked again: what is held back takes
    /// all that acknowledgements allow.
    func allowsData(_ bytes: Int) -> Bool { allows(bytes + Limits.questionSpace) }
}

/// Whether the address where a path leads has shown that it receives (RFC 9000 section 8).
struct AddressValidation {
    /// Until it has, it gets three times what came from it.
    var isValidated: Bool
    /// An address that has not: the path's own, or where that has, a new one its datagrams come
    /// from.
    var check: AddressCheck?
    /// Sealed datagrams for an address that may get no more yet.
    var held: [HeldDatagram] = []
    init(isValidated: Bool) { self.isValidated = isValidated }
}

/// A sealed datagram for an address that may get no more yet.
struct HeldDatagram {
    var bytes: [UInt8]
    var since: Instant
}

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
        if path.validation.isValidated, path.validation.check == nil, path.isAt(source) { return }
        weigh(source, bytes: bytes, isNewest: isNewest, path, at: now)
    }

    private func weigh(
        _ source: PathAddress, bytes: Int, isNewest: Bool, _ path: Path, at now: Instant
    ) {
        if path.validation.isValidated, path.isAt(source) {
            // Newer than the other address: whoever was there, the proxy has not moved.
            if isNewest { path.validation.check = nil }
            return
        }
        if path.validation.check?.address == source {
            path.validation.check?.received += bytes
            if !path.validation.isValidated { releaseHeld(path, at: now) }
            askAgain(path, at: now)
        } else if isNewest {
            if !path.validation.isValidated {
                // Nothing better is known.
                path.address = source
            }
            var check =
                handshakes.welcomed.first { $0.address == source }
                ?? AddressCheck(address: source, nonce: host.random.nonce())
            check.received = bytes
            path.validation.check = check
            handshakes.welcomed.removeAll()
            askAddress(path, at: now)
        }
    }

    /// Asks the address that has yet to show that it receives.
    func askAddress(_ path: Path, at now: Instant) {
        guard path.isOpen, path.validation.check != nil else { return }
        path.validation.check?.isDue = true
        requestFlush()
    }

    /// Question or answer may have been lost: again when something comes from there.
    private func askAgain(_ path: Path, at now: Instant) {
        guard let check = path.validation.check, !check.isDue,
            now - check.askedAt
                >= max(min(path.probeTimeout, Limits.maximumQuestionWait), Limits.suspectProbe)
        else { return }
        askAddress(path, at: now)
    }

    /// A challenge came back.
    func receiveProof(_ frame: ProbeFrame, _ arrival: borrowing Arrival, at now: Instant) {
        let path = arrival.path
        guard let check = path.validation.check, check.nonce == frame.sentAt,
            check.address == arrival.source
        else { return }
        // Asked more than once, it can't be told which question it answers.
        let sample = check.asks == 1 ? now - check.askedAt : .zero
        path.validation.check = nil
        if path.validation.isValidated {
            move(path, to: check.address, at: now)
        } else {
            path.validation.isValidated = true
            releaseHeld(path, at: now)
        }
        answered(sample, path, at: now)
        if path.isOpen, path.mtu.asksBase(at: now), path.waiting.longQuestion == nil {
            sendProbe(path, at: now)
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
        guard !isInitiator, path.validation.isValidated else { return }
        path.validation.isValidated = false
        if path.validation.check == nil || path.validation.check?.address == path.address {
            path.validation.check = AddressCheck(address: path.address, nonce: host.random.nonce())
        }
        if let check = path.validation.check {
            path.address = check.address
        }
        path.validation.held.removeAll()
    }

    // MARK: What may be sent

    /// A datagram for an address that may get only so much.
    func commitUnproven(
        _ out: UnsafeMutableRawPointer, _ length: Int, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        // Nobody is known there: as good as lost.
        guard let check = path.validation.check else { return }
        if path.validation.held.isEmpty, check.allowsData(length), unproven.take(length, at: now) {
            path.validation.check?.sent += length
            batch.commit(
                lane: path.lane, length: length, uplink: path.uplink, remote: path.remote,
                local: path.address.local)
        } else if path.validation.held.count < Limits.heldDatagrams {
            path.validation.held.append(
                HeldDatagram(
                    bytes: Array(UnsafeRawBufferPointer(start: out, count: length)),
                    since: now))
        }
    }

    /// Sends what was held back, as far as it may go now.
    private func releaseHeld(_ path: Path, at now: Instant) {
        // What waited longer than an answer takes was given up and sent again meanwhile.
        path.validation.held.removeAll { now - $0.since > Limits.maximumHold }
        var sent = 0
        for datagram in path.validation.held.lazy.map(\.bytes) {
            if !path.validation.isValidated {
                guard path.validation.check?.allowsData(datagram.count) == true,
                    unproven.take(datagram.count, at: now)
                else { break }
                path.validation.check?.sent += datagram.count
            }
            host.post(
                Outgoing(
                    bytes: datagram, uplink: path.uplink, remote: path.remote,
                    local: path.address.local))
            sent += 1
        }
        path.validation.held.removeFirst(sent)
    }

    /// The datagram just sent to the path's address goes to the new one, too, the same bytes: if
    /// the proxy is there, its acknowledgements must not stop while it is asked.
    func copyToCandidate(
        _ datagram: UnsafeMutableRawPointer, _ length: Int, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        guard let check = path.validation.check, check.allowsData(length),
            unproven.take(length, at: now),
            let out = batch.reserve(lane: path.lane)
        else { return }
        out.copyMemory(from: datagram, byteCount: length)
        path.validation.check?.sent += length
        batch.commit(
            lane: path.lane, length: length, uplink: check.address.uplink,
            remote: check.address.remote, local: check.address.local)
    }
}

extension Path {
    @inline(__always) func isAt(_ source: PathAddress) -> Bool { source == address }
}

extension KeyedRandom {
    /// For a challenge: 63 bits of chance.
    mutating func nonce() -> Int64 { Int64(bitPattern: next() | 1 << 63) }
}

import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// Sizes of datagrams and of what fits into them, bytes.
enum DatagramSizes {
    /// UDP payload of an IP packet of 1,280 bytes, which every path must take (RFC 8200 section 5).
    static func baseDatagram(isIPv4: Bool) -> Int {
        Limits.basePacket - DatagramSizes.packetHeader(isIPv4: isIPv4)
    }
    /// Of an Ethernet's 1,500 bytes.
    static func maximumDatagram(isIPv4: Bool) -> Int { 1500 - packetHeader(isIPv4: isIPv4) }
    /// IP and UDP headers.
    static func packetHeader(isIPv4: Bool) -> Int { isIPv4 ? 28 : 48 }

    /// Connections of a session that are asked whether full segments arrive.
    static let connectionsAsked = 64

    /// What fits into a datagram beside the header, a bulk head and the tag.
    static func segmentSize(datagramLimit: Int) -> Int {
        datagramLimit - DatagramHeader.size - SealedSegment.paddedHead - RecordCipher.tagBytes
    }
}

/// How long datagrams may be on each path (`PathMTU`): its probes, and what follows from their
/// answers.
///
/// A path's first probe is as long as the base size, and the concentrator's answer to it, too: the
/// proxy uses a path for data once both directions are known to carry full datagrams.
extension Endpoint {
    /// The system would not send a datagram of `bytes` through the uplink to `remote`: its
    /// interface takes less.
    public func datagramTooLong(
        _ bytes: Int, uplink: UplinkNumber, remote: SocketAddress, at now: Instant
    ) {
        for case let session? in sessions {
            session.datagramTooLong(bytes, uplink: uplink, remote: remote, at: now)
        }
    }
}

extension Session {
    fileprivate func datagramTooLong(
        _ bytes: Int, uplink: UplinkNumber, remote: SocketAddress, at now: Instant
    ) {
        for case let path? in paths where path.uplink == uplink && path.remote == remote {
            let change = path.mtu.refused(bytes, at: now, timeout: roundTripBound(path))
            sizeChanged(change, path, at: now)
        }
    }

    /// Nothing is known of the path's sizes any more: it begins, or leads somewhere else. True
    /// where its datagrams are shorter from now on.
    @discardableResult
    func restartSizes(_ path: Path, at now: Instant) -> Bool {
        let isIPv4 = path.remote.address.isIPv4
        let ceiling =
            isInitiator
            ? host.proxy.uplinks.first { $0.uplink.number == path.uplink }?.uplink.datagramLimit
            : nil
        let change = path.mtu.restart(
            base: DatagramSizes.baseDatagram(isIPv4: isIPv4),
            ceiling: min(ceiling ?? .max, DatagramSizes.maximumDatagram(isIPv4: isIPv4)))
        sizeChanged(change, path, at: now)
        return change == .shrank
    }

    /// Subflows follow the size of their path's datagrams.
    func sizeChanged(_ change: PathMTU.Change, _ path: Path, at now: Instant) {
        if path.mtu.hasProbe { requestFlush() }
        bringForward(.paths, to: path.mtu.deadline)
        guard change != .none else { return }
        sizesChanged(path, isSmaller: change == .shrank, at: now)
        if change == .shrank, path.isOpen { sendProbe(path, because: .routine, at: now) }
    }

    /// A probe of the datagram size was answered.
    func sizeAnswered(_ frame: ProbeFrame, _ path: Path, at now: Instant) {
        let change = path.mtu.answered(
            size: frame.size, sentAt: Instant(nanoseconds: frame.sentAt), at: now,
            timeout: roundTripBound(path) * 2)
        sizeChanged(change, path, at: now)
    }

    func basePassed(_ path: Path, at now: Instant) {
        path.mtu.basePassed(at: now, timeout: roundTripBound(path) * 2)
        sizeChanged(.none, path, at: now)
    }

    /// Data goes unanswered on the path: it may be the length of its datagrams.
    func checkForBlackHole(_ path: Path, at now: Instant) {
        guard path.isOpen, path.mtu.checkForBlackHole(at: now, timeout: roundTripBound(path)) else {
            return
        }
        sizeChanged(.none, path, at: now)
        sendProbe(path, because: .routine, at: now)
    }

    /// The same where a subflow of the stream has timed out.
    func checkForBlackHole(_ stream: StreamHandle, at now: Instant) {
        guard let id = stream.connection.takeUnansweredPath(), let path = paths[id]
        else { return }
        checkForBlackHole(path, at: now)
    }

    /// Whether a connection knows of a full segment that left on the path since then that it has
    /// arrived. Of many connections the first ones are asked.
    private func hasDelivered(_ path: Path, since: Instant) -> Bool {
        let size = DatagramSizes.segmentSize(datagramLimit: path.mtu.current)
        return streams.prefix(DatagramSizes.connectionsAsked).contains {
            host.streams[$0]?.connection.hasDelivered(size, since: since, path: path.id) == true
        }
    }

    func advanceSize(_ path: Path, to now: Instant) {
        guard path.mtu.deadline <= now else { return }
        if let since = path.mtu.verifiesSince, hasDelivered(path, since: since) {
            path.mtu.fullPassed(at: now, timeout: roundTripBound(path) * 2)
            sizeChanged(.none, path, at: now)
            return
        }
        let isWanted = path.health == .usable && isActive(at: now)
        let change = path.mtu.advance(
            to: now, timeout: roundTripBound(path) * 2,
            answered: path.monitor.probe.lastAnswered,
            heard: path.monitor.lastArrival - path.roundTrip.minimum,
            isWanted: isWanted)
        if path.mtu.takesShort(), path.monitor.takesRoutineProbe {
            sendProbe(path, because: .routine, at: now)
        }
        sizeChanged(change, path, at: now)
    }

    // MARK: Sending

    /// Sends the probes and answers of a path that are datagrams of their own; false where the lane
    /// is full.
    func flushProbes(
        _ path: Path, _ batch: DatagramBatch, at now: Instant
    ) -> Bool {
        while path.mtu.hasProbe {
            guard let out = batch.reserve(lane: path.lane) else { return false }
            guard let size = path.mtu.takeProbe() else { return true }
            let probe = ProbeFrame(
                isAnswer: false, identifier: ProbeFrame.identifier(size: size),
                sentAt: now.nanoseconds)
            sealPadded(probe, size, out, path, batch, at: now)
        }
        for isAnswer in [true, false] {
            guard let frame = isAnswer ? path.waiting.longAnswer : path.waiting.longProbe else {
                continue
            }
            guard let out = batch.reserve(lane: path.lane) else { return false }
            if isAnswer { path.waiting.longAnswer = nil } else { path.waiting.longProbe = nil }
            sealPadded(frame, path.mtu.base, out, path, batch, at: now)
        }
        return true
    }

    private func sealPadded(
        _ frame: ProbeFrame, _ size: Int, _ out: UnsafeMutableRawPointer,
        _ path: Path, _ batch: DatagramBatch, at now: Instant
    ) {
        let space = size - DatagramHeader.size - RecordCipher.tagBytes
        let body = out + DatagramHeader.size
        frame.write(into: body)
        (body + ProbeFrame.size).initializeMemory(
            as: UInt8.self, repeating: FrameType.padding.rawValue,
            count: max(0, space - ProbeFrame.size))
        finish(out, plain: max(space, ProbeFrame.size), .empty, path, batch, at: now)
    }
}

extension Path {
    /// Payload bytes of segments on this path: announced, and at present.
    var segmentSizes: SegmentSizes {
        SegmentSizes(
            maximum: DatagramSizes.segmentSize(datagramLimit: mtu.ceiling),
            limit: DatagramSizes.segmentSize(datagramLimit: mtu.current))
    }
}

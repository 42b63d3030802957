import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// How long datagrams may be on each path (`PathMTU`): its probes, and what follows from their
/// answers.
///
/// A path's first probe is as long as the base size, and the concentrator's answer to it, too: the
/// proxy uses a path for data once both directions are known to carry full datagrams.
extension Endpoint {
    /// UDP payload of an IP packet of 1,280 bytes, which every path must take (RFC 8200 section 5).
    static func baseDatagram(isIPv4: Bool) -> Int {
        Limits.basePacket - Self.packetHeader(isIPv4: isIPv4)
    }
    /// Of an Ethernet's 1,500 bytes.
    static func longestDatagram(isIPv4: Bool) -> Int { 1500 - packetHeader(isIPv4: isIPv4) }
    /// IP and UDP headers.
    static func packetHeader(isIPv4: Bool) -> Int { isIPv4 ? 28 : 48 }

    /// Nothing is known of the path's sizes any more: it begins, or leads somewhere else.
    func restartSizes(_ session: Session, _ path: Path, at now: Instant) {
        let isIPv4 = path.remote.address.isIPv4
        let ceiling =
            isProxy ? uplinks.first { $0.uplink.number == path.uplink }?.uplink.datagramLimit : nil
        sizeChanged(
            path.mtu.restart(
                base: Self.baseDatagram(isIPv4: isIPv4),
                ceiling: min(ceiling ?? .max, Self.longestDatagram(isIPv4: isIPv4))),
            session, path, at: now)
    }

    /// Subflows follow the size of their path's datagrams.
    func sizeChanged(_ change: PathMTU.Change, _ session: Session, _ path: Path, at now: Instant) {
        if path.mtu.hasProbe { markDirty(session) }
        arm(session, path.mtu.deadline)
        guard change != .none else { return }
        sizesChanged(session, path, isSmaller: change == .shrank, at: now)
        if change == .shrank, path.isOpen { sendProbe(session, path, at: now) }
    }

    /// A probe of the datagram size was answered.
    func sizeAnswered(_ frame: ProbeFrame, _ session: Session, _ path: Path, at now: Instant) {
        let change = path.mtu.answered(
            size: frame.size, sentAt: Instant(nanoseconds: frame.sentAt), at: now,
            timeout: roundTripBound(session, path) * 2)
        sizeChanged(change, session, path, at: now)
    }

    func basePassed(_ session: Session, _ path: Path, at now: Instant) {
        path.mtu.basePassed(at: now, timeout: roundTripBound(session, path) * 2)
        sizeChanged(.none, session, path, at: now)
    }

    /// Data goes unanswered on the path: it may be the length of its datagrams.
    func doubtSize(_ session: Session, _ path: Path, at now: Instant) {
        guard path.isOpen, path.mtu.doubt(at: now, timeout: roundTripBound(session, path)) else {
            return
        }
        sizeChanged(.none, session, path, at: now)
        sendProbe(session, path, at: now)
    }

    /// The same where a subflow of the stream has timed out.
    func doubtSize(_ stream: StreamHandle, at now: Instant) {
        guard let number = stream.connection.takeUnansweredPath(), stream.session >= 0,
            let session = sessions[stream.session], number < session.paths.count,
            let path = session.paths[number]
        else { return }
        doubtSize(session, path, at: now)
    }

    func advanceSize(_ session: Session, _ path: Path, to now: Instant) {
        guard path.mtu.deadline <= now else { return }
        let isWanted = path.health == .usable && session.isActive(at: now)
        let change = path.mtu.advance(
            to: now, timeout: roundTripBound(session, path) * 2,
            answered: path.probe.lastAnswer, heard: path.lastArrival - path.leastRTT,
            isWanted: isWanted)
        if path.mtu.takesShort(), path.health == .usable, !path.probe.isOutstanding {
            path.probe.needed = 2
            sendProbe(session, path, at: now)
        }
        sizeChanged(change, session, path, at: now)
    }

    /// The system would not send a datagram of `bytes` through the uplink to `remote`: its
    /// interface takes less.
    public func datagramTooLong(_ bytes: Int, uplink: Int, remote: SocketAddress, at now: Instant) {
        clock = now
        for case let session? in sessions {
            for case let path? in session.paths where path.uplink == uplink && path.remote == remote
            {
                let change = path.mtu.refused(
                    bytes, at: now, timeout: roundTripBound(session, path))
                sizeChanged(change, session, path, at: now)
            }
        }
    }

    // MARK: Sending

    /// Sends the probes and answers of a path that are datagrams of their own; false where the lane
    /// is full.
    func flushProbes(
        _ session: Session, _ path: Path, _ batch: DatagramBatch, at now: Instant
    ) -> Bool {
        while path.mtu.hasProbe {
            guard let out = batch.reserve(lane: path.lane) else { return false }
            guard let size = path.mtu.takeProbe() else { return true }
            let probe = ProbeFrame(
                isAnswer: false, identifier: ProbeFrame.identifier(size: size),
                sentAt: now.nanoseconds)
            sealPadded(probe, size, out, session, path, batch, at: now)
        }
        for isAnswer in [true, false] {
            guard let frame = isAnswer ? path.longAnswer : path.longQuestion else { continue }
            guard let out = batch.reserve(lane: path.lane) else { return false }
            if isAnswer { path.longAnswer = nil } else { path.longQuestion = nil }
            sealPadded(frame, path.mtu.base, out, session, path, batch, at: now)
        }
        return true
    }

    private func sealPadded(
        _ frame: ProbeFrame, _ size: Int, _ out: UnsafeMutableRawPointer,
        _ session: Session, _ path: Path, _ batch: DatagramBatch, at now: Instant
    ) {
        let room = size - DatagramHeader.size - RecordCipher.tagBytes
        let body = out + DatagramHeader.size
        frame.write(into: body)
        (body + ProbeFrame.size).initializeMemory(
            as: UInt8.self, repeating: FrameType.padding.rawValue,
            count: max(0, room - ProbeFrame.size))
        finish(out, plain: max(room, ProbeFrame.size), .empty, session, path, batch, at: now)
    }
}

extension Path {
    /// Payload bytes of segments on this path: announced, and at present.
    var segmentSizes: SegmentSizes {
        SegmentSizes(
            most: Endpoint.segmentSize(datagramLimit: mtu.ceiling),
            limit: Endpoint.segmentSize(datagramLimit: mtu.current))
    }
}

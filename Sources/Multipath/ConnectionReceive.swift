import Buffers
import Crypto
import Measures
import Subflow
import Wire

/// A segment's way in: keys, the subflow's TCP, the data acknowledgement, the text to its data
/// offset.
extension Connection {
    /// Where a segment's text belongs: found before the TCP counts it as received, since what has
    /// no mapping must be repeated by the peer.
    private enum Placement {
        /// No mapping, or one that can't be.
        case none
        /// Mapped where the window or the memory does not reach: counts as lost.
        case declined
        /// The whole text starts at this data offset.
        case whole(UInt64)
        /// Pieces by the stored mappings.
        case byMappings
        /// Into mappings that count only when their checksum is right (raw IP).
        case unchecked
    }

    /// Takes one segment of a subflow; whatever it says, only what its checks allow happens.
    public func receive(
        _ segment: borrowing Segment, payload: UnsafeRawBufferPointer,
        subflow index: SubflowIndex, at now: Instant
    ) {
        guard let member = member(index) else { return }
        inputChanged(at: now)
        if framing.mayBeForged, !isCredible(segment, count: payload.count, member, at: now) {
            return receiveWithoutOptions(segment, count: payload.count, member, at: now)
        }
        let present = segment.options.present
        if present.contains(.fastClose) { return fastClose(by: segment, on: member, at: now) }
        if present.contains(.multipathCapable) { takeKeys(segment, member: member) }
        guard !hasFailed || lifecycle.isAborting else { return }
        if framing.mayBeChanged {
            noticeFallback(segment, payloadLength: payload.count, member: member)
        }
        let placement =
            payload.isEmpty ? .none : placement(of: segment, count: payload.count, member: member)
        let takesText = payload.isEmpty || mayBePlaced(placement, member)
        if framing.mayBeChanged { noteUnmapped(segment, count: payload.count, member, at: now) }
        let arrival = member.tcp.receive(
            segment, payloadLength: payload.count, textIsUsable: takesText,
            receiveWindow: subflowWindow, at: now)
        if arrival.wasReset { return wasReset(member, segment, at: now) }
        if arrival.isUnacceptable { return }
        if arrival.established { report(lifecycle.established()) }
        takeJoin(segment, member: member, at: now)
        if !arrival.text.isEmpty {
            turn.lastDataMember = index
            member.lastText = now
            traffic.lastPayload = now
            placeText(payload, arrival.text, placement, segment, member)
        }
        takeSignals(segment, arrival, member: member, at: now)
        sender.heard(
            minimumRTT: member.tcp.minimumRTT,
            saysWhatCame: member.health == .suspect && member.finalAcknowledgement.hasCome,
            at: now)
        // A subflow's own acknowledgements, too, let go of bytes that it alone still held.
        if arrival.newlyDelivered > 0, sender.ring.base < sender.acknowledged { dataAcknowledged() }
        finish(after: arrival, on: member, at: now)
    }

    /// Whether text with this place counts as received; what does not is counted.
    @inline(__always)
    private func mayBePlaced(_ placement: Placement, _ member: MemberSubflow) -> Bool {
        switch placement {
        case .none:
            // Behind a reset that is yet to leave the peer can't know better.
            if member.ending.resetReason == nil { traffic.counted.dssErrors += 1 }
            return false
        case .declined:
            traffic.counted.segmentsDeclined += 1
            return false
        case .whole, .byMappings, .unchecked: return true
        }
    }

    /// What an accepted segment says beside its text: priority, data acknowledgement and window,
    /// addresses on raw IP.
    @inline(__always)
    private func takeSignals(
        _ segment: borrowing Segment, _ arrival: Arrival, member: MemberSubflow, at now: Instant
    ) {
        let present = segment.options.present
        if present.contains(.priority) {
            member.priority.byPeer = segment.options.priority.backup
        }
        if framing.mayBeChanged {
            takeRawIPOptions(segment, finished: arrival.finished, member: member, at: now)
            noteBareAcknowledgement(segment, delivered: arrival.newlyDelivered, member)
        }
        if present.contains(.dss) {
            // RFC 8684 section 3.7: behind an infinite mapping a DATA_ACK may be wrong.
            if !framing.mayBeChanged || !sendsPlain {
                takeDSS(of: segment, window: member.tcp.peerWindow, member: member, at: now)
            }
        } else if present.contains(.multipathCapable), segment.flags.contains(.ack) {
            // In the handshake (SYN/ACK, third packet) the window counts from the first byte. That
            // of a SYN/ACK isn't scaled, and Linux later keeps to what its scale can say of it, up
            // to a step less.
            let step =
                segment.flags.contains(.syn) && framing.limitsSubflowsByWindow
                ? member.tcp.peerWindowStep : 1
            sender.openWindow(
                from: sender.sequence(at: 0), bytes: member.tcp.peerWindow / step * step)
        }
    }

    /// What of the connection or of the subflow ends with a segment.
    @inline(__always)
    private func finish(after arrival: Arrival, on member: MemberSubflow, at now: Instant) {
        closeIfFinished(at: now)
        // RFC 8684 section 3.3.3: a FIN ends the subflow only
        if arrival.finished, raw.plain == nil,
            !framing.keepsLastSubflow || livingSubflows > 1 || isFinished
        {
            member.ending.hasBegun = true
            member.tcp.close()
        }
        if member.ending.confirmsStreams, member.tcp.finAcknowledged { confirmEnd(at: now) }
        if !member.isAlive { retire(member, at: now) }
    }

    /// How far ahead of what it expects a subflow takes text: in a session at least a first flight,
    /// sent before the window was known, and as much again of what other subflows owe.
    private var subflowWindow: Int {
        let window = 2 * configuration.receiveLimit
        return max(window, 2 * Int(framing.earlyWindow))
    }

    // MARK: Text

    private func placement(
        of segment: borrowing Segment, count: Int, member: MemberSubflow
    ) -> Placement {
        let position = segment.flags.contains(.syn) ? 1 : member.relativeReceive(segment.sequence)
        if framing.mayBeChanged,
            let found = rawPlacement(of: segment, position: position, count: count, member: member)
        {
            return found
        }
        if segment.options.present.contains(.dss),
            let mapping = segment.options.dss.mapping,
            mapping.length > 0
        {
            guard let offset = dataOffset(of: mapping.dataSequence, width: mapping.width) else {
                return .none
            }
            let fin = segment.options.dss.dataFin ? 1 : 0
            let length = Int(mapping.length) - fin
            if mapping.subflowSequence == position, length == count {
                return whole(offset, count)
            }
            guard length > 0 else { return .none }
            forgetMappings(of: member)
            guard
                member.mappings.insert(
                    start: mapping.subflowSequence, length: UInt32(length),
                    offset: offset)
            else {
                reset(member, reason: MPReset.multipathSpecific)
                return .none
            }
        } else if segment.options.present.contains(.multipathCapable),
            let length = segment.options.multipathCapable.dataLength, length > 0,
            peer.firstSequence != nil
        {
            // RFC 8684 section 3.1: the first data is mapped from IDSN + 1 by MP_CAPABLE itself.
            forgetMappings(of: member)
            guard member.mappings.insert(start: 1, length: UInt32(length), offset: 0) else {
                return .none
            }
        }
        return mapped(from: position, count: count, member: member)
    }

    private func whole(_ offset: UInt64, _ count: Int) -> Placement {
        let end = offset &+ UInt64(count)
        if receiver.accepts(offset, end) { return .whole(offset) }
        return receiver.isBeyondFin(end) ? .none : .declined
    }

    /// What lies below the next number expected needs no mapping any more, and mappings are told
    /// apart within 2^31 of it.
    private func forgetMappings(of member: MemberSubflow) {
        guard member.tcp.state != .synSent else { return }
        member.mappings.removeBelow(member.relativeReceive(member.tcp.receiveNext))
    }

    /// Plain TCP, an infinite mapping, or checksums decide first; nil: as inside a session.
    private func rawPlacement(
        of segment: borrowing Segment, position: UInt32, count: Int,
        member: MemberSubflow
    ) -> Placement? {
        if segment.options.present.contains(.dss), let mapping = segment.options.dss.mapping,
            mapping.length == 0
        {
            takeInfiniteMapping(mapping, member: member)
        }
        if let offset = plainOffset(of: segment, member: member) {
            return whole(offset, count)
        }
        guard member.ending.resetReason == nil, member.kind == .initial || member.proof.isVerified
        else {
            return Placement.none
        }
        guard checksumIsAsAgreed(segment, member) else { return Placement.none }
        guard raw.usesChecksums else { return nil }
        guard noteUnchecked(segment, member: member),
            isUncheckedMapped(from: position, count: count, member: member)
        else { return Placement.none }
        return .unchecked
    }

    private func mapped(from start: UInt32, count: Int, member: MemberSubflow) -> Placement {
        var position = start, left = count
        for _ in 0..<ReceiveMappings.maximumPerSegment where left > 0 {
            guard let (offset, n) = member.mappings.locate(position) else { return .none }
            let step = min(n, left)
            assert(step > 0)
            let piece = whole(offset, step)
            guard case .whole = piece else { return piece }
            position = position &+ UInt32(step)
            left -= step
        }
        return left == 0 ? .byMappings : .none
    }

    private func placeText(
        _ payload: UnsafeRawBufferPointer, _ text: Range<Int>, _ placement: Placement,
        _ segment: borrowing Segment, _ member: MemberSubflow
    ) {
        let bytes = UnsafeRawBufferPointer(rebasing: payload[text])
        switch placement {
        case .none, .declined: return
        case .unchecked:
            let base = member.relativeReceive(segment.sequence)
            placeUnchecked(bytes, position: base &+ UInt32(text.lowerBound), member: member)
            member.raw.unchecked.removeAll {
                let next = member.relativeReceive(member.tcp.receiveNext)
                return Int32(bitPattern: $0.start &+ UInt32($0.bytes.count) &- next) <= 0
            }
        case .whole(let offset):
            place(bytes, at: offset &+ UInt64(text.lowerBound), member: member, path: member.path)
        case .byMappings:
            let base = segment.flags.contains(.syn) ? 1 : member.relativeReceive(segment.sequence)
            var done = 0
            while done < bytes.count,
                let (offset, n) = member.mappings.locate(base &+ UInt32(text.lowerBound + done))
            {
                let step = min(n, bytes.count - done)
                place(
                    UnsafeRawBufferPointer(rebasing: bytes[done..<(done + step)]), at: offset,
                    member: member, path: member.path)
                done += step
            }
            member.mappings.removeBelow(member.relativeReceive(member.tcp.receiveNext))
        }
    }

    func place(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, member: MemberSubflow, path: PathID
    ) {
        countReceived(bytes.count, path: path)
        traffic.counted.bytesReceived += bytes.count
        if receiver.place(bytes, at: offset) { report(.readable) }
    }

    /// The data offset of a peer's data sequence number; nil where it is before the stream, further
    /// ahead than `farthestOffset`, or unknown. Whatever
    /// offset comes from a peer comes from here, so that sums with it don't overflow.
    func dataOffset(of number: DataSequence, width: DSS.Width) -> UInt64? {
        guard let first = peer.firstSequence else { return nil }
        let expected = first + Int(receiver.next)
        let full = width == .four ? expected.nearest(low: number.low32) : number
        let offset = first.distance(to: full)
        return offset >= 0 && offset <= Int(receiver.next) + Self.farthestOffset
            ? UInt64(offset) : nil
    }
    /// How far an offset may lie ahead of the next byte expected: four times the largest window
    /// (2^30 bytes, RFC 7323 section 2.3).
    private static let farthestOffset = 1 << 32

    // MARK: DSS

    /// Of a segment that has a DSS option.
    func takeDSS(
        of segment: borrowing Segment, window: Int, member: MemberSubflow, at now: Instant
    ) {
        if let number = segment.options.dss.acknowledgement {
            let base = sender.sequence(at: sender.acknowledged)
            let full =
                segment.options.dss.acknowledgementWidth == .four
                ? base.nearest(low: number.low32) : number
            let before = sender.acknowledged, finBefore = sender.isFinAcknowledged
            if sender.acknowledge(full) {
                let edge = sender.edge
                sender.openWindow(from: full, bytes: window)
                if sender.edge > edge { writer.persist.reset(); timers.clear(.persist) }
                if sender.acknowledged > before || sender.isFinAcknowledged != finBefore {
                    dataAcknowledged()
                }
            } else {
                traffic.counted.dssErrors += 1
            }
        }
        if segment.options.dss.dataFin,
            let mapping = segment.options.dss.mapping,
            let start = dataOffset(of: mapping.dataSequence, width: mapping.width)
        {
            // The mapping's length counts the DATA_FIN as its last number (RFC 8684 section 3.3.3).
            if receiver.finish(at: start &+ UInt64(max(1, mapping.length)) &- 1) {
                report(.readable)
            } else {
                traffic.counted.dssErrors += 1
            }
            member.tcp.requestAcknowledgement()
        }
    }

    func dataAcknowledged() {
        discardAcknowledged()
        if writer.isWaiting { report(.writable); writer.isWaiting = false }
    }

    /// Bytes below the DATA_ACK stay while a living subflow may have to repeat them, so that a
    /// retransmission carries the same bytes; a silent path holds at most this many, any at most
    /// `sendLimit`, which is half the ring: what one path still owes must never stop the writer.
    /// Only the first subflow holds all it needs until the keys have arrived, since without it no
    /// other can be joined.
    static let maximumHeldForSuspect = 4 << 20

    func discardAcknowledged() {
        var lowest = UInt64.max
        for case let member? in members where member.isAlive {
            let hold = member.lowestHeldOffset()
            let maximum =
                member.health != .usable || member.isStale
                ? min(Self.maximumHeldForSuspect, configuration.sendLimit / 2)
                : configuration.sendLimit
            if hold < sender.acknowledged,
                sender.acknowledged - hold > UInt64(maximum),
                !mayMove(member)
            {
                continue
            }
            lowest = min(lowest, hold)
        }
        sender.discard(heldFrom: lowest)
    }

}

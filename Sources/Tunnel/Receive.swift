import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// A record's way in: header, session, keys, replay window, decryption in place, then frame by
/// frame.
extension Endpoint {
    func receiveRecord(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer,
        from source: PathAddress, at now: Instant
    ) {
        if let session = sessions[SessionSlot(of: header.session)],
            session.indices.local == header.session
        {
            let verdict = session.receive(header, datagram, from: source, at: now)
            received(verdict, by: session, at: now)
        } else if let handshake = listener?.pending[header.session] {
            guard let record = handshake.open(header, datagram, host, at: now),
                let session = confirm(handshake, at: now)
            else { return }
            let path = session.path(of: record, from: source)
            let end = session.take(record, on: path, from: source, at: now)
            received(.authentic(end), by: session, at: now)
        } else {
            host.counters.unknownSession += 1
        }
    }

    /// What follows for the session that a record was for.
    @inline(__always)
    private func received(_ verdict: RecordVerdict, by session: Session, at now: Instant) {
        guard case .authentic(let end) = verdict else { return }
        sessions.mix.note(SessionSlot(of: session.indices.local), at: now)
        if let end {
            self.end(session, end, at: now)
            // Another process serves there already: those that come next need not wait.
            if isProxy, currentSession == nil, end == .closed(.moved) {
                beginHandshake(at: now)
            }
        } else if host.proxy.isHandshaking, session === currentSession, !session.isGoingAway,
            !session.lacksPath(at: now)
        {
            // The session lives: whoever asked for another may stop. Not before it is known what
            // the record has healed.
            endHandshake()
        }
    }
}

/// What a datagram's record is to its session.
enum RecordVerdict {
    /// Not the peer's, or it came before.
    case refused
    /// It was read; why the peer closes the session, where it does.
    case authentic(SessionEnd?)
}

/// A record that was opened in place: its header, its whole number, and its plain frames.
struct OpenRecord: ~Copyable {
    let header: DatagramHeader
    let number: UInt64
    let frames: UnsafeRawBufferPointer
    /// Of the whole datagram.
    let length: Int
    /// Its keys are those that the peer changes over to.
    let isOfNextEpoch: Bool

    /// Opens it, as number `number` on its path; nil where it is not authentic.
    @inline(__always) fileprivate init?(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer, number: UInt64,
        keys: EpochKeys, isOfNextEpoch: Bool, _ host: SessionHost, at now: Instant
    ) {
        let record = UnsafeMutableRawBufferPointer(rebasing: datagram[DatagramHeader.size...])
        guard now - keys.since < host.configuration.keyDeath + Limits.keyGrace,
            let length = keys.open(
                path: UInt32(header.path), packetNumber: number,
                associated: UnsafeRawBufferPointer(rebasing: datagram[..<DatagramHeader.size]),
                record: record)
        else {
            host.counters.notAuthentic += 1
            return nil
        }
        self.header = header
        self.number = number
        frames = UnsafeRawBufferPointer(start: record.baseAddress, count: length)
        self.length = datagram.count
        self.isOfNextEpoch = isOfNextEpoch
    }
}

extension PendingHandshake {
    /// Opens a datagram's record; nil where it is not the peer's.
    fileprivate func open(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer, _ host: SessionHost,
        at now: Instant
    ) -> OpenRecord? {
        guard datagram.count >= DatagramHeader.size + RecordCipher.tagBytes,
            PathTable.contains(header.path), header.epoch == keys.epoch & 3
        else {
            host.counters.malformed += 1
            return nil
        }
        let number = (1 as UInt64).nearestPacketNumber(low: header.number)
        return OpenRecord(
            header, datagram, number: number, keys: keys, isOfNextEpoch: false, host, at: now)
    }
}

/// What is known of the record that is being read, beside its frames.
struct Arrival {
    /// The record's number on its path.
    let number: UInt64
    let source: PathAddress
    /// Bytes of the whole datagram.
    let length: Int
    /// Changes of paths and addresses that it has announced so far.
    var states = 0
    /// SYNs of subflows that are not known.
    var openings = 0
    /// What its frames have cost so far.
    var work = ArrivalWork()
    /// The connection of its latest segment.
    var latestStream: StreamSlot?
    /// Paths that end or are silent: looked at last.
    var endings: [PathStateFrame] = []
    /// The peer closes the session, and why.
    var end: SessionEnd?
}

extension Session {
    /// Opens a datagram's record and reads it.
    func receive(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer,
        from source: PathAddress, at now: Instant
    ) -> RecordVerdict {
        guard datagram.count >= DatagramHeader.size + RecordCipher.tagBytes,
            PathTable.contains(header.path),
            let epoch = keys.forOpening(epochBits: header.epoch)
        else {
            host.counters.malformed += 1
            return .refused
        }
        let known = paths[PathID(header.path)]
        // The proxy gives the paths their numbers; the concentrator learns them from authentic
        // records.
        guard known != nil || !isInitiator else {
            host.counters.malformed += 1
            return .refused
        }
        let number = ((known?.records.replay.highest ?? 0) &+ 1).nearestPacketNumber(
            low: header.number)
        if let known, !known.records.replay.isFresh(number) {
            host.counters.replayed += 1
            return .refused
        }
        guard
            let record = OpenRecord(
                header, datagram, number: number, keys: epoch,
                isOfNextEpoch: keys.isNext(epoch), host, at: now)
        else { return .refused }
        guard let known else {
            let opened = path(of: record, from: source)
            return .authentic(take(record, on: opened, from: source, at: now))
        }
        return .authentic(take(record, on: known, from: source, at: now))
    }

    /// Reads an authentic record; why the peer closes the session, where it does.
    fileprivate func take(
        _ record: borrowing OpenRecord, on path: Path, from source: PathAddress, at now: Instant
    ) -> SessionEnd? {
        let isNewest = record.number > path.records.replay.highest
        guard path.records.replay.accept(record.number) else {
            host.counters.replayed += 1; return nil
        }
        if record.isOfNextEpoch { adoptNextKeys(at: now) }
        noteSource(source, bytes: record.length, isNewest: isNewest, path, at: now)
        path.traffic.arrived(record.length, highest: path.records.replay.highest, at: now)
        noteArrival(path, at: now)
        var arrival = Arrival(number: record.number, source: source, length: record.length)
        readFrames(record.frames, path, &arrival, at: now)
        return arrival.end
    }

    /// The path of a record's number, which opens with its first one.
    fileprivate func path(of record: borrowing OpenRecord, from source: PathAddress) -> Path {
        if let known = paths[PathID(record.header.path)] { return known }
        let path = Path(
            id: PathID(record.header.path), uplinkName: "", address: source,
            datagramLimit: DatagramSizes.maximumDatagram(isIPv4: source.remote.address.isIPv4),
            isValidated: false)
        paths[path.id] = path
        return path
    }

    /// Frames until the end, or until one whose length is not known: then the rest means nothing.
    /// One that is not understood is passed over. That a path is gone or silent counts last: its
    /// subflows' final ACKs and resets come with the signal.
    private func readFrames(
        _ plain: UnsafeRawBufferPointer, _ path: Path, _ arrival: inout Arrival, at now: Instant
    ) {
        readInOrder(plain, path, &arrival, at: now)
        for ending in arrival.endings where !isClosing { receive(ending, path, at: now) }
    }

    private func readInOrder(
        _ plain: UnsafeRawBufferPointer, _ path: Path, _ arrival: inout Arrival, at now: Instant
    ) {
        var rest = plain
        while let first = rest.first {
            // Most bulk segments have one byte of it before them.
            if first == FrameType.padding.rawValue {
                rest = UnsafeRawBufferPointer(rebasing: rest[1...])
                continue
            }
            let isSegment = first & SealedSegment.frameBit != 0
            guard let extent = isSegment ? SealedSegment.extent(rest) : FrameType.extent(rest)
            else {
                host.counters.badFrames += 1
                return
            }
            let frame = UnsafeRawBufferPointer(rebasing: rest[..<extent])
            if isSegment {
                if !readSegment(frame, path, &arrival, at: now) { host.counters.badSegments += 1 }
            } else {
                if !readFrame(frame, path, &arrival, at: now) { host.counters.badFrames += 1 }
            }
            if arrival.work.isExhausted {
                host.counters.tooMuchWork += 1
                return
            }
            if isClosing { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[extent...])
        }
    }

    /// What a frame costs that is no segment; nil where that follows from what it says.
    private func cost(of type: FrameType?, _ arrival: borrowing Arrival) -> Int? {
        switch type {
        case .pathState, .pathStateEcho, .addressState, .addressStateEcho:
            arrival.states < Limits.statesPerDatagram ? ArrivalWork.state : ArrivalWork.frame
        case .subflowReset, .flowAcknowledged, .flowClosed, .flowUnknown, nil: nil
        case .joinRequest: ArrivalWork.joinRequest
        case .padding, .probe, .probeAnswer, .rekey, .rekeyAnswer, .close,
            .datagramReport, .programVersion, .goAway, .goAwayAnswer:
            ArrivalWork.frame
        }
    }

    /// Of a datagram, as far as it can be read, with those that wait for it.
    private func cost(of frame: DatagramFrame?, type: UInt8) -> Int {
        guard FrameType.datagrams.contains(type) else { return ArrivalWork.frame }
        return DatagramFrame.cost(type) + (frame.map(datagrams.hiddenCost) ?? 0)
    }

    /// False where the frame is malformed or of an unknown type.
    private func readFrame(
        _ bytes: UnsafeRawBufferPointer, _ path: Path, _ arrival: inout Arrival, at now: Instant
    ) -> Bool {
        let type = FrameType(rawValue: bytes[0])
        if let cost = cost(of: type, arrival), !arrival.work.affords(cost) { return true }
        switch type {
        case .padding:
            break
        case .probe, .probeAnswer:
            guard let frame = ProbeFrame.read(bytes) else { return false }
            if frame.isAnswer, frame.isChallenge {
                receiveProof(frame, path, arrival, at: now)
            } else {
                receive(frame, path, arrival, at: now)
            }
        case .pathState, .pathStateEcho:
            arrival.states += 1
            guard let frame = PathStateFrame.read(bytes), PathTable.contains(frame.path),
                arrival.states <= Limits.statesPerDatagram
            else { return false }
            if !frame.isEcho, !frame.isOpen || frame.isSilent {
                arrival.endings.append(frame)
            } else {
                receive(frame, path, at: now)
            }
        case .rekey, .rekeyAnswer:
            guard let frame = RekeyFrame.read(bytes) else { return false }
            receive(frame, path, at: now)
        case .close:
            guard let frame = CloseFrame.read(bytes) else { return false }
            arrival.end = .closed(frame.reason)
            life = .closing
        case .joinRequest:
            guard let frame = JoinRequestFrame.read(bytes) else { return false }
            receive(frame, &arrival, at: now)
        case .subflowReset:
            let frame = SubflowResetFrame.read(bytes)
            guard arrival.work.affords(frame.map(cost(of:)) ?? ArrivalWork.frame) else {
                return true
            }
            guard let frame else { return false }
            receive(frame, at: now)
        case .addressState, .addressStateEcho:
            arrival.states += 2
            guard let frame = AddressStateFrame.read(bytes),
                arrival.states <= Limits.statesPerDatagram
            else { return false }
            receive(frame, path, at: now)
        case .flowAcknowledged, .flowClosed, .flowUnknown:
            let frame = FlowFrame.read(bytes)
            let cost = frame.flatMap(datagrams.costOfEnd) ?? ArrivalWork.flowWord
            guard arrival.work.affords(cost) else { return true }
            guard let frame else { return false }
            receive(frame, at: now)
        case .datagramReport:
            guard let frame = DatagramReportFrame.read(bytes) else { return false }
            receive(frame, path, at: now)
        case .programVersion:
            guard let frame = ProgramVersionFrame.read(bytes) else { return false }
            if !isInitiator { peerProgram = frame.text }
        case .goAway, .goAwayAnswer:
            guard let frame = GoAwayFrame.read(bytes) else { return false }
            receive(frame, at: now)
        case nil:
            let frame = DatagramFrame.read(bytes)
            guard arrival.work.affords(cost(of: frame, type: bytes[0])) else { return true }
            guard let frame else { return false }
            receive(frame, path, number: arrival.number, at: now)
        }
        return true
    }
}

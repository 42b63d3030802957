import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// The small frames of a session's paths: they wait for the end of the turn, and leave behind the
/// pending signals, several in a datagram.
extension Session {
    /// Where a frame of `length` plain bytes goes on the path: into its next datagram, with others,
    /// at the end of the turn at the latest. Nil where that has no space for it, or its reader has
    /// enough to do: `work` is what it costs (`ArrivalWork`).
    func append(
        _ length: Int, to path: Path, work: Int = ArrivalWork.frame
    ) -> UnsafeMutableRawPointer? {
        guard let out = path.append(length, work: work) else { return nil }
        requestFlush()
        return out
    }

    /// The session has frames that wait.
    @inline(__always) func requestFlush() {
        guard !turn.wantsFlush else { return }
        turn.wantsFlush = true
        host.work.sessionsToFlush.append(self)
    }

    /// Sends what waits in every path; false where a lane is full, and something is left.
    func flush(into batch: DatagramBatch, at now: Instant) -> Bool {
        turn.wantsFlush = false
        var isLeft = false
        for case let path? in paths where path.isOpen && path.hasWaiting {
            // Probes of the datagram size last: on a slow line each takes as long as a segment.
            if !flush(path, batch, isLast: true, at: now)
                || !flushProbes(path, batch, at: now)
            {
                isLeft = true
            }
        }
        if isLeft { turn.wantsFlush = true }
        return !isLeft
    }

    /// One datagram with the path's waiting frames, behind the pending signals; false where the
    /// lane is full.
    /// `isLast`: nothing more follows on the path in this turn.
    func flush(
        _ path: Path, _ batch: DatagramBatch, isLast: Bool = false,
        at now: Instant
    ) -> Bool {
        guard path.isOpen, path.hasWaiting else { return true }
        guard let out = batch.reserve(lane: path.lane) else { return false }
        if path.validation.check?.isDue == true {
            sealChallenge(out, path, batch, at: now)
            return flush(path, batch, isLast: isLast, at: now)
        }
        if isLast, path.waiting.count == 0, !path.statement.isDue, path.waiting.paddingDue == 0 {
            return flushProbes(path, batch, at: now)
        }
        let waiting = path.waiting.count
        let signals = writeSignals(into: out + DatagramHeader.size, space: path.frameSpace)
        path.statement.flushed(hasSignals: signals > 0, at: now)
        if signals > 0 { signalsLeave(on: path) }
        guard signals + waiting > 0 else { return true }
        if waiting > 0, path.waiting.work + costOfSignals(signals) > ArrivalWork.maximum {
            // More than is read of one datagram: what waits has the next one.
            finish(out, plain: signals, .empty, path, batch, at: now)
            return sealWaiting(path, batch, at: now)
        }
        let frames = path.waiting.take()
        if path.waiting.paddingDue > 0, isLast {
            return flushPadded(out, signals, frames, path, batch, at: now)
        }
        let length = finish(
            out, plain: signals, Pieces(first: frames, second: Pieces.empty.second), path, batch,
            at: now)
        if path.validation.check != nil, length > 0 {
            copyToCandidate(out, length, path, batch, at: now)
        }
        return true
    }

    /// What reading so many bytes of signals costs.
    private func costOfSignals(_ bytes: Int) -> Int {
        bytes / PathStateFrame.size * ArrivalWork.state
    }

    /// The path's waiting frames alone; false where the lane is full.
    private func sealWaiting(_ path: Path, _ batch: DatagramBatch, at now: Instant) -> Bool {
        guard let out = batch.reserve(lane: path.lane) else { return false }
        let pieces = Pieces(first: path.waiting.take(), second: Pieces.empty.second)
        finish(out, plain: 0, pieces, path, batch, at: now)
        return true
    }

    /// The first datagrams on a path that has to carry data at once, then padding (RFC 9000 section
    /// 8.1).
    private func flushPadded(
        _ out: UnsafeMutableRawPointer, _ signals: Int, _ frames: UnsafeRawBufferPointer,
        _ path: Path, _ batch: DatagramBatch,
        at now: Instant
    ) -> Bool {
        let space = max(
            path.datagramLimit - DatagramHeader.size - RecordCipher.tagBytes, signals + frames.count
        )
        var out = out, written = signals + frames.count
        // The first one is short, so that the signal and the question are there the sooner.
        var size = min(space, max(written, Limits.firstPadded))
        if let start = frames.baseAddress {
            (out + DatagramHeader.size + signals).copyMemory(from: start, byteCount: frames.count)
        }
        while true {
            (out + DatagramHeader.size + written).initializeMemory(
                as: UInt8.self, repeating: FrameType.padding.rawValue, count: size - written)
            finish(out, plain: size, .empty, path, batch, at: now)
            written = 0
            size = space
            path.waiting.paddingDue -= 1
            guard path.waiting.paddingDue > 0 else { return true }
            guard let next = batch.reserve(lane: path.lane) else { return false }
            out = next
        }
    }

    /// The question to an address that has not shown that it receives, in a datagram of its own.
    private func sealChallenge(
        _ out: UnsafeMutableRawPointer, _ path: Path,
        _ batch: DatagramBatch, at now: Instant
    ) {
        guard let nonce = path.validation.check?.nonce else { return }
        ProbeFrame(isAnswer: false, identifier: 0, sentAt: nonce)
            .write(into: out + DatagramHeader.size)
        let length = sealRecord(out, plain: ProbeFrame.size, .empty, path, at: now)
        guard let address = path.validation.sendChallenge(length, at: now) else { return }
        unvalidated.spend(length)  // charged, but never crowded out
        batch.commit(
            lane: path.lane, length: length, uplink: address.uplink, remote: address.remote,
            local: address.local)
    }
}

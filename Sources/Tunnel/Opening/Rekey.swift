import Crypto
import Measures
import Multipath
import Wire

/// Fresh keys inside a living session: a Noise handshake in frames, so nothing of the old keys
/// helps an attacker with the new ones. The proxy asks; the concentrator changes over when the
/// proxy has.
extension Session {
    static let rekeyPrologue = Array("braid 2 rekey".utf8)

    /// Called where records leave: an idle session needs no new keys.
    @inline(__always) func rekeyIfDue(at now: Instant) {
        guard isInitiator, keys.rekey == nil, !hasExpiredKeys,
            now - keys.current.since >= host.configuration.keyLifetime
                || keys.recordsSent >= Limits.recordsPerKey
        else { return }
        beginRekey(at: now)
    }

    private func beginRekey(at now: Instant) {
        defer { Secrets.wipeStack() }
        var noise = NoiseHandshake.initiator(
            local: host.configuration.identity, remote: peer.publicKey,
            prologue: Self.rekeyPrologue,
            preSharedKey: peer.preSharedKey, ephemeral: host.random.key())
        let epoch = keys.current.epoch &+ 1
        guard let message = try? noise.writeMessage(payload: [epoch]) else { return }
        keys.rekey = RekeyAttempt(epoch: epoch, noise: noise, message: message)
        repeatRekey(at: now)
    }

    /// On the usable path with the shortest round trip, else on any that is open.
    func repeatRekey(at now: Instant) {
        guard var rekey = keys.rekey else { return }
        var best: Path?
        for case let path? in paths where path.isOpen {
            guard let other = best else { best = path; continue }
            if (path.health == .usable && other.health != .usable)
                || (path.health == other.health && path.probeTimeout < other.probeTimeout)
            {
                best = path
            }
        }
        if let best { append(rekey.message, isAnswer: false, epoch: rekey.epoch, best) }
        rekey.again.sent(at: now, first: Limits.initialTimeout, maximum: Limits.maximumRekeyWait)
        keys.rekey = rekey
        set(.rekey, to: rekey.again.at)
    }

    private func append(
        _ message: [UInt8], isAnswer: Bool, epoch: UInt8, _ path: Path
    ) {
        guard let out = append(RekeyFrame.headSize + message.count, to: path) else { return }
        message.withUnsafeBytes {
            RekeyFrame(isAnswer: isAnswer, epoch: epoch, message: $0).write(into: out)
        }
    }

    /// Looks at a message of a rekey as far as that costs nothing. Its Diffie-Hellman operations
    /// take longer than all else that a datagram may ask for, and are done in a turn's own time.
    func receive(_ frame: RekeyFrame, _ path: Path, at now: Instant) {
        guard frame.isAnswer ? expectsAnswer(frame, at: now) : isNewRequest(frame, path, at: now)
        else { return }
        // Right or wrong, it costs the same. A proxy repeats its message, so that a later one is
        // answered.
        keys.rekeyAllowedAt =
            now
            + (frame.isAnswer
                ? Limits.rekeyAnswerInterval
                : min(Limits.rekeyInterval, host.configuration.keyLifetime / 4))
        host.work.rekeys.append(RekeyMessage(frame, of: self, path: path.id))
    }

    /// The Diffie-Hellman operations of a message that `receive` let pass.
    func work(on message: RekeyMessage, at now: Instant) {
        guard !isClosing, !hasExpiredKeys else { return }
        message.bytes.withUnsafeBytes { bytes in
            let frame = RekeyFrame(
                isAnswer: message.isAnswer, epoch: message.epoch, message: bytes)
            if frame.isAnswer {
                takeRekeyAnswer(frame, at: now)
            } else if let path = paths[message.path] {
                answerRekey(frame, path, at: now)
            }
        }
    }

    private func expectsAnswer(_ frame: RekeyFrame, at now: Instant) -> Bool {
        keys.rekey?.epoch == frame.epoch && now >= keys.rekeyAllowedAt
    }

    /// False also where the answer is known already, and goes once more.
    private func isNewRequest(_ frame: RekeyFrame, _ path: Path, at now: Instant) -> Bool {
        guard !isInitiator, !hasExpiredKeys else { return false }
        if let old = keys.rekeyAnswer,
            old.epoch == frame.epoch,
            frame.message.elementsEqual(old.message1)
        {
            append(old.message2, isAnswer: true, epoch: old.epoch, path)
            return false
        }
        return frame.epoch == keys.current.epoch &+ 1 && now >= keys.rekeyAllowedAt
    }

    private func answerRekey(_ frame: RekeyFrame, _ path: Path, at now: Instant) {
        guard frame.epoch == keys.current.epoch &+ 1 else { return }
        defer { Secrets.wipeStack() }
        var noise = NoiseHandshake.responder(
            local: host.configuration.identity, prologue: Self.rekeyPrologue)
        guard let sender = try? noise.readSender(frame.message), sender == peer.publicKey,
            let payload = try? noise.readMessage(frame.message), payload == [frame.epoch]
        else {
            host.counters.badFrames += 1
            return
        }
        noise.prepare(preSharedKey: peer.preSharedKey, ephemeral: host.random.key())
        guard let answer = try? noise.writeMessage(payload: [frame.epoch]) else {
            host.counters.badFrames += 1
            return
        }
        keys.next = EpochKeys(
            epoch: frame.epoch, suite: keys.suite, keys: noise.split(), since: now)
        keys.rekeyAnswer = (Array(frame.message), answer, frame.epoch)
        append(answer, isAnswer: true, epoch: frame.epoch, path)
    }

    private func takeRekeyAnswer(_ frame: RekeyFrame, at now: Instant) {
        guard let rekey = keys.rekey, rekey.epoch == frame.epoch else { return }
        defer { Secrets.wipeStack() }
        var noise = rekey.noise
        guard let payload = try? noise.readMessage(frame.message), payload == [frame.epoch] else {
            host.counters.badFrames += 1
            return
        }
        keys.rekey = nil
        clear(.rekey)
        keys.next = EpochKeys(
            epoch: frame.epoch, suite: keys.suite, keys: noise.split(), since: now)
        adoptNextKeys(at: now)
        // The concentrator changes over with the first record of the new epoch: send one.
        for case let path? in paths
        where path.health == .usable && !path.monitor.probe.isOutstanding {
            sendProbe(path, because: .routine, at: now)
            break
        }
    }

    /// From here on records leave with the new keys; the old ones open what is still under way.
    func adoptNextKeys(at now: Instant) {
        guard keys.next != nil else { return }
        keys.adoptNext(until: now + Limits.oldKeyLifetime)
        set(.previousKeys, to: keys.previousUntil)
        set(.keyDeath, to: keys.current.since + host.configuration.keyDeath)
    }

    /// The keys could not be renewed: they are gone. Connections wait for a handshake by the same
    /// process, which goes on with the session; the proxy is to begin one.
    func dropKeys(at now: Instant) {
        keys.wipe()
        for case let path? in paths where path.health == .usable {
            fallSilent(path, at: now)
        }
        for case let path? in paths {
            path.waiting.removeSmall()
            path.validation.dropHeld()
            path.monitor.cancelProbe()
        }
        stopSignals()
    }
}

/// A message of a rekey that waits for its Diffie-Hellman operations; one of a session at most, as
/// the next is not looked into before `SessionKeys.rekeyAllowedAt`.
struct RekeyMessage {
    let session: Session
    let bytes: [UInt8]
    let isAnswer: Bool
    let epoch: UInt8
    /// The path it came by, on which it is answered.
    let path: PathID

    init(_ frame: RekeyFrame, of session: Session, path: PathID) {
        self.session = session
        bytes = Array(frame.message)
        isAnswer = frame.isAnswer
        epoch = frame.epoch
        self.path = path
    }
}

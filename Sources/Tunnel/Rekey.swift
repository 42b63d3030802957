import Crypto
import Measures
import Wire

/// Fresh keys inside a living session: a Noise handshake in frames, so nothing of the old keys
/// helps an attacker with the new ones. The proxy asks; the concentrator changes over when the
/// proxy has.
extension Endpoint {
    static let rekeyPrologue = Array("braid 2 rekey".utf8)

    /// Called where records leave: an idle session needs no new keys.
    @inline(__always) func rekeyIfDue(_ session: Session, at now: Instant) {
        guard session.isInitiator, session.rekey == nil, !session.isMute,
            now - session.current.since >= configuration.keyLifetime
                || session.recordsSent >= Limits.recordsPerKey
        else { return }
        beginRekey(session, at: now)
    }

    private func beginRekey(_ session: Session, at now: Instant) {
        defer { Secrets.wipeStack() }
        var noise = NoiseHandshake.initiator(
            local: configuration.identity, remote: remoteKey,
            prologue: Self.rekeyPrologue,
            preSharedKey: preSharedKey, ephemeral: random.key())
        let epoch = session.current.epoch &+ 1
        guard let message = try? noise.writeMessage(payload: [epoch]) else { return }
        session.rekey = RekeyAttempt(epoch: epoch, noise: noise, message: message)
        repeatRekey(session, at: now)
    }

    /// On the usable path with the shortest round trip, else on any that is open.
    func repeatRekey(_ session: Session, at now: Instant) {
        guard var rekey = session.rekey else { return }
        var best: Path?
        for case let path? in session.paths where path.isOpen {
            guard let other = best else { best = path; continue }
            if (path.health == .usable && other.health != .usable)
                || (path.health == other.health && path.probeTimeout < other.probeTimeout)
            {
                best = path
            }
        }
        if let best { append(rekey.message, isAnswer: false, epoch: rekey.epoch, session, best) }
        rekey.again.said(at: now, first: Limits.initialTimeout, longest: Limits.longestRekeyWait)
        session.rekey = rekey
        arm(session, rekey.again.at)
    }

    private func append(
        _ message: [UInt8], isAnswer: Bool, epoch: UInt8, _ session: Session, _ path: Path
    ) {
        guard let out = path.append(RekeyFrame.headSize + message.count) else { return }
        message.withUnsafeBytes {
            RekeyFrame(isAnswer: isAnswer, epoch: epoch, message: $0).write(into: out)
        }
        markDirty(session)
    }

    func receive(_ frame: RekeyFrame, _ session: Session, _ path: Path, at now: Instant) {
        if frame.isAnswer {
            takeRekeyAnswer(frame, session, at: now)
        } else {
            answerRekey(frame, session, path, at: now)
        }
    }

    private func answerRekey(_ frame: RekeyFrame, _ session: Session, _ path: Path, at now: Instant)
    {
        guard !session.isInitiator, !session.isMute else { return }
        if let old = session.rekeyAnswer,
            old.epoch == frame.epoch,
            frame.message.elementsEqual(old.message1)
        {
            append(old.message2, isAnswer: true, epoch: old.epoch, session, path)
            return
        }
        guard frame.epoch == session.current.epoch &+ 1, now >= session.rekeyAllowedAt else {
            return
        }
        // Right or wrong, it costs the same. A proxy repeats its message, so that a later one is
        // answered.
        session.rekeyAllowedAt = now + min(Limits.rekeyInterval, configuration.keyLifetime / 4)
        defer { Secrets.wipeStack() }
        let user = users[session.userNumber].user
        var noise = NoiseHandshake.responder(
            local: configuration.identity, prologue: Self.rekeyPrologue)
        guard let sender = try? noise.readSender(frame.message), sender == user.publicKey,
            let payload = try? noise.readMessage(frame.message), payload == [frame.epoch]
        else {
            counters.badFrames += 1
            return
        }
        noise.prepare(preSharedKey: user.preSharedKey ?? .zero, ephemeral: random.key())
        guard let answer = try? noise.writeMessage(payload: [frame.epoch]) else {
            counters.badFrames += 1
            return
        }
        session.next = EpochKeys(
            epoch: frame.epoch, suite: session.suite, keys: noise.split(), since: now)
        session.rekeyAnswer = (Array(frame.message), answer, frame.epoch)
        append(answer, isAnswer: true, epoch: frame.epoch, session, path)
    }

    private func takeRekeyAnswer(_ frame: RekeyFrame, _ session: Session, at now: Instant) {
        guard let rekey = session.rekey, rekey.epoch == frame.epoch, now >= session.rekeyAllowedAt
        else { return }
        session.rekeyAllowedAt = now + Limits.rekeyAnswerInterval
        defer { Secrets.wipeStack() }
        var noise = rekey.noise
        guard let payload = try? noise.readMessage(frame.message), payload == [frame.epoch] else {
            counters.badFrames += 1
            return
        }
        session.rekey = nil
        session.next = EpochKeys(
            epoch: frame.epoch, suite: session.suite, keys: noise.split(), since: now)
        adoptNextKeys(session, at: now)
        // The concentrator changes over with the first record of the new epoch: send one.
        for case let path? in session.paths
        where path.health == .usable && !path.probe.isOutstanding {
            sendProbe(session, path, at: now)
            break
        }
    }

    /// From here on records leave with the new keys; the old ones open what is still under way.
    func adoptNextKeys(_ session: Session, at now: Instant) {
        guard session.next != nil else { return }
        session.adoptNextKeys(until: now + Limits.oldKeyLifetime)
        arm(session, session.previousUntil)
    }

    /// The keys could not be renewed: they are gone. Connections wait for a handshake by the same
    /// process, which goes on with the session; the proxy begins one.
    func dropKeys(_ session: Session, at now: Instant) {
        session.wipeKeys()
        for case let path? in session.paths where path.health == .usable {
            setHealth(.suspect, session, path, at: now)
        }
        for case let path? in session.paths {
            path.smallCount = 0
            path.held.removeAll()
            path.probe.isOutstanding = false
        }
        session.signals.stop()
        if session === currentSession { beginHandshake(at: now) }
    }
}

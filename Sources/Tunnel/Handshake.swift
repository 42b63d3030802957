import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// A proxy's attempts to open a session. Each has a fresh ephemeral key, timestamp and index; the answer to
/// any of the latest few is accepted.
struct HandshakeState {
    struct Attempt {
        var noise: NoiseHandshake
        var index: UInt32
        var datagram: [UInt8]
        var sentAt: Instant
        /// It asked for a fresh session although the old one lives.
        var insists: Bool
    }
    /// The session slot kept for the outcome.
    let slot: Int
    var attempts: [Attempt] = []
    var count = 0
    var nextAt: Instant
    /// "Still alive" answers that no record followed: after the third a fresh session is asked for.
    var aliveAnswers = 0
    var insist: Bool { aliveAnswers >= 3 }
}

/// A session that answered a hello and waits for a first record.
struct Unconfirmed {
    var session: Session
    var hello: [UInt8]
    var welcome: [UInt8]
    var repeats = 0
    var since: Instant
}

/// Opening sessions: Noise IKpsk2, one round trip, raced on every uplink.
extension Endpoint {
    static let prologue = Array("braid 1".utf8)

    // MARK: Proxy

    /// Starts trying, where nobody does yet.
    func beginHandshake(at now: Instant) {
        guard isProxy, handshake == nil, let slot = takeSessionSlot() else { return }
        handshake = HandshakeState(slot: slot, nextAt: now)
        repeatHandshake(at: now)
    }

    /// A new uplink joins the race with the attempt that is on.
    func handshakeOn(_ uplink: Uplink, at now: Instant) {
        guard let latest = handshake?.attempts.last else { beginHandshake(at: now); return }
        if mode == .single,
           uplinks.contains(where: { $0.isUp && $0.uplink.number != uplink.number }) {
            return
        }
        post(latest.datagram, through: uplink)
    }

    func endHandshake() {
        guard let state = handshake else { return }
        if sessions[state.slot] == nil { freeSessions.append(state.slot) }
        handshake = nil
    }

    /// The next attempt, with growing and jittered patience for the one after it.
    func repeatHandshake(at now: Instant) {
        guard var state = handshake else { return }
        let salt = UInt32(truncatingIfNeeded: random.next() & 0xff)
        let index = UInt32(state.slot) | salt << 16
        let payload = HelloPayload(hasHardwareAES: CipherSuite.hasHardwareAES,
                                   wantsFresh: state.insist || currentSession == nil,
                                   index: index, instance: instance,
                                   timestamp: configuration.epoch &+ UInt64(bitPattern: now.nanoseconds))
        var noise = NoiseHandshake.initiator(local: configuration.identity, remote: remoteKey,
                                             prologue: Self.prologue,
                                             preSharedKey: preSharedKey, ephemeral: random.key())
        // A configured key of small order can't work; the answer never comes, which is what the user sees.
        if hasUplinks, let message = try? noise.writeMessage(payload: payload.bytes) {
            let datagram = Self.datagram(DatagramHeader(kind: .hello, session: 0), message)
            if state.attempts.count == Limits.handshakeAttempts { state.attempts.removeFirst() }
            state.attempts.append(.init(noise: noise, index: index, datagram: datagram, sentAt: now,
                                        insists: state.insist))
            // Single mode lets the other radios sleep as long as the first answers, or one lost datagram
            // keeps it from that.
            let onlyOne = mode == .single && state.count < 2
            for uplink in raceOrder where !onlyOne || uplink.number == raceOrder.first?.number {
                post(datagram, through: uplink)
            }
        }
        let limit = waiting.isEmpty ? Limits.idleHandshakePatience : Limits.waitingHandshakePatience
        var patience = Limits.firstHandshakePatience
        for _ in 0..<min(state.count, 10) { patience = min(patience * 3 / 2, limit) }
        // A fifth either way, so that many proxies don't knock in step at a concentrator that comes back.
        let jitter = Int64(random.next() % 400) - 200
        state.count += 1
        state.nextAt = now + patience + patience * jitter / 1000
        handshake = state
    }

    private var raceOrder: [Uplink] {
        // The uplink in use first: single mode would not have another one woken.
        let used = currentSession.flatMap { session in
            session.paths.first { $0?.health == .usable }??.uplink
        }
        func place(_ uplink: Uplink) -> Int {
            uplink.number == used ? -1 : uplink.number + (uplink.isBackup ? 1 << 16 : 0)
        }
        return uplinks.filter(\.isUp).map(\.uplink).sorted { place($0) < place($1) }
    }

    private func post(_ datagram: [UInt8], through uplink: Uplink) {
        for remote in handshakeRemotes where remote.address.isIPv4 == uplink.isIPv4 {
            post(Outgoing(bytes: datagram, uplink: uplink.number, remote: remote,
                          local: remote.address.isIPv4 ? .unspecifiedV4 : .unspecifiedV6))
        }
    }

    func post(_ item: Outgoing) {
        if outbox.count < Limits.outbox { outbox.append(item) }
    }

    private static func datagram(_ header: DatagramHeader, _ message: [UInt8]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: DatagramHeader.size)
        out.withUnsafeMutableBytes { header.write(into: $0.baseAddress!) }
        return out + message
    }

    /// The concentrator's answer. The first one wins; the other uplinks' copies find no attempt any more.
    func receiveWelcome(_ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer,
                        from remote: SocketAddress,
                        local: IPAddress, uplink: Int, at now: Instant) {
        guard let state = handshake,
              let attempt = state.attempts.first(where: { $0.index == header.session }) else {
            counters.unknownSession += 1
            return
        }
        var noise = attempt.noise
        guard datagram.count > DatagramHeader.size + WelcomePayload.tokenSize else {
            counters.malformed += 1
            return
        }
        let split = datagram.count - WelcomePayload.tokenSize
        let message = UnsafeRawBufferPointer(rebasing: datagram[DatagramHeader.size..<split])
        let token = Int64(bigEndian: datagram.loadUnaligned(fromByteOffset: split, as: Int64.self))
        guard let bytes = try? noise.readMessage(message), let welcome = WelcomePayload(bytes),
              let suite = CipherSuite(rawValue: welcome.cipher) else {
            counters.notAuthentic += 1
            return
        }
        if welcome.outcome == .stillAlive {
            guard let session = currentSession else { return }
            if !session.hasUsablePath, let item = uplinks.first(where: { $0.uplink.number == uplink }) {
                // What asks and answers here is a path, even where none was to be.
                openFirstPath(session, uplink: item.uplink, to: remote, at: now)
            }
            revive(session, at: now)
            return
        }
        let old = currentSession
        let session = Session(slot: state.slot, localIndex: attempt.index,
                              remoteIndex: welcome.index, isInitiator: true,
                              user: "", userNumber: -1, instance: instance, suite: suite,
                              keys: noise.split(), mode: mode,
                              numberCursor: random.next(), at: now)
        session.firstRemote = remote
        session.forbidsFirst = welcome.forbidsFirst
        sessions[state.slot] = session
        handshake = nil
        currentSession = session
        if let old {
            if !attempt.insists { keepUnheard(of: old, at: now) }
            end(old, reason: "replaced by a new session", at: now)
        }
        say(.sessionOpened(session: session.slot, user: session.user))
        let single = session.need == .single
        for item in uplinks where item.isUp && !single { openPaths(session, uplink: item.uplink, at: now) }
        if let item = uplinks.first(where: { $0.uplink.number == uplink }) {
            openFirstPath(session, uplink: item.uplink, to: remote, at: now)
            // The answer has measured its path already.
            if let path = session.paths.first(where: {
                $0?.uplink == uplink && $0?.remote == remote
            }) ?? nil {
                path.local = local
                path.noteRTT(now - attempt.sentAt, at: now)
                path.hasAnswered = true
                setHealth(.usable, session, path, at: now)
                // Handed back, it shows that we receive where our datagrams come from.
                if token < 0, let out = path.append(ProbeFrame.size) {
                    ProbeFrame(isAnswer: true, identifier: 0, sentAt: token).write(into: out)
                    markDirty(session)
                }
            }
        }
        let streams = waiting
        waiting.removeAll()
        for stream in streams where !stream.isReleased || stream.connection.error == nil {
            attach(stream, to: session, at: now)
        }
        schedule(session, at: now)
    }

    /// The concentrator still has the session, so the network is there again: ask the paths at once.
    private func revive(_ session: Session, at now: Instant) {
        if now - session.lastArrival < Limits.sessionDoubt { endHandshake(); return }
        handshake?.attempts.removeAll()
        handshake?.aliveAnswers += 1
        for case let path? in session.paths where path.isOpen { sendProbe(session, path, at: now) }
    }

    // MARK: Concentrator

    /// A hello: answered only where it is authentic, of a user, of this version and newer than all before.
    func receiveHello(_ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress, local: IPAddress,
                      uplink: Int, at now: Instant) {
        let message = UnsafeRawBufferPointer(rebasing: datagram[DatagramHeader.size...])
        let source = PathAddress(remote: remote, local: local, uplink: uplink)
        if repeatWelcome(message, to: source, at: now) { return }
        guard message.count == NoiseHandshake.overhead1 + HelloPayload.size else {
            counters.refusedHellos += 1
            return
        }
        var noise = NoiseHandshake.responder(local: configuration.identity, prologue: Self.prologue,
                                             preSharedKey: .zero,
                                             ephemeral: random.key())
        guard let bytes = try? noise.readMessage(message),
              let hello = HelloPayload(bytes),
              let key = noise.remoteStatic,
              let number = userNumbers[key], hello.timestamp > users[number].greatestTimestamp else {
            counters.refusedHellos += 1
            return
        }
        users[number].greatestTimestamp = hello.timestamp
        noise.setPreSharedKey(users[number].user.preSharedKey ?? .zero)
        let suite = CipherSuite.hasHardwareAES && hello.hasHardwareAES
            ? CipherSuite.aes256GCM : .chaCha20Poly1305
        let living = hello.wantsFresh ? nil : livingSession(user: number, instance: hello.instance)
        guard let slot = living?.slot ?? takeSessionSlot() else { counters.refusedHellos += 1; return }
        let salt = UInt32(truncatingIfNeeded: random.next() & 0xff)
        let index = living?.localIndex ?? UInt32(slot) | salt << 16
        let welcome = WelcomePayload(outcome: living == nil ? .newSession : .stillAlive,
                                     cipher: suite.rawValue, index: index,
                                     forbidsFirst: !configuration.joinsFirstAddress)
        guard let answer = try? noise.writeMessage(payload: welcome.bytes) else {
            if living == nil { freeSessions.append(slot) }
            counters.refusedHellos += 1
            return
        }
        let bytesOut = Self.datagram(DatagramHeader(kind: .welcome, session: hello.index), answer)
        guard living == nil else { postWelcome(bytesOut, to: source, token: 0); return }
        let session = Session(slot: slot, localIndex: index, remoteIndex: hello.index, isInitiator: false,
                              user: users[number].user.name, userNumber: number,
                              instance: hello.instance, suite: suite,
                              keys: noise.split(), mode: mode, numberCursor: 0, at: now)
        sessions[slot] = session
        if unconfirmed.count == Limits.unconfirmedSessions { forget(unconfirmed.removeFirst().session) }
        unconfirmed.append(
            Unconfirmed(session: session, hello: Array(message), welcome: bytesOut, since: now))
        postWelcome(bytesOut, to: source, token: token(session, for: source, at: now))
    }

    private func livingSession(user: Int, instance: UInt64) -> Session? {
        for case let session? in sessions
            where session.isConfirmed && session.userNumber == user
                && session.instance == instance {
            return session
        }
        return nil
    }

    /// A copy of a hello that was answered already, by another path or repeated by the network.
    private func repeatWelcome(_ message: UnsafeRawBufferPointer, to source: PathAddress,
                               at now: Instant) -> Bool {
        guard let i = unconfirmed.firstIndex(where: { message.elementsEqual($0.hello) }) else { return false }
        if unconfirmed[i].repeats < Limits.welcomeRepeats {
            unconfirmed[i].repeats += 1
            postWelcome(unconfirmed[i].welcome, to: source,
                        token: token(unconfirmed[i].session, for: source, at: now))
        }
        return true
    }

    private func postWelcome(_ welcome: [UInt8], to source: PathAddress, token: Int64) {
        var bytes = welcome
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: token >> shift)) }
        post(Outgoing(bytes: bytes, uplink: source.uplink, remote: source.remote, local: source.local))
    }

    /// What the welcome to this address carries, and to no other: whoever hands it back receives there.
    private func token(_ session: Session, for source: PathAddress, at now: Instant) -> Int64 {
        if let i = session.welcomed.firstIndex(where: { $0.address == source }) {
            session.welcomed[i].asks += 1
            return session.welcomed[i].nonce
        }
        var check = AddressCheck(address: source, nonce: random.nonce())
        check.askedAt = now
        check.asks = 1
        session.welcomed.append(check)
        return check.nonce
    }

    /// The peer has spoken with the new keys: the session is real, and replaces the instance's older one.
    func confirm(_ session: Session, at now: Instant) {
        session.isConfirmed = true
        session.lastArrival = now
        // Its other attempts are answered, but not used: the proxy has chosen.
        for item in unconfirmed
            where item.session !== session && item.session.userNumber == session.userNumber
            && item.session.instance == session.instance { forget(item.session) }
        unconfirmed.removeAll {
            $0.session.userNumber == session.userNumber && $0.session.instance == session.instance
        }
        for case let other? in sessions where other !== session && other.isConfirmed
            && other.userNumber == session.userNumber && other.instance == session.instance {
            end(other, reason: "replaced by a new session", at: now)
        }
        say(.sessionOpened(session: session.slot, user: session.user))
        announceAll(session, at: now)
        schedule(session, at: now)
    }

    private func forget(_ session: Session) {
        sessions[session.slot] = nil
        freeSessions.append(session.slot)
    }

    // MARK: Slots

    func takeSessionSlot() -> Int? {
        if let slot = freeSessions.popLast() { return slot }
        guard sessions.count < Limits.sessions else { return nil }
        sessions.append(nil)
        return sessions.count - 1
    }

    /// Ends a session whose peer knows or will never hear of it: its streams fail, its slot is free.
    func end(_ session: Session, reason: String, at now: Instant) {
        guard sessions[session.slot] === session else { return }
        for slot in session.streams {
            guard let stream = streams[slot] else { continue }
            stream.connection.fail(.sessionLost, at: now)
            stream.position = -1
            drop(stream, from: session, at: now)
        }
        session.streams.removeAll()
        sessions[session.slot] = nil
        freeSessions.append(session.slot)
        sessionDeadlines.set(session.slot, .distantFuture)
        session.isClosing = true
        if currentSession === session { currentSession = nil }
        say(.sessionClosed(session: session.slot, reason: reason))
    }
}

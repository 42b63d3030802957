import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// A proxy's attempts to open a session. Each has a fresh ephemeral key, timestamp and index; the
/// answer to any of the latest few is accepted.
struct HandshakeState {
    struct Attempt {
        var noise: NoiseHandshake
        var index: UInt32
        /// As far as its second MAC, which depends on the cookie of the uplink and address it goes
        /// by.
        var datagram: [UInt8]
        var mac1: Bytes16
        var sentAt: Instant
        /// It asked for a fresh session although the old one lives.
        var insists: Bool
    }
    /// The session slot kept for the outcome.
    let slot: Int
    var attempts: [Attempt] = []
    var count = 0
    var nextAt: Instant
    /// What the concentrator wants to see in the next hello, and until when; how often it asked in
    /// a row.
    var challenge = Bytes16.zero
    var challengeUntil = Instant.zero
    var challenges = 0
}

/// Where a welcome came from, the number of chance in it, and when its hello left.
struct WelcomeArrival {
    let remote: SocketAddress
    let local: IPAddress
    let uplink: Int
    let token: Int64
    let sentAt: Instant
}

/// A cookie of the concentrator's for what comes from `uplink` to `remote`.
struct HeldCookie {
    let uplink: Int
    let remote: SocketAddress
    var cookie: Bytes16
    var until: Instant
    /// The attempt that came again with it: once.
    var usedFor: UInt32
}

/// The proxy opens a session: Noise IKpsk2, one round trip, raced on every uplink.
extension Endpoint {
    static let prologue = Array("braid 2".utf8)

    /// Starts trying, where nobody does yet.
    func beginHandshake(at now: Instant) {
        guard isProxy, handshake == nil, let slot = takeSessionSlot() else { return }
        handshake = HandshakeState(slot: slot, nextAt: now)
        if let session = currentSession, !session.hasUsablePath {
            say(.sessionDoubted(session: session.slot))
        }
        repeatHandshake(at: now)
    }

    /// A new uplink joins the race with the attempt that is on.
    func handshakeOn(_ uplink: Uplink, at now: Instant) {
        guard let latest = handshake?.attempts.last else { beginHandshake(at: now); return }
        if mode == .single,
            uplinks.contains(where: { $0.isUp && $0.uplink.number != uplink.number })
        {
            return
        }
        post(latest, through: uplink, at: now)
    }

    func endHandshake() {
        guard let state = handshake else { return }
        if sessions[state.slot] == nil { freeSessions.append(state.slot) }
        handshake = nil
    }

    /// The next attempt, with growing and jittered patience for the one after it.
    func repeatHandshake(at now: Instant) {
        guard var state = handshake else { return }
        defer { Secrets.wipeStack() }
        let insists = (currentSession?.resumptions ?? 0) >= Limits.vainResumptions
        let salt = UInt32(truncatingIfNeeded: random.next() & 0xff)
        let index = UInt32(state.slot) | salt << 16
        let payload = HelloPayload(
            hasHardwareAES: CipherSuite.hasHardwareAES,
            wantsFresh: insists || currentSession == nil,
            index: index, instance: instance,
            timestamp: wallClock(at: now),
            challenge: now < state.challengeUntil ? state.challenge : .zero)
        var noise = NoiseHandshake.initiator(
            local: configuration.identity, remote: remoteKey,
            prologue: Self.prologue,
            preSharedKey: preSharedKey, ephemeral: random.key())
        // A configured key of small order can't work; the answer never comes, which is what the
        // user sees.
        if hasUplinks, let message = try? noise.writeMessage(payload: payload.bytes) {
            var datagram = Self.datagram(DatagramHeader(kind: .hello, session: 0), message)
            let mac1 = datagram.withUnsafeBytes { remoteKeys.mac1($0) }
            withUnsafeBytes(of: mac1) { datagram += $0 }
            let attempt = HandshakeState.Attempt(
                noise: noise, index: index, datagram: datagram, mac1: mac1, sentAt: now,
                insists: insists)
            if state.attempts.count == Limits.handshakeAttempts { state.attempts.removeFirst() }
            state.attempts.append(attempt)
            // Single mode lets the other radios sleep as long as the first answers, or one lost
            // datagram keeps it from that.
            let onlyOne = mode == .single && state.count < 2
            for uplink in raceOrder where !onlyOne || uplink.number == raceOrder.first?.number {
                post(attempt, through: uplink, at: now)
            }
        }
        let limit =
            waiting.isEmpty && currentSession?.streams.isEmpty ?? true
            ? Limits.idleHandshakePatience : Limits.waitingHandshakePatience
        var patience = Limits.firstHandshakePatience
        for _ in 0..<min(state.count, 10) { patience = min(patience * 3 / 2, limit) }
        // A fifth either way, so that many proxies don't knock in step at a concentrator that comes
        // back.
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

    private func post(_ attempt: HandshakeState.Attempt, through uplink: Uplink, at now: Instant) {
        for remote in handshakeRemotes where remote.address.isIPv4 == uplink.isIPv4 {
            let held = cookies.firstIndex {
                $0.uplink == uplink.number && $0.remote == remote && $0.until > now
            }
            if let held { cookies[held].usedFor = attempt.index }
            post(attempt, uplink.number, remote, held.map { cookies[$0].cookie })
        }
    }

    /// The second MAC is zero without a cookie.
    private func post(
        _ attempt: HandshakeState.Attempt, _ uplink: Int, _ remote: SocketAddress,
        _ cookie: Bytes16?
    ) {
        var bytes = attempt.datagram
        let mac2 =
            cookie.map { cookie in bytes.withUnsafeBytes { MessageAuthentication(key: cookie)($0) }
            } ?? .zero
        withUnsafeBytes(of: mac2) { bytes += $0 }
        post(
            Outgoing(
                bytes: bytes, uplink: uplink, remote: remote,
                local: remote.address.isIPv4 ? .unspecifiedV4 : .unspecifiedV6))
    }

    /// The concentrator is busy: the hello goes again with its cookie, once, and later ones have it
    /// at once.
    func receiveCookie(
        _ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress, uplink: Int,
        at now: Instant
    ) {
        guard let attempts = handshake?.attempts, datagram.count == CookieDatagram.size else {
            counters.unknownSession += 1
            return
        }
        let bytes = UnsafeRawBufferPointer(datagram)
        let nonce = UnsafeRawBufferPointer(
            rebasing: bytes[CookieDatagram.nonce..<CookieDatagram.sealed])
        let sealed = UnsafeRawBufferPointer(rebasing: bytes[CookieDatagram.sealed...])
        for attempt in attempts.reversed() {
            guard let cookie = remoteKeys.open(cookie: sealed, nonce: nonce, mac1: attempt.mac1)
            else { continue }
            let held = HeldCookie(
                uplink: uplink, remote: remote, cookie: cookie, until: now + Limits.cookieLifetime,
                usedFor: attempt.index)
            if let i = cookies.firstIndex(where: { $0.uplink == uplink && $0.remote == remote }) {
                // One that comes again, or for a hello that had one.
                if cookies[i].usedFor == attempt.index { return }
                cookies[i] = held
            } else {
                if cookies.count == Limits.heldCookies { cookies.removeFirst() }
                cookies.append(held)
            }
            post(attempt, uplink, remote, cookie)
            return
        }
        counters.notAuthentic += 1
    }

    func post(_ item: Outgoing) {
        if outbox.count < Limits.outbox { outbox.append(item) }
    }

    static func datagram(_ header: DatagramHeader, _ message: [UInt8]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: DatagramHeader.size)
        out.withUnsafeMutableBytes { header.write(into: $0.baseAddress!) }
        return out + message
    }

    /// The concentrator's answer. The first one wins; the other uplinks' copies find no attempt any
    /// more.
    func receiveWelcome(
        _ header: DatagramHeader, _ datagram: UnsafeMutableRawBufferPointer,
        from remote: SocketAddress,
        local: IPAddress, uplink: Int, at now: Instant
    ) {
        guard let state = handshake,
            let attempt = state.attempts.first(where: { $0.index == header.session })
        else {
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
            let suite = CipherSuite(rawValue: welcome.cipher)
        else {
            counters.notAuthentic += 1
            return
        }
        defer { Secrets.wipeStack() }
        let arrival = WelcomeArrival(
            remote: remote, local: local, uplink: uplink, token: token, sentAt: attempt.sentAt)
        switch welcome.outcome {
        case .challenge: answer(welcome.challenge, attempt.index, at: now)
        case .resumed: resume(state.slot, attempt, welcome, suite, noise.split(), arrival, at: now)
        case .newSession:
            begin(state.slot, attempt, welcome, suite, noise.split(), arrival, at: now)
        }
    }

    private func begin(
        _ slot: Int, _ attempt: HandshakeState.Attempt, _ welcome: WelcomePayload,
        _ suite: CipherSuite,
        _ keys: NoiseHandshake.TransportKeys, _ arrival: WelcomeArrival, at now: Instant
    ) {
        let old = currentSession
        let session = Session(
            slot: slot, localIndex: attempt.index, remoteIndex: welcome.index, isInitiator: true,
            user: "", userNumber: -1, instance: instance, suite: suite, keys: keys, mode: mode,
            numberCursor: random.next(), at: now)
        session.firstRemote = arrival.remote
        session.forbidsFirst = welcome.forbidsFirst
        sessions[slot] = session
        handshake = nil
        currentSession = session
        if let old {
            if !attempt.insists { keepUnheard(of: old, at: now) }
            end(old, reason: "replaced by a new session", at: now)
        }
        say(.sessionOpened(session: session.slot, user: session.user))
        let single = session.need == .single
        for item in uplinks where item.isUp && !single {
            openPaths(session, uplink: item.uplink, at: now)
        }
        greet(session, arrival, at: now)
        let streams = waiting
        waiting.removeAll()
        for stream in streams where !stream.isReleased || stream.connection.error == nil {
            attach(stream, to: session, at: now)
        }
        schedule(session, at: now)
    }

    /// The concentrator has kept the session and its connections: they go on with new keys.
    private func resume(
        _ slot: Int, _ attempt: HandshakeState.Attempt, _ welcome: WelcomePayload,
        _ suite: CipherSuite,
        _ keys: NoiseHandshake.TransportKeys, _ arrival: WelcomeArrival, at now: Instant
    ) {
        guard let session = currentSession, !attempt.insists else { return }
        let old = session.slot, silence = now - session.lastArrival
        sessions[old] = nil
        freeSessions.append(old)
        sessionDeadlines.set(old, .distantFuture)
        session.goOn(
            slot: slot, localIndex: attempt.index, remoteIndex: welcome.index, suite: suite,
            keys: EpochKeys(epoch: 0, suite: suite, keys: keys, since: now))
        sessions[slot] = session
        if session.changes.isWalking { walking.append(slot) }
        handshake = nil
        session.lastArrival = now
        session.resumptions += 1
        say(.sessionResumed(session: slot, silence: silence))
        goOn(session, at: now)
        greet(session, arrival, at: now)
        for case let path? in session.paths where path.isOpen && path.health != .usable {
            path.probe.backoff = Limits.suspectProbe
            sendProbe(session, path, at: now)
        }
        if session.hasSignals { session.signals.renew(); repeatSignals(session, at: now) }
        schedule(session, at: now)
    }

    /// What both ends do when a session goes on: its connections find it in its slot, and nothing
    /// refers to records of the past.
    func goOn(_ session: Session, at now: Instant) {
        session.isDirty = false
        session.scheduled = .distantFuture
        for slot in session.streams {
            guard let stream = streams[slot] else { continue }
            stream.session = session.slot
            stream.orphanAt = .distantFuture
            for i in stream.links.indices { stream.links[i].context.forgetRecords() }
            ready.append(stream)
        }
    }

    /// The answer has measured its path already; its token, handed back, shows that we receive
    /// where our datagrams come from.
    private func greet(_ session: Session, _ arrival: WelcomeArrival, at now: Instant) {
        guard let item = uplinks.first(where: { $0.uplink.number == arrival.uplink }) else {
            return
        }
        // What asks and answers here is a path, even where none was to be.
        openFirstPath(session, uplink: item.uplink, to: arrival.remote, at: now)
        guard
            let path = session.paths.first(where: {
                $0?.uplink == arrival.uplink && $0?.remote == arrival.remote
            }) ?? nil
        else { return }
        path.local = arrival.local
        path.noteRTT(now - arrival.sentAt, at: now)
        path.hasAnswered = true
        setHealth(.usable, session, path, at: now)
        if arrival.token < 0, let out = path.append(ProbeFrame.size) {
            ProbeFrame(isAnswer: true, identifier: 0, sentAt: arrival.token).write(into: out)
        }
        markDirty(session)
    }

    /// The concentrator can't tell this hello from a replay, since our clock says something else
    /// than it expects: the next one holds what it has just made up.
    private func answer(_ challenge: Bytes16, _ index: UInt32, at now: Instant) {
        guard var state = handshake else { return }
        state.attempts.removeAll { $0.index == index }
        state.challenges += 1
        state.challenge = challenge
        state.challengeUntil = now + Limits.challengeLifetime
        handshake = state
        if state.challenges <= Limits.promptAnswers { repeatHandshake(at: now) }
    }

    // MARK: Slots

    func takeSessionSlot() -> Int? {
        if let slot = freeSessions.popLast() { return slot }
        guard sessions.count < Limits.sessions else { return nil }
        sessions.append(nil)
        return sessions.count - 1
    }

    /// Ends a session whose peer knows or will never hear of it: its streams fail, its slot is
    /// free.
    func end(_ session: Session, reason: String, at now: Instant) {
        guard sessions[session.slot] === session else { return }
        for slot in session.streams {
            guard let stream = streams[slot] else { continue }
            stream.connection.fail(.sessionLost, at: now)
            stream.position = -1
            drop(stream, from: session, at: now)
        }
        session.streams.removeAll()
        forgetSuccessors(session)
        session.wipeKeys()
        if session.userNumber >= 0 {
            users[session.userNumber].sessions.removeAll { $0 == session.slot }
        }
        sessions[session.slot] = nil
        freeSessions.append(session.slot)
        sessionDeadlines.set(session.slot, .distantFuture)
        session.isClosing = true
        if currentSession === session { currentSession = nil }
        say(.sessionClosed(session: session.slot, reason: reason))
    }
}

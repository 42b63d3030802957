import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// The proxy opens a session: Noise IKpsk2, one round trip, raced on every uplink.
extension Endpoint {
    static let prologue = Array("braid 2".utf8)

    /// The attempts that are under way; nil where there is nothing to ask.
    var handshake: HandshakeState? {
        get { initiator?.handshake }
        set {
            initiator?.handshake = newValue
            guard host.proxy.isHandshaking != (newValue != nil) else { return }
            host.proxy.isHandshaking = newValue != nil
            for case let session? in sessions { session.timersChanged() }
        }
    }

    /// Starts trying, where nobody does yet.
    func beginHandshake(at now: Instant) {
        guard isProxy, handshake == nil, let slot = sessions.takeSlot() else { return }
        handshake = HandshakeState(slot: slot, nextAt: now)
        if let session = currentSession, !session.hasUsablePath {
            host.emit(.sessionSilent(session: session.slot))
        }
        repeatHandshake(at: now)
    }

    /// Proxy: an application was turned away for want of a session. The next attempt to open one
    /// comes as soon as if the application waited for it.
    public func hastenHandshake(at now: Instant) {
        guard let nextAt = handshake?.nextAt else { return }
        handshake?.nextAt = min(nextAt, now + Limits.waitingHandshakeTimeout)
    }

    /// A new uplink joins the race with the attempt that is on.
    func handshakeOn(_ uplink: Uplink, at now: Instant) {
        guard let latest = handshake?.attempts.last else { beginHandshake(at: now); return }
        if mode == .single,
            host.proxy.uplinks.contains(where: { $0.isUp && $0.uplink.number != uplink.number })
        {
            return
        }
        post(latest, through: uplink, at: now)
    }

    func endHandshake() {
        guard let state = handshake else { return }
        if sessions[state.slot] == nil { sessions.giveBack(state.slot) }
        handshake = nil
    }

    /// The next attempt, with a growing and jittered time-out for the one after it.
    func repeatHandshake(at now: Instant) {
        guard let initiator, var state = initiator.handshake else { return }
        defer { Secrets.wipeStack() }
        let wantsFresh =
            (currentSession?.handshakes.resumptions ?? 0) >= Limits.vainResumptions
            || currentSession?.isGoingAway == true
        let salt = UInt32(truncatingIfNeeded: host.random.next() & 0xff)
        let index = state.slot.index(salt: salt)
        let payload = HelloPayload(
            hasHardwareAES: CipherSuite.hasHardwareAES,
            wantsFresh: wantsFresh || currentSession == nil,
            index: index, instance: initiator.instance,
            timestamp: wallClock(at: now),
            challenge: state.challenge(at: now))
        var noise = NoiseHandshake.initiator(
            local: host.configuration.identity, remote: initiator.remoteKey,
            prologue: Self.prologue,
            preSharedKey: initiator.preSharedKey, ephemeral: host.random.key())
        // A configured key of small order can't work; the answer never comes, which is what the
        // user sees.
        if hasUplinks, let message = try? noise.writeMessage(payload: payload.bytes) {
            var datagram = Self.datagram(DatagramHeader(kind: .hello, session: 0), message)
            let mac1 = datagram.withUnsafeBytes { initiator.remoteKeys.mac1($0) }
            withUnsafeBytes(of: mac1) { datagram += $0 }
            let attempt = HandshakeState.Attempt(
                noise: noise, index: index, datagram: datagram, mac1: mac1, sentAt: now,
                wantsFresh: wantsFresh)
            if state.attempts.count == Limits.handshakeAttempts { state.attempts.removeFirst() }
            state.attempts.append(attempt)
            // Single mode lets the other radios sleep as long as the first answers, or one lost
            // datagram keeps it from that.
            let onlyOne = mode == .single && state.count < 2
            var uplinks = raceOrder
            if state.count % 8 != 7 { leaveOutHeard(&uplinks, at: now) }
            for uplink in uplinks where !onlyOne || uplink.number == uplinks.first?.number {
                post(attempt, through: uplink, at: now)
            }
        }
        let limit =
            host.proxy.waiting.isEmpty && currentSession?.streams.isEmpty ?? true
            ? Limits.idleHandshakeTimeout : Limits.waitingHandshakeTimeout
        var timeout = Limits.firstHandshakeTimeout
        for _ in 0..<min(state.count, 10) { timeout = min(timeout * 3 / 2, limit) }
        // A fifth either way, so that many proxies don't knock in step at a concentrator that comes
        // back.
        let jitter = Int64(host.random.next() % 400) - 200
        state.count += 1
        state.nextAt = now + timeout + timeout * jitter / 1000
        handshake = state
    }

    private var raceOrder: [Uplink] {
        // The uplink in use first: single mode would not have another one woken.
        let used = currentSession.flatMap { session in
            session.paths.first { $0?.health == .usable }??.uplink
        }
        func place(_ uplink: Uplink) -> Int {
            uplink.number == used ? 0 : 1 + uplink.number.value + (uplink.isBackup ? 1 << 16 : 0)
        }
        return host.proxy.uplinks.filter(\.isUp).map(\.uplink).sorted { place($0) < place($1) }
    }

    /// Where the concentrator is heard and no path works, it is the paths that carry no data: seven
    /// of eight attempts go by the other uplinks only, if there are any, or the quickest answer
    /// would come by such a path again, before a radio has woken.
    private func leaveOutHeard(_ uplinks: inout [Uplink], at now: Instant) {
        guard let session = currentSession, !session.hasUsablePath else { return }
        func isHeard(_ uplink: Uplink) -> Bool {
            session.paths.contains {
                guard let path = $0, path.isOpen, path.uplink == uplink.number else { return false }
                return now - path.monitor.lastArrival < Limits.handshakeAfterSilence
            }
        }
        let others = uplinks.filter { !isHeard($0) }
        if !others.isEmpty { uplinks = others }
    }

    private func post(_ attempt: HandshakeState.Attempt, through uplink: Uplink, at now: Instant) {
        guard let initiator else { return }
        for remote in handshakeRemotes() where remote.address.isIPv4 == uplink.isIPv4 {
            let held = initiator.cookies.firstIndex {
                $0.uplink == uplink.number && $0.remote == remote && $0.until > now
            }
            if let held { initiator.cookies[held].usedFor = attempt.index }
            post(attempt, uplink.number, remote, held.map { initiator.cookies[$0].cookie })
        }
    }

    /// The second MAC is zero without a cookie.
    private func post(
        _ attempt: HandshakeState.Attempt, _ uplink: UplinkNumber, _ remote: SocketAddress,
        _ cookie: Bytes16?
    ) {
        var bytes = attempt.datagram
        let mac2 =
            cookie.map { cookie in bytes.withUnsafeBytes { MessageAuthentication(key: cookie)($0) }
            } ?? .zero
        withUnsafeBytes(of: mac2) { bytes += $0 }
        host.post(
            Outgoing(
                bytes: bytes, uplink: uplink, remote: remote,
                local: remote.address.isIPv4 ? .unspecifiedV4 : .unspecifiedV6))
    }

    /// The concentrator is busy: the hello goes again with its cookie, once, and later ones have it
    /// at once.
    func receiveCookie(
        _ datagram: UnsafeMutableRawBufferPointer, from source: PathAddress, at now: Instant
    ) {
        let remote = source.remote, uplink = source.uplink
        guard let initiator, let attempts = initiator.handshake?.attempts,
            datagram.count == CookieDatagram.size
        else {
            host.counters.unknownSession += 1
            return
        }
        let bytes = UnsafeRawBufferPointer(datagram)
        let nonce = UnsafeRawBufferPointer(
            rebasing: bytes[CookieDatagram.nonce..<CookieDatagram.sealed])
        let sealed = UnsafeRawBufferPointer(rebasing: bytes[CookieDatagram.sealed...])
        for attempt in attempts.reversed() {
            guard
                let cookie = initiator.remoteKeys.open(
                    cookie: sealed, nonce: nonce, mac1: attempt.mac1)
            else { continue }
            let held = HeldCookie(
                uplink: uplink, remote: remote, cookie: cookie, until: now + Limits.cookieLifetime,
                usedFor: attempt.index)
            if let i = initiator.cookies.firstIndex(where: {
                $0.uplink == uplink && $0.remote == remote
            }) {
                // One that comes again, or for a hello that had one.
                if initiator.cookies[i].usedFor == attempt.index { return }
                initiator.cookies[i] = held
            } else {
                if initiator.cookies.count == Limits.heldCookies { initiator.cookies.removeFirst() }
                initiator.cookies.append(held)
            }
            post(attempt, uplink, remote, cookie)
            return
        }
        host.counters.notAuthentic += 1
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
        from source: PathAddress, at now: Instant
    ) {
        guard let state = handshake,
            let attempt = state.attempts.first(where: { $0.index == header.session })
        else {
            host.counters.unknownSession += 1
            return
        }
        var noise = attempt.noise
        guard datagram.count > DatagramHeader.size + WelcomePayload.tokenSize else {
            host.counters.malformed += 1
            return
        }
        let split = datagram.count - WelcomePayload.tokenSize
        let message = UnsafeRawBufferPointer(rebasing: datagram[DatagramHeader.size..<split])
        let token = Int64(bigEndian: datagram.loadUnaligned(fromByteOffset: split, as: Int64.self))
        guard let bytes = try? noise.readMessage(message), let welcome = WelcomePayload(bytes),
            let suite = CipherSuite(rawValue: welcome.cipher)
        else {
            host.counters.notAuthentic += 1
            return
        }
        defer { Secrets.wipeStack() }
        let arrival = WelcomeArrival(
            source: source, token: token, sentAt: attempt.sentAt)
        switch welcome.outcome {
        case .challenge: answer(welcome.challenge, attempt.index, at: now)
        case .resumed: resume(state.slot, attempt, welcome, suite, noise.split(), arrival, at: now)
        case .newSession:
            begin(state.slot, attempt, welcome, suite, noise.split(), arrival, at: now)
        }
    }

    private func begin(
        _ slot: SessionSlot, _ attempt: HandshakeState.Attempt, _ welcome: WelcomePayload,
        _ suite: CipherSuite,
        _ keys: NoiseHandshake.TransportKeys, _ arrival: WelcomeArrival, at now: Instant
    ) {
        guard let initiator else { return }
        let old = currentSession
        let session = Session(
            SessionOpening(
                indices: SessionIndices(
                    slot: slot, local: attempt.index, remote: welcome.index),
                instance: initiator.instance, suite: suite,
                keys: EpochKeys(epoch: 0, suite: suite, keys: keys, since: now)),
            host: host, user: nil, peer: initiator.peer, memory: ownMemory, mode: mode,
            numberCursor: host.random.next(), at: now)
        session.addresses.first = arrival.source.remote
        session.addresses.forbidsFirst = welcome.forbidsFirst
        session.peerProgram = welcome.program
        sessions[slot] = session
        handshake = nil
        currentSession = session
        if let old, old.isGoingAway {
            leave(old, at: now)
        } else if let old {
            if !attempt.wantsFresh { keepUnheard(of: old, at: now) }
            end(old, .replaced, at: now)
        }
        host.emit(.sessionOpened(session: session.slot, user: ""))
        session.begin(arrival, at: now)
        let streams = host.proxy.waiting
        host.proxy.waiting.removeAll()
        for stream in streams where !stream.progress.isReleased || stream.connection.error == nil {
            session.attach(stream, at: now)
        }
    }

    /// The concentrator has kept the session and its connections: they go on with new keys.
    private func resume(
        _ slot: SessionSlot, _ attempt: HandshakeState.Attempt, _ welcome: WelcomePayload,
        _ suite: CipherSuite,
        _ keys: NoiseHandshake.TransportKeys, _ arrival: WelcomeArrival, at now: Instant
    ) {
        guard let session = currentSession, !attempt.wantsFresh else { return }
        let old = session.slot, silence = now - session.activity.lastArrival
        sessions.giveBack(old)
        host.deadlines.set(old, .distantFuture)
        session.goOn(
            SessionIndices(slot: slot, local: attempt.index, remote: welcome.index), suite: suite,
            keys: EpochKeys(epoch: 0, suite: suite, keys: keys, since: now))
        sessions[slot] = session
        handshake = nil
        session.activity.lastArrival = now
        session.handshakes.resumptions += 1
        host.emit(.sessionResumed(session: slot, silence: silence))
        session.notifyingAll(at: now) { session.resume(arrival, at: now) }
    }

    /// The concentrator can't tell this hello from a replay, since our clock says something else
    /// than it expects: the next one holds what it has just made up.
    private func answer(_ challenge: Bytes16, _ index: UInt32, at now: Instant) {
        guard var state = handshake else { return }
        state.attempts.removeAll { $0.index == index }
        state.challenges += 1
        state.challenge = (challenge, until: now + Limits.challengeLifetime)
        handshake = state
        if state.challenges <= Limits.promptAnswers { repeatHandshake(at: now) }
    }
}

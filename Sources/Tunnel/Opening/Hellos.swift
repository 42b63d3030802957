import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// What a concentrator has for answering hellos.
final class HelloListener {
    var gate: HelloGate
    /// Hellos that were answered and not followed by a record yet.
    var pending = PendingHandshakes()
    /// Hellos of nobody we know that are told.
    var strangers = TokenBucket(rate: Limits.strangerRate, burst: Limits.strangerBurst)
    /// The records of this turn are served: hellos may be opened.
    var isDue = false

    init(gate: HelloGate) { self.gate = gate }
}

/// Why a known user's hello did not begin a session as it was.
public enum HelloRefusal: Equatable, Sendable {
    /// Its time is older than that of an earlier hello, or than the concentrator; asked again with
    /// a challenge.
    case old(by: Interval)
    /// Its time is far ahead of the concentrator's clock; asked again with a challenge.
    case ahead(by: Interval)
    /// Its time is older than that of another process' hello with the same key; asked again with a
    /// challenge.
    case otherInstance(by: Interval)
    /// More hellos than a user may send.
    case tooMany
    /// All sessions are taken.
    case noSession
    /// It was answered, as several before it, and no record followed: the two have different
    /// pre-shared keys, or the answers don't arrive.
    case unheeded
}

/// The concentrator answers hellos: the cheapest question first (HelloGate), then who asks, then
/// whether it is no replay; its own ephemeral key is made last.
extension Endpoint {
    // MARK: As they come

    func receiveHello(
        _ datagram: UnsafeMutableRawBufferPointer, from source: PathAddress, at now: Instant
    ) {
        let bytes = UnsafeRawBufferPointer(datagram)
        guard let listener, listener.gate.knowsKey(bytes) else {
            host.counters.refusedHellos += 1; return
        }
        if repeatWelcome(bytes, to: source, at: now) { return }
        switch listener.gate.admit(bytes, from: source, random: &host.random, at: now) {
        case .queued: break
        case .cookie(let cookie):
            postCookie(cookie, for: Bytes16(bytes, at: HelloDatagram.mac1), to: source)
        case .dropped: host.counters.refusedHellos += 1
        }
    }

    private func postCookie(_ cookie: Bytes16, for mac1: Bytes16, to source: PathAddress) {
        guard host.work.outbox.count < Limits.outboxCookies, let keys = listener?.gate.keys else {
            return
        }
        var bytes = Self.datagram(DatagramHeader(kind: .cookie, session: 0), [])
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: CookieDatagram.sealed - CookieDatagram.nonce)
        bytes.withUnsafeMutableBytes {
            host.random.fill(UnsafeMutableRawBufferPointer(rebasing: $0[start...]))
        }
        bytes += bytes.withUnsafeBytes {
            keys.seal(
                cookie: cookie, nonce: UnsafeRawBufferPointer(rebasing: $0[start...]), mac1: mac1)
        }
        host.post(
            Outgoing(
                bytes: bytes, uplink: source.uplink, remote: source.remote, local: source.local))
    }

    /// A copy of a hello that was answered already, by another path or repeated by the network.
    private func repeatWelcome(
        _ datagram: UnsafeRawBufferPointer, to source: PathAddress,
        at now: Instant
    ) -> Bool {
        let mac1 = Bytes16(datagram, at: HelloDatagram.mac1)
        guard let listener, var known = listener.pending[hello: mac1],
            datagram[..<HelloDatagram.mac1].elementsEqual(known.hello)
        else { return false }
        if known.repeats < Limits.welcomeRepeats {
            known.repeats += 1
            let token = known.token(for: source, at: now) { host.random.nonce() }
            listener.pending[hello: mac1] = known
            postWelcome(known.welcome, to: source, token: token)
        }
        return true
    }

    private func postWelcome(_ welcome: [UInt8], to source: PathAddress, token: Int64) {
        var bytes = welcome
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: token >> shift))
        }
        host.post(
            Outgoing(
                bytes: bytes, uplink: source.uplink, remote: source.remote, local: source.local))
    }

    // MARK: In their turn

    /// Opens a turn's share of the hellos that wait, after the records.
    func openHellos(at now: Instant) {
        guard let listener else { return }
        defer { Secrets.wipeStack() }
        var spent = 0
        withUnsafeTemporaryAllocation(byteCount: HelloDatagram.size, alignment: 8) { space in
            while spent < Limits.multiplicationsPerTurn, listener.gate.nextAt <= now,
                let source = listener.gate.takeFirst(into: space.baseAddress!)
            {
                let cost = openHello(UnsafeRawBufferPointer(space), from: source, at: now)
                listener.gate.spend(cost, at: now)
                spent += cost
            }
        }
        listener.gate.pause(at: now)
    }

    /// The multiplications it cost: one for garbage, five for a welcome.
    private func openHello(
        _ datagram: UnsafeRawBufferPointer, from source: PathAddress, at now: Instant
    ) -> Int {
        // A copy may have been answered since this one came.
        if repeatWelcome(datagram, to: source, at: now) { return 0 }
        let message = UnsafeRawBufferPointer(rebasing: datagram[HelloDatagram.message])
        var noise = NoiseHandshake.responder(
            local: host.configuration.identity, prologue: Self.prologue)
        guard let key = try? noise.readSender(message) else {
            host.counters.refusedHellos += 1; return 1
        }
        guard let user = users[key] else {
            host.counters.refusedHellos += 1
            return tellStranger(key, noise, message, from: source, at: now)
        }
        guard let bytes = try? noise.readMessage(message), let hello = HelloPayload(bytes) else {
            host.counters.refusedHellos += 1
            return 2
        }
        if let refusal = user.judge(hello, wallClock: wallClock(at: now), at: now) {
            host.counters.refusedHellos += 1
            if user.isNews(refusal, at: now) {
                host.emit(
                    .helloRefused(
                        user: user.name, remote: source.remote, reason: refusal))
            }
            return challenge(user, hello, &noise, refusal, to: source, at: now)
        }
        guard user.hellos.take(at: now) else {
            return refuse(.tooMany, user, from: source, at: now)
        }
        return welcome(user, hello, &noise, datagram, to: source, at: now)
    }

    private func refuse(
        _ reason: HelloRefusal, _ user: UserState, from source: PathAddress, at now: Instant
    ) -> Int {
        host.counters.refusedHellos += 1
        if user.isNews(reason, at: now) {
            host.emit(
                .helloRefused(user: user.name, remote: source.remote, reason: reason))
        }
        return 2
    }

    /// Somebody who knows our key and is no user: most likely one whose key was written down
    /// wrongly, or not at all. Told only where the key is really the sender's.
    private func tellStranger(
        _ key: Key32, _ noise: NoiseHandshake, _ message: UnsafeRawBufferPointer,
        from source: PathAddress, at now: Instant
    ) -> Int {
        guard listener?.strangers.take(at: now) == true else { return 1 }
        var noise = noise
        guard (try? noise.readMessage(message)) != nil else { return 2 }
        host.emit(.strangerRefused(key: key, remote: source.remote))
        return 2
    }

    /// A hello that may be a replay, or comes from a machine with another time: the sender shows
    /// that it is here now.
    private func challenge(
        _ user: UserState, _ hello: HelloPayload, _ noise: inout NoiseHandshake,
        _ refusal: HelloRefusal,
        to source: PathAddress, at now: Instant
    ) -> Int {
        guard refusal != .tooMany, user.challenges.take(at: now) else { return 2 }
        let value = user.liveChallenge(at: now) {
            let fresh = host.random.key()
            return Bytes16(a: fresh.a, b: fresh.b | 1)  // never zero
        }
        let payload = WelcomePayload(
            challenge: value, cipher: CipherSuite.chaCha20Poly1305.rawValue
        ).bytes
        noise.prepare(
            preSharedKey: user.peer.preSharedKey, ephemeral: host.random.key())
        guard let answer = try? noise.writeMessage(payload: payload) else { return 5 }
        postWelcome(
            Self.datagram(DatagramHeader(kind: .welcome, session: hello.index), answer), to: source,
            token: 0)
        return 5
    }

    private func welcome(
        _ user: UserState, _ hello: HelloPayload, _ noise: inout NoiseHandshake,
        _ datagram: UnsafeRawBufferPointer, to source: PathAddress, at now: Instant
    ) -> Int {
        let suite =
            CipherSuite.hasHardwareAES && hello.hasHardwareAES
            ? CipherSuite.aes256GCM : .chaCha20Poly1305
        let living = hello.wantsFresh ? nil : livingSession(of: user, instance: hello.instance)
        guard let slot = living?.slot ?? sessions.takeSlot() else {
            return refuse(.noSession, user, from: source, at: now)
        }
        let index =
            living.map { unusedIndex(for: $0) }
            ?? slot.index(salt: host.salt(UInt32(truncatingIfNeeded: host.random.next())))
        var welcome = WelcomePayload(
            outcome: living == nil ? .newSession : .resumed,
            cipher: suite.rawValue, index: index,
            forbidsFirst: !host.configuration.joinsFirstAddress)
        welcome.program = host.configuration.program
        noise.prepare(
            preSharedKey: user.peer.preSharedKey, ephemeral: host.random.key())
        guard let answer = try? noise.writeMessage(payload: welcome.bytes) else {
            if living == nil { sessions.giveBack(slot) }
            host.counters.refusedHellos += 1
            return 5
        }
        let bytesOut = Self.datagram(DatagramHeader(kind: .welcome, session: hello.index), answer)
        var handshake = PendingHandshake(
            user: user, instance: hello.instance,
            indices: SessionIndices(slot: slot, local: index, remote: hello.index),
            resumes: living != nil, suite: suite,
            keys: EpochKeys(epoch: 0, suite: suite, keys: noise.split(), since: now),
            openedAt: now, mac1: Bytes16(datagram, at: HelloDatagram.mac1),
            hello: Array(datagram[..<HelloDatagram.mac1]), welcome: bytesOut)
        let token = handshake.token(for: source, at: now) { host.random.nonce() }
        keep(handshake)
        postWelcome(bytesOut, to: source, token: token)
        if user.noteWelcome(at: now), user.isNews(.unheeded, at: now) {
            host.emit(.helloRefused(user: user.name, remote: source.remote, reason: .unheeded))
        }
        return 5
    }

    private func livingSession(of user: UserState, instance: UInt64) -> Session? {
        for slot in user.sessions {
            if let session = sessions[slot], session.instance == instance, !session.isGoingAway {
                return session
            }
        }
        return nil
    }

    // MARK: Until the first record

    /// The handshake waits for a record; of its session, its user and all of them the oldest makes
    /// room for it.
    private func keep(_ handshake: PendingHandshake) {
        guard let listener else { return }
        let slot = handshake.indices.slot
        let beside = handshake.resumes ? listener.pending.all { $0.indices.slot == slot } : []
        if beside.count >= Limits.successors { forget(beside[0]) }
        let mine = listener.pending.all { $0.user === handshake.user }
        if mine.count >= Limits.unconfirmedPerUser {
            forget(mine[0])
        } else if listener.pending.count >= Limits.unconfirmedSessions,
            let oldest = listener.pending.oldest
        {
            forget(oldest)
        }
        listener.pending.add(handshake)
    }

    /// For a handshake by which the session may go on: an index that names neither it nor another
    /// such handshake.
    private func unusedIndex(for living: Session) -> UInt32 {
        let others = listener?.pending.all { $0.indices.slot == living.slot } ?? []
        var index = others.last?.indices.local ?? living.indices.local
        repeat {
            index = living.slot.index(salt: host.salt(index >> 16 &+ 1))
        } while index == living.indices.local || listener?.pending[index] != nil
        return index
    }

    /// Nothing will come of it.
    func forget(_ handshake: PendingHandshake) {
        listener?.pending.remove(handshake.mac1)
        handshake.keys.wipe()
        if !handshake.resumes { sessions.giveBack(handshake.indices.slot) }
    }

    /// Nothing will come of those that `fits`.
    func forgetPending(where fits: (PendingHandshake) -> Bool) {
        for handshake in listener?.pending.all(where: fits) ?? [] { forget(handshake) }
    }

    /// Nobody came to use the oldest ones.
    func expirePending(at now: Instant) {
        guard let listener else { return }
        while listener.pending.deadline <= now, let oldest = listener.pending.oldest {
            forget(oldest)
        }
    }

    /// The peer has spoken with a handshake's keys: a session begins with them, and replaces the
    /// instance's older one; or that goes on with them. The session that lives.
    func confirm(_ handshake: PendingHandshake, at now: Instant) -> Session? {
        listener?.pending.remove(handshake.mac1)
        // Its other attempts are answered, but not used: the proxy has chosen.
        forgetPending { $0.user === handshake.user && $0.instance == handshake.instance }
        handshake.user.noteRecord()
        guard handshake.resumes else { return begin(handshake, at: now) }
        let living = sessions[handshake.indices.slot]
        assert(living != nil, "a session that ends forgets its handshakes")
        living?.notifyingAll(at: now) { living?.takeOver(handshake, at: now) }
        return living
    }

    private func begin(_ handshake: PendingHandshake, at now: Instant) -> Session {
        let user = handshake.user
        let session = Session(
            SessionOpening(
                indices: handshake.indices, instance: handshake.instance, suite: handshake.suite,
                keys: handshake.keys),
            host: host, user: user, peer: user.peer, memory: user.memory, mode: mode,
            numberCursor: 0, at: handshake.openedAt)
        session.handshakes.welcomed = handshake.welcomed
        sessions[session.slot] = session
        for slot in user.sessions {
            guard let other = sessions[slot] else { continue }
            // One that is going away has connections to its end beside it.
            if other.isGoingAway { continue }
            if other.instance == session.instance {
                end(other, .replaced, at: now)
            } else if HelloPayload.machine(of: other.instance)
                == HelloPayload.machine(of: session.instance)
            {
                other.handshakes.hasFollower = true
                other.timersChanged()
            }
        }
        makeRoom(for: session, at: now)
        user.sessions.append(session.slot)
        host.emit(.sessionOpened(session: session.slot, user: user.name))
        session.begin(at: now)
        return session
    }
}

extension Session {
    /// Concentrator: the proxy has spoken.
    fileprivate func begin(at now: Instant) {
        activity.lastArrival = now
        announceAll(at: now)
        if host.goesAwayBy != nil { announceGoAway(at: now) }
    }

    /// Concentrator: the session goes on with a handshake's keys: the same process is back. Where
    /// its paths lead is asked again.
    fileprivate func takeOver(_ handshake: PendingHandshake, at now: Instant) {
        let silence = now - activity.lastArrival
        goOn(handshake.indices, suite: handshake.suite, keys: handshake.keys)
        handshakes.welcomed = handshake.welcomed
        activity.lastArrival = now
        host.emit(.sessionResumed(session: slot, silence: silence))
        keepStreams(at: now)
        for case let path? in paths {
            if path.health == .usable { fallSilent(path, at: now) }
            path.validation.restart()
            path.monitor.cancelProbe()
        }
    }
}

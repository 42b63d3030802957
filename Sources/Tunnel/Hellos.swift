import Buffers
import Crypto
import Measures
import Multipath
import Wire

/// A session that answered a hello and waits for a first record.
struct Unconfirmed {
    var session: Session
    var hello: [UInt8]
    var welcome: [UInt8]
    var repeats = 0
}

/// What a concentrator has for answering hellos.
final class HelloListener {
    var gate: HelloGate
    /// Sessions that answered a hello, by its first MAC; the MACs, the oldest first.
    var unconfirmed: [Bytes16: Unconfirmed] = [:]
    var unconfirmedOrder: [Bytes16] = []
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
        guard let listener, let known = listener.unconfirmed[mac1],
            datagram[..<HelloDatagram.mac1].elementsEqual(known.hello)
        else { return false }
        if known.repeats < Limits.welcomeRepeats {
            listener.unconfirmed[mac1]?.repeats += 1
            postWelcome(
                known.welcome, to: source, token: token(known.session, for: source, at: now))
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

    /// What the welcome to this address carries, and to no other: whoever hands it back receives
    /// there.
    private func token(_ session: Session, for source: PathAddress, at now: Instant) -> Int64 {
        if let i = session.handshakes.welcomed.firstIndex(where: { $0.address == source }) {
            session.handshakes.welcomed[i].asks += 1
            return session.handshakes.welcomed[i].nonce
        }
        var check = AddressCheck(address: source, nonce: host.random.nonce())
        check.askedAt = now
        check.asks = 1
        session.handshakes.welcomed.append(check)
        return check.nonce
    }

    // MARK: In their turn

    /// Opens a turn's share of the hellos that wait, after the records.
    func openHellos(at now: Instant) {
        guard let listener else { return }
        defer { Secrets.wipeStack() }
        var spent = 0
        withUnsafeTemporaryAllocation(byteCount: HelloDatagram.size, alignment: 8) { space in
            while spent < Limits.multiplicationsPerTurn, listener.gate.nextAt(now) <= now,
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
        let salt =
            living?.unusedSalt ?? host.salt(UInt32(truncatingIfNeeded: host.random.next()))
        let index = slot.index(salt: salt)
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
        let session = Session(
            SessionOpening(
                slot: slot, localIndex: index, remoteIndex: hello.index,
                instance: hello.instance, suite: suite, keys: noise.split()),
            host: host, user: user, peer: user.peer, memory: user.memory, mode: mode,
            numberCursor: 0, at: now)
        if let living {
            if living.handshakes.successors.count >= Limits.successors,
                let hello = living.handshakes.successors[0].handshakes.hello
            {
                forgetUnconfirmed(hello)
            }
            session.handshakes.isSuccessor = true
            living.handshakes.successors.append(session)
        } else {
            sessions[slot] = session
        }
        remember(session, datagram, welcome: bytesOut, at: now)
        postWelcome(bytesOut, to: source, token: token(session, for: source, at: now))
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

    private func remember(
        _ session: Session, _ datagram: UnsafeRawBufferPointer, welcome: [UInt8], at now: Instant
    ) {
        guard let listener else { return }
        let mine = listener.unconfirmedOrder.filter {
            listener.unconfirmed[$0]?.session.user === session.user
        }
        if mine.count >= Limits.unconfirmedPerUser {
            forgetUnconfirmed(mine[0])
        } else if listener.unconfirmedOrder.count >= Limits.unconfirmedSessions {
            forgetUnconfirmed(listener.unconfirmedOrder[0])
        }
        let mac1 = Bytes16(datagram, at: HelloDatagram.mac1)
        listener.unconfirmed[mac1] = Unconfirmed(
            session: session, hello: Array(datagram[..<HelloDatagram.mac1]), welcome: welcome)
        listener.unconfirmedOrder.append(mac1)
        session.handshakes.hello = mac1
        (sessions[session.slot] ?? session).arm(now + Limits.unconfirmedLifetime)
    }

    /// Nobody came to use it.
    func expire(_ session: Session, at now: Instant) {
        if let hello = session.handshakes.hello { forgetUnconfirmed(hello) }
    }

    func forgetUnconfirmed(_ mac1: Bytes16) {
        guard let session = listener?.unconfirmed[mac1]?.session else { return }
        noLongerUnconfirmed(mac1)
        session.keys.wipe()
        if session.handshakes.isSuccessor {
            sessions[session.slot]?.handshakes.successors.removeAll { $0 === session }
            return
        }
        sessions.giveBack(session.slot)
        host.deadlines.set(session.slot, .distantFuture)
    }

    private func noLongerUnconfirmed(_ mac1: Bytes16) {
        listener?.unconfirmed[mac1] = nil
        listener?.unconfirmedOrder.removeAll { $0 == mac1 }
    }

    func expireSuccessors(_ session: Session, at now: Instant) {
        while let first = session.handshakes.successors.first,
            first.openedAt + Limits.unconfirmedLifetime <= now,
            let hello = first.handshakes.hello
        { forgetUnconfirmed(hello) }
    }

    func forgetSuccessors(_ session: Session) {
        while let hello = session.handshakes.successors.first?.handshakes.hello {
            forgetUnconfirmed(hello)
        }
    }

    /// The peer has spoken with the new keys: the session is real, and replaces the instance's
    /// older one; or the older one goes on with its keys. The session that lives.
    func confirm(_ session: Session, at now: Instant) -> Session {
        session.life = .living
        session.activity.lastArrival = now
        if let hello = session.handshakes.hello { noLongerUnconfirmed(hello) }
        session.handshakes.hello = nil
        let living = session.handshakes.isSuccessor ? sessions[session.slot] : nil
        living?.handshakes.successors.removeAll { $0 === session }
        // Its other attempts are answered, but not used: the proxy has chosen.
        for mac1 in listener?.unconfirmedOrder ?? [] {
            guard let other = listener?.unconfirmed[mac1]?.session, other.user === session.user,
                other.instance == session.instance
            else { continue }
            forgetUnconfirmed(mac1)
        }
        session.user?.noteRecord()
        if let living { takeOver(living, by: session, at: now); return living }
        for slot in session.user?.sessions ?? [] {
            guard let other = sessions[slot] else { continue }
            // One that is going away has connections to its end beside it.
            if other.isGoingAway { continue }
            if other.instance == session.instance {
                end(other, reason: SessionEnd.replaced, at: now)
            } else if HelloPayload.machine(of: other.instance)
                == HelloPayload.machine(of: session.instance)
            {
                other.handshakes.hasFollower = true
                other.schedule(at: now)
            }
        }
        makeRoom(for: session, at: now)
        session.user?.sessions.append(session.slot)
        host.emit(.sessionOpened(session: session.slot, user: session.user?.name ?? ""))
        session.announceAll(at: now)
        if host.departure != nil { session.announceDeparture(at: now) }
        session.schedule(at: now)
        return session
    }

    /// The session goes on with a handshake's keys: the same process is back. Where its paths lead
    /// is asked again.
    private func takeOver(_ session: Session, by other: Session, at now: Instant) {
        let silence = now - session.activity.lastArrival
        session.goOn(
            slot: session.slot, localIndex: other.indices.local, remoteIndex: other.indices.remote,
            suite: other.keys.suite, keys: other.keys.current)
        session.handshakes.welcomed = other.handshakes.welcomed
        session.activity.lastArrival = now
        host.emit(.sessionResumed(session: session.slot, silence: silence))
        session.goOn(at: now)
        for case let path? in session.paths {
            if path.health == .usable { session.fallSilent(path, at: now) }
            path.validation.isValidated = false
            path.validation.check = nil
            path.validation.held.removeAll()
            path.monitor.cancelProbe()
        }
        session.schedule(at: now)
    }
}

extension Session {
    /// When the first of the handshakes that may go on with the session is forgotten.
    func nextSuccessorEnd() -> Instant {
        handshakes.successors.first.map { $0.openedAt + Limits.unconfirmedLifetime }
            ?? .distantFuture
    }
}

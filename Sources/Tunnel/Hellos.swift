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
}

/// The concentrator answers hellos: the cheapest question first (HelloGate), then who asks, then
/// whether it is no replay; its own ephemeral key is made last.
extension Endpoint {
    // MARK: As they come

    func receiveHello(
        _ datagram: UnsafeMutableRawBufferPointer, from remote: SocketAddress, local: IPAddress,
        uplink: Int, at now: Instant
    ) {
        let bytes = UnsafeRawBufferPointer(datagram)
        let source = PathAddress(remote: remote, local: local, uplink: uplink)
        guard gate?.knowsKey(bytes) == true else { counters.refusedHellos += 1; return }
        if repeatWelcome(bytes, to: source, at: now) { return }
        switch gate?.admit(bytes, from: source, random: &random, at: now) {
        case .queued: break
        case .cookie(let cookie):
            postCookie(cookie, for: Bytes16(bytes, at: HelloDatagram.mac1), to: source)
        case .dropped, nil: counters.refusedHellos += 1
        }
    }

    private func postCookie(_ cookie: Bytes16, for mac1: Bytes16, to source: PathAddress) {
        guard outbox.count < Limits.outboxCookies, let keys = gate?.keys else { return }
        var bytes = Self.datagram(DatagramHeader(kind: .cookie, session: 0), [])
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: CookieDatagram.sealed - CookieDatagram.nonce)
        bytes.withUnsafeMutableBytes {
            random.fill(UnsafeMutableRawBufferPointer(rebasing: $0[start...]))
        }
        bytes += bytes.withUnsafeBytes {
            keys.seal(
                cookie: cookie, nonce: UnsafeRawBufferPointer(rebasing: $0[start...]), mac1: mac1)
        }
        post(
            Outgoing(
                bytes: bytes, uplink: source.uplink, remote: source.remote, local: source.local))
    }

    /// A copy of a hello that was answered already, by another path or repeated by the network.
    private func repeatWelcome(
        _ datagram: UnsafeRawBufferPointer, to source: PathAddress,
        at now: Instant
    ) -> Bool {
        let mac1 = Bytes16(datagram, at: HelloDatagram.mac1)
        guard let known = unconfirmed[mac1],
            datagram[..<HelloDatagram.mac1].elementsEqual(known.hello)
        else { return false }
        if known.repeats < Limits.welcomeRepeats {
            unconfirmed[mac1]?.repeats += 1
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
        post(
            Outgoing(
                bytes: bytes, uplink: source.uplink, remote: source.remote, local: source.local))
    }

    /// What the welcome to this address carries, and to no other: whoever hands it back receives
    /// there.
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

    // MARK: In their turn

    /// Opens a turn's share of the hellos that wait, after the records.
    func openHellos(at now: Instant) {
        defer { Secrets.wipeStack() }
        var spent = 0
        withUnsafeTemporaryAllocation(byteCount: HelloDatagram.size, alignment: 8) { room in
            while spent < Limits.multiplicationsPerTurn, let due = gate?.nextAt(now), due <= now,
                let source = gate?.takeFirst(into: room.baseAddress!)
            {
                let cost = openHello(UnsafeRawBufferPointer(room), from: source, at: now)
                gate?.spend(cost, at: now)
                spent += cost
            }
        }
        gate?.pause(at: now)
    }

    /// The multiplications it cost: one for garbage, five for a welcome.
    private func openHello(
        _ datagram: UnsafeRawBufferPointer, from source: PathAddress, at now: Instant
    ) -> Int {
        // A copy may have been answered since this one came.
        if repeatWelcome(datagram, to: source, at: now) { return 0 }
        let message = UnsafeRawBufferPointer(rebasing: datagram[HelloDatagram.message])
        var noise = NoiseHandshake.responder(local: configuration.identity, prologue: Self.prologue)
        guard let key = try? noise.readSender(message) else {
            counters.refusedHellos += 1; return 1
        }
        guard let number = userNumbers[key] else {
            counters.refusedHellos += 1
            return tellStranger(key, noise, message, from: source, at: now)
        }
        guard let bytes = try? noise.readMessage(message), let hello = HelloPayload(bytes) else {
            counters.refusedHellos += 1
            return 2
        }
        if let refusal = users[number].judge(hello, wallClock: wallClock(at: now), at: now) {
            counters.refusedHellos += 1
            if users[number].isNews(refusal, at: now) {
                say(
                    .helloRefused(
                        user: users[number].user.name, remote: source.remote, reason: refusal))
            }
            return challenge(number, hello, &noise, refusal, to: source, at: now)
        }
        guard users[number].hellos.take(at: now) else {
            return refuse(.tooMany, number, from: source, at: now)
        }
        return welcome(number, hello, &noise, datagram, to: source, at: now)
    }

    private func refuse(
        _ reason: HelloRefusal, _ number: Int, from source: PathAddress, at now: Instant
    ) -> Int {
        counters.refusedHellos += 1
        if users[number].isNews(reason, at: now) {
            say(.helloRefused(user: users[number].user.name, remote: source.remote, reason: reason))
        }
        return 2
    }

    /// Somebody who knows our key and is no user: most likely one whose key was written down
    /// wrongly, or not at all. Told only where the key is really the sender's.
    private func tellStranger(
        _ key: Key32, _ noise: NoiseHandshake, _ message: UnsafeRawBufferPointer,
        from source: PathAddress, at now: Instant
    ) -> Int {
        guard strangers.take(at: now) else { return 1 }
        var noise = noise
        guard (try? noise.readMessage(message)) != nil else { return 2 }
        say(.strangerRefused(key: key, remote: source.remote))
        return 2
    }

    /// A hello that may be a replay, or comes from a machine with another time: the sender shows
    /// that it is here now.
    private func challenge(
        _ number: Int, _ hello: HelloPayload, _ noise: inout NoiseHandshake,
        _ refusal: HelloRefusal,
        to source: PathAddress, at now: Instant
    ) -> Int {
        guard refusal != .tooMany, users[number].challenges.take(at: now) else { return 2 }
        let value = users[number].liveChallenge(at: now) {
            let fresh = random.key()
            return Bytes16(a: fresh.a, b: fresh.b | 1)  // never zero
        }
        let payload = WelcomePayload(
            challenge: value, cipher: CipherSuite.chaCha20Poly1305.rawValue
        ).bytes
        noise.prepare(
            preSharedKey: users[number].user.preSharedKey ?? .zero, ephemeral: random.key())
        guard let answer = try? noise.writeMessage(payload: payload) else { return 5 }
        postWelcome(
            Self.datagram(DatagramHeader(kind: .welcome, session: hello.index), answer), to: source,
            token: 0)
        return 5
    }

    private func welcome(
        _ number: Int, _ hello: HelloPayload, _ noise: inout NoiseHandshake,
        _ datagram: UnsafeRawBufferPointer, to source: PathAddress, at now: Instant
    ) -> Int {
        let suite =
            CipherSuite.hasHardwareAES && hello.hasHardwareAES
            ? CipherSuite.aes256GCM : .chaCha20Poly1305
        let living = hello.wantsFresh ? nil : livingSession(user: number, instance: hello.instance)
        guard let slot = living?.slot ?? takeSessionSlot() else {
            return refuse(.noSession, number, from: source, at: now)
        }
        let salt = living?.unusedSalt ?? UInt32(truncatingIfNeeded: random.next() & 0xff)
        let index = UInt32(slot) | salt << 16
        let welcome = WelcomePayload(
            outcome: living == nil ? .newSession : .resumed,
            cipher: suite.rawValue, index: index,
            forbidsFirst: !configuration.joinsFirstAddress)
        noise.prepare(
            preSharedKey: users[number].user.preSharedKey ?? .zero, ephemeral: random.key())
        guard let answer = try? noise.writeMessage(payload: welcome.bytes) else {
            if living == nil { freeSessions.append(slot) }
            counters.refusedHellos += 1
            return 5
        }
        let bytesOut = Self.datagram(DatagramHeader(kind: .welcome, session: hello.index), answer)
        let session = Session(
            slot: slot, localIndex: index, remoteIndex: hello.index, isInitiator: false,
            user: users[number].user.name, userNumber: number,
            instance: hello.instance, suite: suite,
            keys: noise.split(), mode: mode, numberCursor: 0, at: now)
        if let living {
            if living.successors.count >= Limits.successors, let hello = living.successors[0].hello
            {
                forgetUnconfirmed(hello)
            }
            session.isSuccessor = true
            living.successors.append(session)
        } else {
            sessions[slot] = session
        }
        remember(session, datagram, welcome: bytesOut, at: now)
        postWelcome(bytesOut, to: source, token: token(session, for: source, at: now))
        return 5
    }

    private func livingSession(user: Int, instance: UInt64) -> Session? {
        for slot in users[user].sessions {
            if let session = sessions[slot], session.instance == instance { return session }
        }
        return nil
    }

    // MARK: Until the first record

    private func remember(
        _ session: Session, _ datagram: UnsafeRawBufferPointer, welcome: [UInt8], at now: Instant
    ) {
        let mine = unconfirmedOrder.filter {
            unconfirmed[$0]?.session.userNumber == session.userNumber
        }
        if mine.count >= Limits.unconfirmedPerUser {
            forgetUnconfirmed(mine[0])
        } else if unconfirmedOrder.count >= Limits.unconfirmedSessions {
            forgetUnconfirmed(unconfirmedOrder[0])
        }
        let mac1 = Bytes16(datagram, at: HelloDatagram.mac1)
        unconfirmed[mac1] = Unconfirmed(
            session: session, hello: Array(datagram[..<HelloDatagram.mac1]), welcome: welcome)
        unconfirmedOrder.append(mac1)
        session.hello = mac1
        arm(sessions[session.slot] ?? session, now + Limits.unconfirmedLifetime)
    }

    /// Nobody came to use it.
    func expire(_ session: Session, at now: Instant) {
        if let hello = session.hello { forgetUnconfirmed(hello) }
    }

    private func forgetUnconfirmed(_ mac1: Bytes16) {
        guard let session = unconfirmed[mac1]?.session else { return }
        noLongerUnconfirmed(mac1)
        session.wipeKeys()
        if session.isSuccessor {
            sessions[session.slot]?.successors.removeAll { $0 === session }
            return
        }
        sessions[session.slot] = nil
        freeSessions.append(session.slot)
        sessionDeadlines.set(session.slot, .distantFuture)
    }

    private func noLongerUnconfirmed(_ mac1: Bytes16) {
        unconfirmed[mac1] = nil
        unconfirmedOrder.removeAll { $0 == mac1 }
    }

    /// When the first of the handshakes that may go on with the session is forgotten.
    func nextSuccessorEnd(_ session: Session) -> Instant {
        session.successors.first.map { $0.openedAt + Limits.unconfirmedLifetime } ?? .distantFuture
    }

    func expireSuccessors(_ session: Session, at now: Instant) {
        while let first = session.successors.first,
            first.openedAt + Limits.unconfirmedLifetime <= now,
            let hello = first.hello
        { forgetUnconfirmed(hello) }
    }

    func forgetSuccessors(_ session: Session) {
        while let hello = session.successors.first?.hello { forgetUnconfirmed(hello) }
    }

    /// The peer has spoken with the new keys: the session is real, and replaces the instance's
    /// older one; or the older one goes on with its keys. The session that lives.
    func confirm(_ session: Session, at now: Instant) -> Session {
        session.isConfirmed = true
        session.lastArrival = now
        if let hello = session.hello { noLongerUnconfirmed(hello) }
        session.hello = nil
        let living = session.isSuccessor ? sessions[session.slot] : nil
        living?.successors.removeAll { $0 === session }
        // Its other attempts are answered, but not used: the proxy has chosen.
        for mac1 in unconfirmedOrder {
            guard let other = unconfirmed[mac1]?.session, other.userNumber == session.userNumber,
                other.instance == session.instance
            else { continue }
            forgetUnconfirmed(mac1)
        }
        if let living { takeOver(living, by: session, at: now); return living }
        for slot in users[session.userNumber].sessions {
            guard let other = sessions[slot], other.instance == session.instance else { continue }
            end(other, reason: "replaced by a new session", at: now)
        }
        makeRoom(for: session, at: now)
        users[session.userNumber].sessions.append(session.slot)
        say(.sessionOpened(session: session.slot, user: session.user))
        announceAll(session, at: now)
        schedule(session, at: now)
        return session
    }

    /// The session goes on with a handshake's keys: the same process is back. Where its paths lead
    /// is asked again.
    private func takeOver(_ session: Session, by other: Session, at now: Instant) {
        let silence = now - session.lastArrival
        session.goOn(
            slot: session.slot, localIndex: other.localIndex, remoteIndex: other.remoteIndex,
            suite: other.suite, keys: other.current)
        session.welcomed = other.welcomed
        session.lastArrival = now
        say(.sessionResumed(session: session.slot, silence: silence))
        goOn(session, at: now)
        for case let path? in session.paths {
            if path.health == .usable { setHealth(.suspect, session, path, at: now) }
            path.isValidated = false
            path.check = nil
            path.held.removeAll()
            path.probe.isOutstanding = false
            path.probe.verdictAt = .distantFuture
        }
        schedule(session, at: now)
    }
}

import Dialogue
import Measures
import Testing
import Wire

@testable import Proxy

private func source(_ text: String) -> Source { Source(IPAddress(text)!) }

@Suite struct GuessPausesTests {
    @Test func pausesGrowBySource() {
        var pauses = GuessPauses(), now = Instant.zero + .seconds(100)
        let a = source("192.0.2.1"), b = source("192.0.2.2")
        #expect(pauses.pauseEnd(a, at: now) == nil)
        var last = Interval.zero
        for guess in 0..<20 {
            pauses.noteWrong(a, hash: guess, at: now)
            guard let end = pauses.pauseEnd(a, at: now) else { Issue.record("no pause"); return }
            #expect(end - now >= last && end - now <= GuessPauses.maximumPause)
            last = end - now
            now = end
            #expect(pauses.pauseEnd(a, at: now) == nil && pauses.pauseEnd(b, at: now) == nil)
        }
        #expect(last == GuessPauses.maximumPause)
        now = now + GuessPauses.memory + .seconds(1)
        pauses.noteWrong(a, hash: 99, at: now)
        #expect(pauses.pauseEnd(a, at: now) == now + GuessPauses.minimumPause, "forgotten")
    }

    @Test func theSamePasswordAgainTellsNothing() {
        var pauses = GuessPauses()
        let a = source("192.0.2.1"), now = Instant.zero + .seconds(100)
        for i in 0..<100 { pauses.noteWrong(a, hash: 7, at: now + .milliseconds(Int64(i))) }
        #expect(pauses.pauseEnd(a, at: now) == now + GuessPauses.minimumPause)
    }

    @Test func oneHostIsOneSource() {
        #expect(
            source("2001:db8::1") == source("2001:db8::ffff:1")
                && source("2001:db8:0:1::1") != source("2001:db8::1"))
        #expect(
            source("::ffff:192.0.2.1") == source("192.0.2.1")
                && source("192.0.2.1") != source("192.0.2.2"))
    }

    @Test func theTableIsBounded() {
        var pauses = GuessPauses(), counts: Set<Int> = []
        let sources = GuessPauses.maximumSources + 500
        for i in 0..<sources {
            pauses.noteWrong(
                Source(IPAddress(v4: UInt32(i))), hash: i, at: .zero + .milliseconds(Int64(i + 1)))
            if i >= GuessPauses.maximumSources { counts.insert(pauses.count) }
        }
        // The quietest go many at once, and no more than that.
        #expect(counts.max() == GuessPauses.maximumSources)
        #expect(counts.min() == GuessPauses.maximumSources - GuessPauses.forgottenAtOnce + 1)
        let end = Instant.zero + .milliseconds(Int64(sources))
        let pausing = (sources - 450..<sources).filter {
            pauses.pauseEnd(Source(IPAddress(v4: UInt32($0))), at: end) != nil
        }
        #expect(pausing.count == 450)
    }
}

@Suite struct PendingDialogueTests {
    @Test func theCrowdPushesItselfOut() {
        var pending = PendingDialogues<Int>(maximum: 4), evicted: [Int] = []
        let crowd = source("192.0.2.1"), other = source("192.0.2.2")
        for (number, from) in [other, crowd, crowd, crowd, crowd, other, crowd, other, other]
            .enumerated()
        {
            if let one = pending.add(number, number: UInt64(number), from: from) {
                evicted.append(one)
            }
            #expect(pending.count <= 4)
        }
        // The crowd's own, until both have two; then the oldest of all, and the crowd's again.
        #expect(evicted == [1, 2, 0, 3, 4])
        for number in 0..<9 {
            pending.remove(UInt64(number), from: crowd)
            pending.remove(UInt64(number), from: other)
        }
        #expect(pending.count == 0)
    }
}

@Suite(.serialized) struct ClientLimitTests {
    private let password = Credentials(user: "u", password: "p")!

    private func guess(_ text: String) -> [UInt8] {
        [5, 1, 2, 1, 1, 0x75, UInt8(text.utf8.count)] + Array(text.utf8)
    }

    @Test(arguments: [false, true]) func guessesAreSlow(_ byHTTP: Bool) throws {
        let street = try Street(credentials: password)
        let port = try street.origin { read, ended in (read, ended) }
        // u:A to u:s without the right one, each but once: a repeated one has no pause of its own.
        let encoded = "BCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvxyz".map { "dTp\($0)" }
        let began = street.loop.now()
        var applications: [Application] = []
        for i in 0..<50 {
            let application = try street.application()
            if byHTTP {
                application.send(
                    "CONNECT h:1 HTTP/1.1\r\nProxy-Authorization: Basic \(encoded[i])\r\n\r\n")
            } else {
                application.send(guess("guess\(i)"))
            }
            applications.append(application)
        }
        applications[0].wait { street.count("wrong_passwords_total") >= 2 }
        let took = street.loop.now() - began
        #expect(took >= GuessPauses.minimumPause)
        // After each guess twice the pause before: on a busy machine more of them have ended.
        var fit = 1, pauses = GuessPauses.minimumPause
        while pauses <= took {
            fit += 1
            pauses += GuessPauses.minimumPause * Int64(1 << (fit - 1))
        }
        #expect(street.count("wrong_passwords_total") <= fit, "fifty were sent")
        // The right one is heard, from the same address.
        let right = try street.application()
        right.send(
            guess("p") + [
                5, 1, 0, 1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 0x41
            ])
        applications.forEach { $0.close() }
        #expect(right.expect(15).last == 0x41)
    }

    @Test func pendingDialoguesTakeNoOtherListenersPlace() throws {
        var limits = ClientLimits()
        limits.unauthenticated = 20
        let street = try Street(
            credentials: password, maximumClients: 100, clients: limits, secondListener: true)
        let port = try street.origin { read, ended in (read, ended) }
        let silent = try (0..<80).map { _ in try street.application() }
        #expect(
            silent[0].wait {
                silent.count(where: \.isAlive) == 20 && street.clients == 20
                    && street.count("clients_accepted_total") == 80
            })
        let request: [UInt8] = [
            5, 1, 0, 1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 0x41
        ]
        let beside = try street.application(on: 1)
        beside.send([5, 1, 0] + request)
        #expect(beside.expect(13).last == 0x41)
        // Whoever has the password still comes in by the crowded one.
        let known = try street.application()
        known.send(guess("p") + request)
        #expect(known.expect(15).last == 0x41)
        silent.forEach { $0.close() }
        #expect(known.wait { street.clients == 2 })
    }

    @Test func answeredDialoguesCountAsWell() throws {
        var limits = ClientLimits()
        limits.unauthenticated = 20
        let street = try Street(
            credentials: password, maximumClients: 60, clients: limits, secondListener: true)
        // Refused, and waiting for the application to close.
        let refused = try (0..<80).map { _ in
            let application = try street.application()
            application.send([5, 1, 0])
            return application
        }
        refused[0].wait(turns: 5)
        #expect(street.clients <= 20)
    }

    /// Who opens connections without end pushes out his own that carry nothing; those that did
    /// stay.
    @Test func aNewClientAlwaysGetsIn() throws {
        let street = try Street(maximumClients: 12)
        let echo = try street.origin { read, ended in (read, ended) }
        let silent = try street.origin { _, ended in ended ? ([], true) : nil }
        func request(_ port: UInt16) -> [UInt8] {
            [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
        }
        let served = try (0..<4).map { _ in
            let application = try street.application()
            application.send(request(echo) + [0x41])
            #expect(application.expect(13).last == 0x41)
            return application
        }
        // In their dialogue, and with a target that says nothing.
        var taking: [Application] = []
        for i in 0..<40 {
            let application = try street.application()
            application.send(i % 2 == 0 ? [5, 1, 0] : request(silent))
            application.wait(turns: 3)
            taking.append(application)
        }
        #expect(taking[0].wait { street.count("clients_accepted_total") == 44 })
        let late = try street.application()
        late.send(request(echo) + [0x42])
        #expect(late.expect(13).last == 0x42)
        #expect(street.clients <= 12 && street.count("clients_displaced_total") >= 20)
        for application in served {
            application.send([0x43])
            #expect(application.expect(14).last == 0x43)
        }
        (taking + served + [late]).forEach { $0.close() }
    }

    @Test func whoIsMissedLeastMakesRoom() {
        final class Client {
            var standing: Standing?
            init(_ stage: Standing.Stage, _ seconds: Int64) {
                standing = Standing(stage: stage, since: .zero + .seconds(seconds))
            }
        }
        let now = Instant.zero + .seconds(100)
        let mine = source("10.0.0.1"), other = source("10.0.0.2")
        let busy = Client(.served, 95), idle = Client(.served, 20), longest = Client(.served, 10)
        let waits = Client(.unanswered, 99), undecided = Client(.undecided, 99)
        let neighbour = Client(.undecided, 1)
        var displacement = Displacement<Client>()
        var all = [busy, idle, longest, waits, undecided].map { (client: $0, source: mine) }
        all.append((neighbour, other))
        func next(_ at: Instant) -> Client? {
            let client = displacement.next(of: { all }, standing: { $0.standing }, at: at)
            client?.standing = nil
            all.removeAll { $0.client === client }
            return client
        }
        // The neighbour is older than all, but not of the source that has most.
        for expected in [undecided, waits, longest, idle] { #expect(next(now) === expected) }
        all.removeAll { $0.client === neighbour }
        #expect(next(now) == nil, "the one that is left carries something")
        #expect(next(now + .seconds(10)) === busy)
    }

    @Test func aBodyThatMovesLives() throws {
        var limits = ClientLimits()
        limits.idleBody = .seconds(2)
        let street = try Street(clients: limits)
        var hasAnswered = false
        let port = try street.origin { _, ended in
            defer { hasAnswered = true }
            return ended
                ? ([], true) : hasAnswered ? nil : (Array(ClientState.halfBody.utf8), false)
        }
        let application = try street.application()
        // An upload, byte by byte: the response is there already and stands still.
        application.send(
            "POST http://localhost:\(port)/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        _ = application.expect(ClientState.halfBody.utf8.count)
        let end = street.loop.now() + .milliseconds(3500)
        while street.loop.now() < end, application.isAlive {
            application.send([1])
            application.wait(turns: 20)
        }
        #expect(application.isAlive)
        #expect(application.wait { application.wasReset }, "then it stands still")
    }

    @Test func aDialogueHasAnEnd() throws {
        var limits = ClientLimits()
        limits.dialogue = .seconds(1)
        let street = try Street(clients: limits)
        let application = try street.application()
        let end = street.loop.now() + .seconds(10)
        // A byte now and then does not make it longer.
        while street.loop.now() < end, application.isAlive {
            application.send("G")
            application.wait(turns: 20)
        }
        #expect(application.wasReset)
    }

    @Test(arguments: [false, true]) func silenceEndsWhatHasAnEnd(_ hasPassword: Bool) throws {
        var limits = ClientLimits()
        (limits.dialogue, limits.answer, limits.idleHTTP, limits.idleBody) = (
            .seconds(1), .seconds(1), .seconds(1), .seconds(1)
        )
        let street = try Street(
            credentials: hasPassword ? password : nil, open: .checked, clients: limits)
        let origins = try StateOrigins(street)
        let states = ClientState.all.filter {
            $0.hasPassword == hasPassword && $0.name != "wrong password answered"
        }
        let applications = try states.map { state in
            let application = try street.application()
            if state.gets > 0 { application.readsUpTo = state.gets }
            application.send(state.bytes(origins[state.origin]))
            return application
        }
        let lasting = states.count { !$0.endsInSilence }
        #expect(applications[0].wait { street.clients == lasting })
        applications[0].wait(turns: 500)
        #expect(street.clients == lasting)
    }
}

extension Street {
    func count(_ name: String) -> Int {
        proxy.status().counters.first { $0.name == name }?.value ?? -1
    }
}

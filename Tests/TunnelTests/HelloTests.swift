import Crypto
import Measures
import Testing

@testable import Tunnel
@testable import Wire

/// A peer that knows the concentrator's public key, with whatever else it is given, and speaks the
/// handshake.
struct HelloMaker {
    let identity: StaticKeyPair
    let keys = HelloKeys(concentrator: StaticKeyPair(privateKey: World.key(2)).publicKey)
    private var count: UInt64 = 0

    /// The user of a `World`, where nothing else is said.
    init(_ identity: StaticKeyPair = StaticKeyPair(privateKey: World.key(1))) {
        self.identity = identity
    }

    struct Made {
        var noise: NoiseHandshake
        var datagram: [UInt8]
    }

    mutating func make(
        stamp: UInt64, instance: UInt64 = 99, challenge: Bytes16 = .zero, cookie: Bytes16? = nil
    ) -> Made {
        count += 1
        let payload = HelloPayload(
            hasHardwareAES: true, wantsFresh: true, index: 0x10, instance: instance,
            timestamp: stamp, challenge: challenge)
        var noise = NoiseHandshake.initiator(
            local: identity, remote: StaticKeyPair(privateKey: World.key(2)).publicKey,
            prologue: Endpoint.prologue, preSharedKey: World.key(3),
            ephemeral: World.key(5_000 + count))
        guard let message = try? noise.writeMessage(payload: payload.bytes) else {
            preconditionFailure()
        }
        return Made(noise: noise, datagram: seal(message, cookie: cookie))
    }

    /// Message 1 that is no message, by somebody who knows the public key.
    mutating func garbage(cookie: Bytes16? = nil) -> [UInt8] {
        count += 1
        var random = SeededRandom(seed: count)
        return seal((0..<133).map { _ in UInt8(truncatingIfNeeded: random.next()) }, cookie: cookie)
    }

    private func seal(_ message: [UInt8], cookie: Bytes16?) -> [UInt8] {
        var datagram: [UInt8] = [0x10, 0, 0, 0, 0, 0, 0, 0] + message
        withUnsafeBytes(of: datagram.withUnsafeBytes { keys.mac1($0) }) { datagram += $0 }
        let mac2 =
            cookie.map { c in datagram.withUnsafeBytes { MessageAuthentication(key: c)($0) } }
            ?? .zero
        withUnsafeBytes(of: mac2) { datagram += $0 }
        return datagram
    }

    /// The cookie in an answer to `hello`.
    func cookie(in answer: [UInt8], for hello: [UInt8]) -> Bytes16? {
        guard answer.count == CookieDatagram.size, answer[0] == 0x30 else { return nil }
        let mac1 = hello.withUnsafeBytes { Bytes16($0, at: HelloDatagram.mac1) }
        return answer.withUnsafeBytes {
            keys.open(
                cookie: UnsafeRawBufferPointer(rebasing: $0[20...]),
                nonce: UnsafeRawBufferPointer(rebasing: $0[8..<20]), mac1: mac1)
        }
    }

    func welcome(in answer: [UInt8], for made: Made) -> WelcomePayload? {
        guard answer.count > 16, answer[0] == 0x20 else { return nil }
        var noise = made.noise
        guard
            let bytes = answer[8..<answer.count - 8].withUnsafeBytes({ try? noise.readMessage($0) })
        else { return nil }
        return WelcomePayload(bytes)
    }
}

/// A concentrator that is alone with what a test sends it, and what it answers.
final class Lonely {
    let world = World(seed: 77, addUplinks: false)
    var answers: [(to: SocketAddress, bytes: [UInt8])] = []
    static let stranger = SocketAddress(IPAddress(v4: 0x0102_0304), port: 9)

    init() { world.strayed = { [unowned self] in self.answers.append(($0, $1)) } }

    var stamp: UInt64 { World.epoch &+ UInt64(world.now.nanoseconds) }

    /// What comes back at once, in the turn of the datagrams.
    func send(_ datagrams: [[UInt8]], from: SocketAddress = Lonely.stranger) -> [[UInt8]] {
        answers.removeAll()
        for datagram in datagrams { world.inject(datagram, toProxy: false, uplink: 0, from: from) }
        world.run(.microseconds(100))
        return answers.map(\.bytes)
    }
}

@Suite struct HelloTests {
    @Test func withoutThePublicKeyNothingIsOpened() {
        let lonely = Lonely()
        var maker = HelloMaker()
        for i in 0..<500 {
            var hello = maker.garbage()
            hello[141 + i % 16] ^= 1
            #expect(lonely.send([hello]).isEmpty)
        }
        #expect(lonely.world.concentrator.listener?.gate.wrongMACs == 500)
        let left = lonely.world.concentrator.listener?.gate.budget
        var full = left
        #expect(full?.level(at: lonely.world.now) == Limits.multiplicationBurst)
    }

    /// A flood of hellos with a right mac1 is worth a bounded number of multiplications, and then
    /// cookies; somebody who takes the cookie is heard at once, whatever else comes.
    @Test func underLoadACookieOpensTheDoor() throws {
        let lonely = Lonely()
        var maker = HelloMaker(), most = 0, cookies = 0
        for i in 0..<3000 {
            let from = SocketAddress(
                IPAddress(v4: 0x0505_0000 + UInt32(i % 600)), port: UInt16(1000 + i % 7))
            let answers = lonely.send([maker.garbage()], from: from)
            cookies += answers.filter { $0.count == CookieDatagram.size }.count
            most = max(most, answers.map(\.count).max() ?? 0)
        }
        #expect(cookies > 1000 && most == CookieDatagram.size)
        let honest = SocketAddress(IPAddress(v4: 0x0909_0909), port: 99)
        let first = maker.make(stamp: lonely.stamp)
        let cookie = try #require(
            lonely.send([first.datagram], from: honest).lazy
                .compactMap { maker.cookie(in: $0, for: first.datagram) }.first)
        let second = maker.make(stamp: lonely.stamp, cookie: cookie)
        // From elsewhere it is worth nothing.
        #expect(lonely.send([second.datagram]).allSatisfy { $0.count == CookieDatagram.size })
        let flood = (0..<40).map { _ in maker.garbage() }
        let answers = lonely.send(flood + [second.datagram] + flood, from: honest)
        #expect(answers.contains { maker.welcome(in: $0, for: second)?.outcome == .newSession })
    }

    /// Proved addresses get their share and no more, so that one of them leaves room to the others.
    @Test func oneAddressHasAShare() throws {
        let lonely = Lonely()
        var maker = HelloMaker(), cookie: Bytes16?
        let greedy = SocketAddress(IPAddress(v4: 0x0909_0909), port: 99)
        for _ in 0..<1000 {
            let hello = maker.garbage(cookie: cookie)
            for answer in lonely.send([hello], from: greedy) {
                cookie = maker.cookie(in: answer, for: hello) ?? cookie
            }
        }
        #expect(cookie != nil)
        // 100 ms have gone by: the burst without load, that with it, and two more.
        var budget = try #require(lonely.world.concentrator.listener?.gate.budget)
        #expect(budget.level(at: lonely.world.now) > Limits.multiplicationBurst / 2 - 60)
    }

    /// Another pre-shared key: the proxy can't read the answer, and only asks again.
    @Test func answersThatNobodyReadsAreToldSeldom() {
        let lonely = Lonely()
        var maker = HelloMaker()
        func told() -> Int { lonely.world.log.filter { $0 == "C refused alice unheeded" }.count }
        for i in 0..<100 {
            _ = lonely.send([maker.make(stamp: lonely.stamp).datagram])
            if i < 2 { #expect(told() == 0) }
            lonely.world.run(.milliseconds(600))
        }
        #expect(told() == 1, "in a minute")
    }

    @Test func aSessionThatBeginsIsNoNews() {
        let world = World(seed: 5)
        for _ in 0..<8 {
            world.run(.seconds(1))
            world.restartConcentrator()
            world.run(.seconds(10))
        }
        #expect(!world.log.contains("C refused alice unheeded"))
    }

    @Test func aReplayAndAWrongClockGetAChallenge() throws {
        let lonely = Lonely()
        var maker = HelloMaker()
        let first = maker.make(stamp: lonely.stamp)
        #expect(
            lonely.send([first.datagram]).contains {
                maker.welcome(in: $0, for: first)?.outcome == .newSession
            })
        lonely.world.run(.seconds(20))
        // Its session is forgotten, so it is no copy any more.
        let replayed = lonely.send([first.datagram])
        #expect(replayed.compactMap { maker.welcome(in: $0, for: first)?.outcome } == [.challenge])
        for stamp in [1, lonely.stamp &+ 900_000_000_000, .max] as [UInt64] {
            let wrong = maker.make(stamp: stamp, instance: stamp)
            let asked = try #require(
                lonely.send([wrong.datagram]).lazy
                    .compactMap { maker.welcome(in: $0, for: wrong) }.first)
            #expect(asked.outcome == .challenge)
            // Another one's challenge does not do.
            let guess = maker.make(stamp: stamp, challenge: Bytes16(a: 1, b: 1))
            #expect(
                lonely.send([guess.datagram]).compactMap {
                    maker.welcome(in: $0, for: guess)?.outcome
                } == [.challenge])
            let right = maker.make(stamp: stamp, challenge: asked.challenge)
            #expect(
                lonely.send([right.datagram]).compactMap {
                    maker.welcome(in: $0, for: right)?.outcome
                } == [.newSession])
            // Used up.
            let again = maker.make(stamp: stamp, challenge: asked.challenge)
            #expect(
                lonely.send([again.datagram]).compactMap {
                    maker.welcome(in: $0, for: again)?.outcome
                } == [.challenge])
            lonely.world.run(.seconds(11))
        }
        // Nobody was locked out by what was far ahead.
        let last = maker.make(stamp: lonely.stamp)
        #expect(
            lonely.send([last.datagram]).contains {
                maker.welcome(in: $0, for: last)?.outcome == .newSession
            })
        #expect(lonely.world.log.contains { $0.hasPrefix("C refused alice ahead") })
        #expect(lonely.world.log.contains { $0.hasPrefix("C refused alice old") })
    }

    /// A clock that is wrong at boot, by years either way, and set right later, also under a
    /// restarted concentrator; and another proxy of the same key whose clock is right.
    @Test(arguments: [-400, -2, 2, 400] as [Int64]) func aWrongClockCostsOneRoundTrip(_ days: Int64)
    {
        let world = World(seed: UInt64(600 + days), addUplinks: false)
        func setClock(_ skew: Int64) {
            let right = World.epoch &+ UInt64(world.now.nanoseconds)
            world.proxy.setWallClock(
                right &+ UInt64(bitPattern: skew * 86_400_000_000_000), at: world.now)
        }
        func opened() -> Int { world.log.filter { $0.hasPrefix("C opened") }.count }
        setClock(days)
        world.proxy.addUplink(Uplink(number: 0, name: "up0"), at: world.now)
        #expect(world.run(.milliseconds(100)) { opened() == 1 })
        world.run(.seconds(5))
        for (skew, count) in [(0, 2), (days, 3), (0, 4), (-days, 5), (0, 6)] as [(Int64, Int)] {
            setClock(skew)
            world.restartConcentrator()
            world.open(port: 1)
            #expect(world.run(.seconds(8)) { opened() == count }, "clock \(skew) days off")
            world.run(.seconds(5))
        }
    }

    @Test func aStrangersKeyIsToldOnlyIfItIsHis() {
        let lonely = Lonely()
        let stranger = StaticKeyPair(privateKey: World.key(50))
        var maker = HelloMaker(stranger)
        for _ in 0..<20 { #expect(lonely.send([maker.make(stamp: lonely.stamp).datagram]).isEmpty) }
        let told = lonely.world.log.filter { $0 == "C stranger \(stranger.publicKey.base64)" }
        #expect(told.count == Int(Limits.strangerBurst))
    }

    /// With the right keys, as fast as it can: answered so often, and told once.
    @Test func aUserMayNotFlood() {
        let lonely = Lonely()
        var maker = HelloMaker(), welcomes = 0
        for i in 0..<300 {
            lonely.world.run(.milliseconds(10))
            let made = maker.make(stamp: lonely.stamp, instance: UInt64(i))
            let from = SocketAddress(IPAddress(v4: 0x0505_0000 + UInt32(i)), port: 7)
            welcomes +=
                lonely.send([made.datagram], from: from).filter {
                    maker.welcome(in: $0, for: made)?.outcome == .newSession
                }
                .count
        }
        #expect(welcomes >= 40 && welcomes <= 75)
        #expect(lonely.world.log.filter { $0.contains("tooMany") }.count <= 1)
        #expect(
            lonely.world.concentrator.listener!.pending.count <= Limits.unconfirmedPerUser)
    }
}

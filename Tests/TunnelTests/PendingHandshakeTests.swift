import Buffers
import Measures
import Testing

@testable import Crypto
@testable import Tunnel

/// Answered hellos that wait for a record: found by what names them, forgotten in their order.
@Suite struct PendingHandshakeTests {
    private let user = UserState(
        EndpointConfiguration.User(name: "anna", publicKey: .zero), number: 0,
        memory: MemoryShare(of: MemoryBudget(limit: 1 << 20)), flows: SharedLimit(10), wallClock: 0)

    /// The `n`th, in slot `n`, a second after the one before it.
    private func handshake(_ n: Int, salt: UInt32 = 5, resumes: Bool = false) -> PendingHandshake {
        let opened = Instant.zero + .seconds(Int64(n))
        return PendingHandshake(
            user: user, instance: 1,
            indices: SessionIndices(
                slot: SessionSlot(n), local: SessionSlot(n).index(salt: salt), remote: 9),
            resumes: resumes, suite: .chaCha20Poly1305,
            keys: EpochKeys(
                epoch: 0, suite: .chaCha20Poly1305,
                keys: NoiseHandshake.TransportKeys(send: .zero, receive: .zero), since: opened),
            openedAt: opened, mac1: Bytes16(a: UInt64(n), b: salt == 5 ? 1 : UInt64(salt)),
            hello: [1], welcome: [2])
    }

    @Test func foundByHelloAndByIndex() {
        var pending = PendingHandshakes()
        #expect(pending.oldest == nil && pending.deadline == .distantFuture)
        for n in 0..<3 { pending.add(handshake(n)) }
        #expect(pending[hello: Bytes16(a: 1, b: 1)]?.indices.slot == 1)
        #expect(pending[hello: Bytes16(a: 1, b: 2)] == nil)
        #expect(pending[SessionSlot(2).index(salt: 5)]?.indices.slot == 2)
        #expect(pending[SessionSlot(2).index(salt: 6)] == nil)
        #expect(pending.all { $0.indices.slot != 1 }.map(\.indices.slot) == [0, 2])
    }

    @Test func theOldestIsForgottenFirst() {
        var pending = PendingHandshakes()
        for n in 0..<3 { pending.add(handshake(n)) }
        #expect(pending.oldest?.indices.slot == 0)
        #expect(pending.deadline == Instant.zero + Limits.unconfirmedLifetime)
        pending.remove(Bytes16(a: 0, b: 1))
        pending.remove(Bytes16(a: 7, b: 7))
        #expect(pending.count == 2 && pending.oldest?.indices.slot == 1)
        #expect(pending[SessionSlot(0).index(salt: 5)] == nil)
        #expect(pending.deadline == Instant.zero + .seconds(1) + Limits.unconfirmedLifetime)
        // The same hello again counts once.
        pending.add(handshake(1))
        #expect(pending.count == 2 && pending.oldest?.indices.slot == 2)
    }

    /// A session that ends asks whether it has any before it looks for them.
    @Test func sessionsThatMayGoOnAreKnown() {
        var pending = PendingHandshakes()
        pending.add(handshake(3))
        pending.add(handshake(4, salt: 6, resumes: true))
        pending.add(handshake(4, salt: 7, resumes: true))
        #expect(!pending.mayResume(3) && pending.mayResume(4) && !pending.mayResume(5))
        pending.remove(Bytes16(a: 4, b: 6))
        #expect(pending.mayResume(4))
        pending.remove(Bytes16(a: 4, b: 7))
        pending.remove(Bytes16(a: 4, b: 7))
        #expect(!pending.mayResume(4) && pending.count == 1)
    }

    /// What one was changed to stays; what is gone does not come back by it.
    @Test func changedInPlace() {
        var pending = PendingHandshakes()
        pending.add(handshake(0))
        let mac1 = Bytes16(a: 0, b: 1)
        var known = handshake(0)
        known.repeats = 3
        pending[hello: mac1] = known
        #expect(pending[hello: mac1]?.repeats == 3)
        pending.remove(mac1)
        pending[hello: mac1] = known
        #expect(pending.count == 0 && pending[hello: mac1] == nil)
    }

    @Test func eachAddressHasATokenOfItsOwn() {
        var handshake = handshake(0), drawn: Int64 = -1
        func address(_ port: UInt16) -> PathAddress {
            PathAddress(
                remote: SocketAddress(IPAddress(v4: 0xc000_0201), port: port),
                local: .unspecifiedV4, uplink: 0)
        }
        func token(_ port: UInt16) -> Int64 {
            handshake.token(for: address(port), at: .zero + .seconds(4)) {
                drawn -= 1
                return drawn
            }
        }
        #expect([token(1), token(2), token(1), token(1)] == [-2, -3, -2, -2])
        #expect(handshake.welcomed.map(\.asks) == [3, 1])
        #expect(handshake.welcomed.map(\.nonce) == [-2, -3])
    }
}

import Crypto
import Measures
import Testing
import Wire

@testable import Tunnel

/// What becomes of a hello before it is opened, without an endpoint around the gate.
@Suite struct HelloGateTests {
    private let start = Instant.zero + .seconds(1_000)
    private let publicKey = Key32(filledBy: { $0.initializeMemory(as: UInt8.self, repeating: 3) })

    private func source(_ last: UInt8, port: UInt16 = 4_000) -> PathAddress {
        PathAddress(
            remote: SocketAddress(IPAddress(v4: 0xc000_0200 | UInt32(last)), port: port),
            local: IPAddress(v4: 0xc633_6401), uplink: 0)
    }

    private final class Gate {
        var random: KeyedRandom
        var gate: HelloGate
        init(_ key: Key32, at now: Instant) {
            random = KeyedRandom(seed: key)
            gate = HelloGate(publicKey: key, random: &random, at: now)
        }

        /// A hello with the right first MAC, and a second one where there is a cookie.
        func admit(
            _ number: UInt8 = 0, cookie: Bytes16? = nil, from source: PathAddress,
            at now: Instant
        ) -> HelloGate.Verdict {
            let bytes = hello(number, cookie: cookie)
            return bytes.withUnsafeBytes {
                gate.admit($0, from: source, random: &random, at: now)
            }
        }

        func hello(_ number: UInt8, cookie: Bytes16? = nil) -> [UInt8] {
            var bytes = [UInt8](repeating: number, count: HelloDatagram.size)
            for i in HelloDatagram.mac1..<bytes.count { bytes[i] = 0 }
            let first = bytes[..<HelloDatagram.mac1].withUnsafeBytes { gate.keys.mac1($0) }
            withUnsafeBytes(of: first) {
                bytes.replaceSubrange(HelloDatagram.mac1..<HelloDatagram.mac2, with: $0)
            }
            guard let cookie else { return bytes }
            let second = bytes[..<HelloDatagram.mac2].withUnsafeBytes {
                MessageAuthentication(key: cookie)($0)
            }
            withUnsafeBytes(of: second) {
                bytes.replaceSubrange(HelloDatagram.mac2..., with: $0)
            }
            return bytes
        }

        func knows(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { gate.knowsKey($0) } }

        /// The first byte of the oldest hello, and the last of its address.
        func takeFirst() -> (UInt8, PathAddress)? {
            var bytes = [UInt8](repeating: 0, count: HelloDatagram.size)
            let source = bytes.withUnsafeMutableBytes { gate.takeFirst(into: $0.baseAddress!) }
            return source.map { (bytes[0], $0) }
        }
    }

    @Test func onlyWhoKnowsThePublicKeyIsListenedTo() {
        let gate = Gate(publicKey, at: start)
        let right = gate.hello(5)
        #expect(gate.knows(right) && gate.gate.wrongMACs == 0)
        for at in [0, HelloDatagram.mac1 - 1, HelloDatagram.mac1, HelloDatagram.mac2 - 1] {
            var wrong = right
            wrong[at] ^= 1
            #expect(!gate.knows(wrong))
        }
        #expect(!gate.knows(right + [0]) && !gate.knows(Array(right.dropLast())) && !gate.knows([]))
        #expect(gate.gate.wrongMACs == 4, "another length is no hello at all")
    }

    @Test func hellosComeOutInTheOrderInWhichTheyCame() {
        let gate = Gate(publicKey, at: start)
        #expect(gate.gate.nextAt == .distantFuture)
        for n in 0..<3 as Range<UInt8> {
            #expect(gate.admit(n, from: source(n), at: start) == .queued)
        }
        #expect(gate.gate.count == 3 && gate.gate.nextAt <= start)
        for n in 0..<3 as Range<UInt8> {
            let (first, from) = gate.takeFirst()!
            #expect(first == n && from == source(n))
        }
        #expect(gate.takeFirst() == nil)
    }

    /// With several waiting a hello needs a cookie, which is its source's alone and lasts for two
    /// lifetimes at most.
    @Test func underLoadTheSourceMustShowThatItReceives() throws {
        let gate = Gate(publicKey, at: start)
        for n in 0..<Limits.hellosWithoutCookie {
            _ = gate.admit(from: source(UInt8(n)), at: start)
        }
        guard case .cookie(let cookie) = gate.admit(from: source(100), at: start) else {
            Issue.record("no cookie")
            return
        }
        #expect(gate.gate.count == Limits.hellosWithoutCookie)
        #expect(gate.admit(cookie: cookie, from: source(100), at: start) == .queued)
        for other in [source(101), source(100, port: 4_001)] {
            let verdict = gate.admit(cookie: cookie, from: other, at: start)
            #expect(verdict != .queued, "it is nobody else's")
        }
        let later = start + Limits.cookieLifetime
        #expect(gate.admit(cookie: cookie, from: source(100), at: later) == .queued)
        let last = gate.admit(cookie: cookie, from: source(100), at: later + Limits.cookieLifetime)
        #expect(last != .queued && last != .dropped, "it is out of date")
    }

    @Test func theQueueHasAnEnd() {
        let gate = Gate(publicKey, at: start)
        var queued = 0
        for n in 0..<100 as Range<UInt8> {
            switch gate.admit(n, from: source(n), at: start) {
            case .queued: queued += 1
            case .cookie(let cookie):
                if gate.admit(n, cookie: cookie, from: source(n), at: start) == .queued {
                    queued += 1
                }
            case .dropped: break
            }
        }
        #expect(queued == Limits.queuedHellos && gate.gate.count == queued)
    }

    /// What an opened one costs is paid before the next; a turn's share is followed by a pause.
    @Test func theNextWaitsForTheBudget() {
        let gate = Gate(publicKey, at: start)
        _ = gate.admit(1, from: source(1), at: start)
        _ = gate.admit(2, from: source(2), at: start)
        _ = gate.takeFirst()
        gate.gate.spend(4, at: start)
        #expect(gate.gate.nextAt <= start)
        gate.gate.pause(at: start)
        #expect(gate.gate.nextAt == start + Limits.helloPause)
        gate.gate.spend(Int(Limits.multiplicationBurst) + 200, at: start)
        #expect(gate.gate.nextAt > start + .milliseconds(50))
        _ = gate.takeFirst()
        gate.gate.spend(0, at: start)
        #expect(gate.gate.nextAt == .distantFuture, "none waits")
    }
}

import Measures
import Testing

@testable import Concentrator

/// Whom an association remembers, and how many all of a user's may.
@Suite struct DatagramPeersTests {
    private func address(_ n: Int, port: UInt16 = 9) -> SocketAddress {
        SocketAddress(IPAddress(v4: 0x0a00_0000 + UInt32(n)), port: port)
    }
    private func send(_ peers: inout DatagramPeers, _ n: Int, at now: Instant) {
        peers.note(address(n), isAllowed: true, after: 0, at: now)
        peers.noteSent(address(n), at: now)
    }

    @Test func theLatestAreRemembered() {
        let share = SharedLimit(1 << 20)
        var peers = DatagramPeers(share: share)
        for n in 0..<10_000 { send(&peers, n, at: .zero + .seconds(1 + Int64(n) / 100)) }
        let now = Instant.zero + .seconds(101)
        #expect(peers.count <= DatagramPeers.maximum && share.used == peers.count)
        #expect(peers.allows(address(9_999), .address, at: now))
        #expect(peers.allows(address(9_999, port: 1), .address, at: now))
        #expect(!peers.allows(address(9_999, port: 1), .endpoint, at: now))
        #expect(!peers.allows(address(3), .address, at: now))
        peers.removeAll()
        #expect(share.used == 0)
    }

    /// A user's associations have a total; each has a few whatever the others do.
    @Test func allOfAUserHaveATotal() {
        let share = SharedLimit(1_000)
        var all = (0..<20).map { _ in DatagramPeers(share: share) }
        for i in all.indices {
            for n in 0..<500 { send(&all[i], n, at: .zero + .milliseconds(1_000 + Int64(n))) }
            let now = Instant.zero + .milliseconds(1_499)
            #expect(all[i].allows(address(499), .endpoint, at: now), "the latest one is let in")
        }
        #expect(share.used <= 1_000 + 20 * DatagramPeers.minimum)
        #expect(share.used == all.reduce(0) { $0 + $1.count })
        #expect(all.allSatisfy { $0.count > 10 })
        for i in all.indices { all[i].removeAll() }
        #expect(share.used == 0)
    }

    /// What was judged before an address of this machine came or went is judged anew.
    @Test func verdictsEndWithAChangeOfAddresses() {
        var peers = DatagramPeers(share: SharedLimit(100))
        let now = Instant.zero + .seconds(1)
        send(&peers, 1, at: now)
        #expect(peers.verdict(address(1), after: 0, at: now) == .allowed)
        #expect(peers.verdict(address(1), after: 1, at: now) == nil)
        peers.note(address(1), isAllowed: false, after: 1, at: now)
        #expect(peers.verdict(address(1), after: 1, at: now) == .denied)
        #expect(peers.verdict(address(1), after: 1, at: now + .seconds(10)) == nil)
    }
}

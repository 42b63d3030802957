import Glibc
import Measures
import Testing

@testable import Shell

/// The sockets of associations, many at once.
@Suite struct RelaySocketTests {
    private final class Association {
        let socket: RelaySocket
        var got = 0
        init(_ sockets: RelaySockets, _ share: RelayShare) throws {
            socket = try RelaySocket(
                SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0), sockets)
            socket.onReadable(for: self) { own in
                sockets.receive(own.socket, of: share) { _, _ in own.got += 1 }
            }
        }
    }

    /// Whoever floods all ports of one user gets so much of a turn; another user's socket has its
    /// own, and nothing of what the kernel has is left for ever.
    @Test func aFloodOfManyPortsLeavesTheTurnToOthers() throws {
        let loop = try EventLoop(), sockets = RelaySockets(loop: loop)
        let flooded = RelayShare(), other = RelayShare()
        let many = try (0..<60).map { _ in try Association(sockets, flooded) }
        let quiet = try Association(sockets, other)
        let sender = RelaySockets(loop: loop)
        let from = try RelaySocket(SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0), sender)
        for association in many + [quiet] {
            for _ in 0..<100 {
                [UInt8](repeating: 1, count: 40).withUnsafeBytes {
                    sender.post([], $0, to: association.socket.localAddress, through: from)
                }
            }
            sender.flush()
        }
        var turns: [Int] = []
        func total() -> Int { many.reduce(0) { $0 + $1.got } }
        var before = 0
        loop.afterEvents {
            turns.append(total() - before)
            before = total()
        }
        #expect(loop.run(until: .seconds(10)) { total() + quiet.got == 6_100 })
        let most = RelaySockets.datagramsPerTurn + 64 + 60 * RelaySockets.fewMessages
        #expect(turns.allSatisfy { $0 <= most }, "\(turns.max() ?? 0) in a turn")
        #expect(turns.contains { $0 > 0 } && quiet.got == 100)
    }
}

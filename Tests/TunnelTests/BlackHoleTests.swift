import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

/// A path that silently takes no long datagrams any more, under flows of datagrams alone.
@Suite struct BlackHoleTests {
    private static let target = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 4_000)
    /// UDP payload of an IPv4 packet of 1,280 bytes.
    private static let small = 1_252

    /// What arrived at the far side, and when.
    private final class Far {
        var full: [Instant] = []
        var short: [Instant] = []
    }

    /// One uplink, on which full datagrams (`full` bytes, every 5 ms) and, where `hasVoice`, short
    /// ones go to the concentrator; the size of its datagrams is known.
    private func begin(
        seed: UInt64, hasVoice: Bool
    ) -> (world: World, stream: StreamHandle, far: Far, step: () -> Void) {
        let world = World(seed: seed, uplinks: 1), far = Far()
        let stream = world.proxy.openAssociation(policy: .lowestDelay, at: world.now)
        world.run(.seconds(1)) { world.associations.count == 2 }
        world.concentrator.datagramArrived = { _, _, payload in
            if payload.count > 1_000 {
                far.full.append(world.now)
            } else {
                far.short.append(world.now)
            }
        }
        var n = 0
        func send(_ count: Int) {
            [UInt8](repeating: 7, count: count).withUnsafeBytes {
                _ = world.proxy.send($0, on: stream, to: Self.target, at: world.now)
            }
        }
        let step = {
            send(1_400)
            if hasVoice, n % 4 == 0 { send(172) }
            n += 1
            world.run(.milliseconds(5))
        }
        for _ in 0..<200 { step() }
        return (world, stream, far, step)
    }

    private func limit(_ world: World) -> Int {
        world.proxy.sessions.first??.paths.first??.datagramLimit ?? 0
    }

    /// From the first datagram that is lost to the first of the smaller ones that arrives: a round
    /// trip and the report's wait until it is missed, two to find the reason, and the way.
    @Test(arguments: [false, true], 1..<6 as Range<UInt64>)
    func itIsFoundWithinTwoRoundTrips(hasVoice: Bool, seed: UInt64) throws {
        let (world, _, far, step) = begin(seed: seed, hasVoice: hasVoice)
        #expect(limit(world) == 1_472)
        #expect(far.full.count > 190)
        let shrunk = world.now
        world.filter = { _, _, bytes in bytes.count <= Self.small }
        for _ in 0..<200 where far.full.last! <= shrunk + .milliseconds(20) { step() }
        let again = try #require(far.full.first { $0 > shrunk + .milliseconds(20) })
        // 30 ms there and back, 20 until a report; without one a time-out, which is some 30 more. Four
        // variations of the round trip for full datagrams that are late.
        let bound = Interval.milliseconds(30 + 20 + 2 * 30 + 15 + (hasVoice ? 25 : 50))
        #expect(again - shrunk < bound, "\(again - shrunk)")
        #expect(limit(world) <= Self.small)
        let back = far.full.count
        for _ in 0..<100 { step() }
        #expect(far.full.count > back + 90, "it goes on")
        world.filter = nil
        for _ in 0..<3_000 where limit(world) < 1_472 { step() }
        #expect(limit(world) == 1_472, "and what is possible again is found")
    }

    /// Loss that has nothing to do with the length does not shorten datagrams.
    @Test func lossIsNoBlackHole() {
        let (world, _, _, step) = begin(seed: 9, hasVoice: true)
        world.up[0].loss = 0.2
        var shrunk = 0
        for _ in 0..<2_000 {
            step()
            if limit(world) < 1_472 { shrunk += 1 }
        }
        #expect(shrunk < 400, "\(shrunk) of 2,000 steps with short datagrams")
    }
}
